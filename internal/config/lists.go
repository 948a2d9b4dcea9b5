package config

import "strings"

// List splits a setting that has several values: at commas, spaces and line ends.
func List(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '\n' || r == ' ' })
}

// ReturnURL is where the application of a tenant waits for its users, "" if they end
// at the callback (ReturnURLs).
func (c Config) ReturnURL(tenant string) string {
	for _, item := range strings.FieldsFunc(c.ReturnURLs, func(r rune) bool { return r == ',' || r == '\n' }) {
		if name, to, ok := strings.Cut(strings.TrimSpace(item), "="); ok && name == tenant {
			return to
		}
	}
	return ""
}

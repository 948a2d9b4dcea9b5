package config

import (
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

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

// OperatorKeyList are the keys of the operator.
func (c Config) OperatorKeyList() []string { return List(c.OperatorKeys.Reveal()) }

// Quota are limits of a tenant, in the form of [holdfast.ParseQuota].
type Quota struct{ holdfast.Quota }

// UnmarshalText reads limits.
func (q *Quota) UnmarshalText(text []byte) (err error) {
	q.Quota, err = holdfast.ParseQuota(string(text))
	return err
}

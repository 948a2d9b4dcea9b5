package model

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// Invalid is the error of a configuration that cannot work, with the model's
// name before the explanation.
func (c *Config) Invalid(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "model %s/%s: %s", c.Provider, c.Model, fmt.Sprintf(format, args...))
}

// Endpoint is where calls go: BaseURL, or the given default where the agent file
// names none, without a slash at its end. It fails for what is no plain http or
// https URL.
func (c *Config) Endpoint(otherwise string) (string, error) {
	base := c.BaseURL
	if base == "" {
		base = otherwise
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", c.Invalid("base_url must be an http or https URL without user, query and fragment")
	}
	return strings.TrimRight(base, "/"), nil
}

// Sampling checks the numbers that are sent as they are.
func (c *Config) Sampling() error {
	for _, p := range []struct {
		name string
		v    *float64
	}{
		{"temperature", c.Temperature},
		{"top_p", c.TopP},
		{"frequency_penalty", c.FrequencyPenalty},
		{"presence_penalty", c.PresencePenalty},
	} {
		if p.v != nil && (math.IsNaN(*p.v) || math.IsInf(*p.v, 0)) {
			return c.Invalid("%s is not a number that can be sent", p.name)
		}
	}
	return nil
}

// OptionReader hands out provider options one by one. It remembers the first
// that has a wrong type, and those that nobody asked for: an option is never
// ignored in silence.
type OptionReader struct {
	cfg   *Config
	left  map[string]any
	known []string
	err   error
}

// NewOptionReader reads cfg.ProviderOpts, which stays as it is.
func NewOptionReader(cfg *Config) *OptionReader {
	o := &OptionReader{cfg: cfg, left: make(map[string]any, len(cfg.ProviderOpts))}
	for k, v := range cfg.ProviderOpts {
		o.left[k] = v
	}
	return o
}

// Any returns an option as it stands in the agent file, nil if it is not there.
func (o *OptionReader) Any(name string) any {
	o.known = append(o.known, name)
	v := o.left[name]
	delete(o.left, name)
	return v
}

func (o *OptionReader) wrong(name, want string) {
	if o.err == nil {
		o.err = o.cfg.Invalid("provider option %s must be %s", name, want)
	}
}

// String returns a text, "" if it is not there.
func (o *OptionReader) String(name string) string {
	v := o.Any(name)
	s, ok := v.(string)
	if v != nil && !ok {
		o.wrong(name, "a text")
	}
	return s
}

// OneOf returns a text that is one of those given, "" if it is not there.
func (o *OptionReader) OneOf(name string, values ...string) string {
	s := o.String(name)
	if s != "" && !slices.Contains(values, s) {
		o.wrong(name, "one of "+strings.Join(values, ", "))
	}
	return s
}

// Bool returns a truth value, or otherwise if it is not there.
func (o *OptionReader) Bool(name string, otherwise bool) bool {
	v := o.Any(name)
	if v == nil {
		return otherwise
	}
	b, ok := v.(bool)
	if !ok {
		o.wrong(name, "true or false")
	}
	return b
}

// Number returns a number as the agent file has it, nil if it is not there.
func (o *OptionReader) Number(name string) any {
	v := o.Any(name)
	switch n := v.(type) {
	case nil, int, int64, uint64, json.Number:
		return v
	case float64:
		if !math.IsNaN(n) && !math.IsInf(n, 0) {
			return v
		}
	}
	o.wrong(name, "a number")
	return nil
}

// Strings returns a list of texts; a single text is a list of one.
func (o *OptionReader) Strings(name string) []string {
	switch v := o.Any(name).(type) {
	case nil:
		return nil
	case string:
		return []string{v}
	case []string:
		return v
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				o.wrong(name, "a list of texts")
				return nil
			}
			out = append(out, s)
		}
		return out
	}
	o.wrong(name, "a list of texts")
	return nil
}

// Map returns a mapping, nil if it is not there.
func (o *OptionReader) Map(name string) map[string]any {
	v := o.Any(name)
	m, ok := v.(map[string]any)
	if v != nil && !ok {
		o.wrong(name, "a mapping")
	}
	return m
}

// Headers returns a mapping from names of HTTP headers to values. A name that
// would replace one of the adapter's own is refused.
func (o *OptionReader) Headers(name string, reserved ...string) map[string]string {
	m := o.Map(name)
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		s, ok := v.(string)
		switch {
		case !ok || k == "" || strings.ContainsAny(k, " \t\r\n:") || strings.ContainsAny(s, "\r\n\x00"):
			o.wrong(name, "a mapping from names of headers to texts")
			return nil
		case slices.ContainsFunc(reserved, func(r string) bool { return strings.EqualFold(r, k) }):
			o.wrong(name, "without "+k+", which is set otherwise")
			return nil
		}
		out[k] = s
	}
	return out
}

// ExtraBody adds the members of the mapping extra_body to a request. Members
// that are there already or reserved are refused.
func (o *OptionReader) ExtraBody(b *Object, reserved ...string) {
	m := o.Map("extra_body")
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		if b.Has(k) || slices.Contains(reserved, k) {
			o.wrong("extra_body", "without "+k+", which is set otherwise")
			return
		}
		if err := b.Any(k, m[k]); err != nil {
			o.wrong("extra_body", "a mapping that can be sent as JSON")
			return
		}
	}
}

// Finish returns the first error, or names an option that nobody asked for.
func (o *OptionReader) Finish() error {
	if o.err != nil || len(o.left) == 0 {
		return o.err
	}
	unknown := make([]string, 0, len(o.left))
	for name := range o.left {
		unknown = append(unknown, name)
	}
	slices.Sort(unknown)
	slices.Sort(o.known)
	return o.cfg.Invalid("unknown provider option %q; known are %s", unknown[0], strings.Join(slices.Compact(o.known), ", "))
}

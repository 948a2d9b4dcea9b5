package oauth

import (
	"log/slog"
	"strconv"
)

// Secret is a token, code, key or verifier. It prints as "xxxxx" wherever it
// goes; only Reveal gives it away.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "xxxxx"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the secret from encoders. The sealed forms are made by
// [Grant.MarshalSecret], [Flow.MarshalSecret] and [Registration.MarshalSecret].
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

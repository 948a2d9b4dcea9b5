package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Switch is a boolean that knows whether it was set, for settings whose default
// is not the same everywhere.
type Switch int8

// The states of a Switch.
const (
	Unset Switch = iota
	On
	Off
)

// Or returns the setting, or def if there is none.
func (s Switch) Or(def bool) bool {
	if s == Unset {
		return def
	}
	return s == On
}

func (s Switch) String() string { return [...]string{"unset", "true", "false"}[s] }

// UnmarshalText reads what strconv.ParseBool reads.
func (s *Switch) UnmarshalText(b []byte) error {
	on, err := strconv.ParseBool(string(b))
	if err != nil {
		return errors.New("must be true or false")
	}
	*s = Off
	if on {
		*s = On
	}
	return nil
}

// Bytes is a size. In text it is a whole number, alone or with KiB, MiB, GiB.
type Bytes int64

var byteUnits = []struct {
	suffix string
	factor Bytes
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && b%u.factor == 0 {
			return strconv.FormatInt(int64(b/u.factor), 10) + u.suffix
		}
	}
	return "0"
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n > int64(1<<62/u.factor) || n < 0 {
			break
		}
		*b = Bytes(n) * u.factor
		return nil
	}
	return errors.New("must be a size such as 8388608 or 8MiB")
}

// HostPorts is a list of host:port, in lower case.
type HostPorts []string

// UnmarshalText reads a list separated by commas.
func (h *HostPorts) UnmarshalText(text []byte) error {
	var out HostPorts
	for part := range strings.SplitSeq(string(text), ",") {
		part = strings.ToLower(strings.TrimSpace(part))
		host, port, err := net.SplitHostPort(part)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
			return fmt.Errorf("%q is no host:port", part)
		}
		out = append(out, part)
	}
	*h = out
	return nil
}

func (h HostPorts) String() string { return strings.Join(h, ",") }

// URL is an address, or several separated by commas, that may carry
// credentials. It prints without them.
type URL string

// Reveal returns the address with its credentials.
func (u URL) Reveal() string { return string(u) }

// secretParams are query parameters of a Postgres address that hold secrets.
var secretParams = []string{"password", "sslpassword", "passfile"}

func (u URL) String() string {
	parts := strings.Split(string(u), ",")
	for i, part := range parts {
		p, err := url.Parse(part)
		if err != nil {
			parts[i] = "[unreadable]"
			continue
		}
		if p.User != nil {
			// A user name alone may be a token, as in nats://token@host.
			p.User = url.User(hidden)
		}
		if q := p.Query(); slices.ContainsFunc(secretParams, q.Has) {
			for _, name := range secretParams {
				if q.Has(name) {
					q.Set(name, hidden)
				}
			}
			p.RawQuery = q.Encode()
		}
		parts[i] = p.String()
	}
	return strings.Join(parts, ",")
}

// GoString is String, for %#v.
func (u URL) GoString() string { return strconv.Quote(u.String()) }

// MarshalText is String, for encoding/json.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue is String, for slog.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// check never shows the value: it may be a password in the wrong place.
func (u URL) check(env string, schemes ...string) error {
	if u == "" {
		return nil
	}
	for part := range strings.SplitSeq(string(u), ",") {
		p, err := url.Parse(strings.TrimSpace(part))
		if err != nil || p.Host == "" || !slices.Contains(schemes, p.Scheme) {
			return fmt.Errorf("%s: must be an address that begins with %s://", env, strings.Join(schemes, ":// or "))
		}
	}
	return nil
}

func (u URL) checkOne(env string, schemes ...string) error {
	if strings.Contains(string(u), ",") {
		return fmt.Errorf("%s: must be one address", env)
	}
	return u.check(env, schemes...)
}

// Secret is a credential. It prints as "xxxxx".
type Secret string

// Reveal returns the credential.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText is String, for encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// hidden stands for what is not printed.
const hidden = "xxxxx"

// APIKeys are the keys of the API, each in the form tenant:key that package
// tenant reads and judges.
type APIKeys []Secret

// Reveal returns the entries with their keys.
func (k APIKeys) Reveal() []string {
	entries := make([]string, len(k))
	for i, e := range k {
		entries[i] = e.Reveal()
	}
	return entries
}

// UnmarshalText reads entries separated by commas or lines.
func (k *APIKeys) UnmarshalText(text []byte) (err error) {
	*k, err = parseKeys(strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || isLineEnd(r) }))
	return err
}

func parseKeys(entries []string) (APIKeys, error) {
	var keys APIKeys
	for i, e := range entries {
		e = strings.TrimSpace(e)
		if e == "" || strings.HasPrefix(e, "#") {
			continue
		}
		// The error does not show the entry: without a colon it may be the key alone.
		if tenant, key, ok := strings.Cut(e, ":"); !ok || tenant == "" || key == "" {
			return nil, fmt.Errorf("entry %d must be tenant:key", i+1)
		}
		keys = append(keys, Secret(e))
	}
	return keys, nil
}

func isLineEnd(r rune) bool { return r == '\n' || r == '\r' }

// Origins are web origins, as browsers send them: scheme://host or
// scheme://host:port.
type Origins []string

// UnmarshalText reads origins separated by commas.
func (o *Origins) UnmarshalText(text []byte) error {
	*o = nil
	for part := range strings.SplitSeq(string(text), ",") {
		if part = strings.ToLower(strings.TrimSpace(part)); part == "" {
			continue
		}
		u, err := url.Parse(part)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Scheme+"://"+u.Host != part {
			return fmt.Errorf("%q is no origin: want https://host or https://host:port, without a path", part)
		}
		*o = append(*o, part)
	}
	return nil
}

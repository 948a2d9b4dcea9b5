package openai

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// appendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD. It is
// encoding/json without its escapes for HTML, which would make a history full of
// code longer for nobody, and without its allocations.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = append(b, "\uFFFD"...)
			i++
			start = i
			continue
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// objectBuilder composes a JSON object member by member.
type objectBuilder struct {
	buf   []byte
	names map[string]bool
}

func (o *objectBuilder) member(name string) {
	if o.buf == nil {
		o.buf = append(o.buf, '{')
		o.names = map[string]bool{}
	} else {
		o.buf = append(o.buf, ',')
	}
	o.names[name] = true
	o.buf = append(appendString(o.buf, name), ':')
}

func (o *objectBuilder) has(name string) bool { return o.names[name] }

func (o *objectBuilder) str(name, v string) {
	o.member(name)
	o.buf = appendString(o.buf, v)
}

func (o *objectBuilder) strIf(name, v string) {
	if v != "" {
		o.str(name, v)
	}
}

func (o *objectBuilder) bool(name string, v bool) {
	o.member(name)
	o.buf = strconv.AppendBool(o.buf, v)
}

func (o *objectBuilder) int(name string, v int64) {
	o.member(name)
	o.buf = strconv.AppendInt(o.buf, v, 10)
}

// float adds a finite number that was given.
func (o *objectBuilder) float(name string, v *float64) {
	if v == nil {
		return
	}
	o.member(name)
	o.buf = strconv.AppendFloat(o.buf, *v, 'g', -1, 64)
}

func (o *objectBuilder) raw(name string, v []byte) {
	o.member(name)
	o.buf = append(o.buf, v...)
}

func (o *objectBuilder) any(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	o.raw(name, b)
	return nil
}

func (o *objectBuilder) close() []byte {
	if o.buf == nil {
		return []byte("{}")
	}
	return append(o.buf, '}')
}

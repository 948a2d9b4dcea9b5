package model

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD. It is
// encoding/json without its escapes for HTML, which would make a history full of
// code longer for nobody, and without its allocations.
func AppendString(b []byte, s string) []byte {
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
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
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

// Object composes a JSON object member by member. The zero value is empty.
type Object struct {
	buf   []byte
	names []string
}

func (o *Object) member(name string) {
	if o.buf == nil {
		o.buf = append(o.buf, '{')
	} else {
		o.buf = append(o.buf, ',')
	}
	o.names = append(o.names, name)
	o.buf = append(AppendString(o.buf, name), ':')
}

// Has reports whether the object has a member.
func (o *Object) Has(name string) bool {
	for _, n := range o.names {
		if n == name {
			return true
		}
	}
	return false
}

// Empty reports whether the object has no member.
func (o *Object) Empty() bool { return o.buf == nil }

// String adds a text.
func (o *Object) String(name, v string) {
	o.member(name)
	o.buf = AppendString(o.buf, v)
}

// StringIf adds a text that is not empty.
func (o *Object) StringIf(name, v string) {
	if v != "" {
		o.String(name, v)
	}
}

// Bool adds a truth value.
func (o *Object) Bool(name string, v bool) {
	o.member(name)
	o.buf = strconv.AppendBool(o.buf, v)
}

// Int adds a whole number.
func (o *Object) Int(name string, v int64) {
	o.member(name)
	o.buf = strconv.AppendInt(o.buf, v, 10)
}

// FloatIf adds a finite number that was given.
func (o *Object) FloatIf(name string, v *float64) {
	if v == nil {
		return
	}
	o.member(name)
	o.buf = strconv.AppendFloat(o.buf, *v, 'g', -1, 64)
}

// Raw adds a value that is JSON already.
func (o *Object) Raw(name string, v []byte) {
	o.member(name)
	o.buf = append(o.buf, v...)
}

// Any adds whatever encoding/json can encode.
func (o *Object) Any(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	o.Raw(name, b)
	return nil
}

// Open returns the object without its closing brace, for a caller that appends
// further members: each then begins with a comma. The object must not be empty.
func (o *Object) Open() []byte { return o.buf }

// Close returns the object.
func (o *Object) Close() []byte {
	if o.buf == nil {
		return []byte("{}")
	}
	return append(o.buf[:len(o.buf):len(o.buf)], '}')
}

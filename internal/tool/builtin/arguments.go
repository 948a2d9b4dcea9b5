package builtin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Models know the shape of arguments and miss it in a few ways that cannot be
// misunderstood: a list written as text, one thing where a list belongs, a number
// as text. These types take them. What could mean two things stays a mistake that
// the model is told of.

// list is a JSON array, or one element, or either of them as JSON in a string.
type list[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *list[T]) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	switch {
	case string(raw) == "null":
		return nil
	case raw[0] == '[':
		var plain []T
		if err := strict(raw, &plain); err != nil {
			return err
		}
		*l = plain
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if inner := strings.TrimSpace(text); inner != "" && (inner[0] == '[' || inner[0] == '{') && json.Valid([]byte(inner)) {
			if err := l.UnmarshalJSON([]byte(inner)); err == nil {
				return nil
			}
		}
	}
	var one T
	if err := strict(raw, &one); err != nil {
		return err
	}
	*l = list[T]{one}
	return nil
}

// strict decodes without unknown keys.
func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// whole is an integer, also as text or with a fraction of zero.
type whole int

// UnmarshalJSON implements json.Unmarshaler.
func (w *whole) UnmarshalJSON(raw []byte) error {
	text := string(bytes.TrimSpace(raw))
	if text == "null" {
		return nil
	}
	var quoted string
	if json.Unmarshal(raw, &quoted) == nil {
		if text = strings.TrimSpace(quoted); text == "" {
			return nil // said nothing
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<52 {
		return fmt.Errorf("%s is no whole number", raw)
	}
	*w = whole(f)
	return nil
}

// yes is a boolean, also as text.
type yes bool

// UnmarshalJSON implements json.Unmarshaler.
func (y *yes) UnmarshalJSON(raw []byte) error {
	switch text := strings.ToLower(strings.Trim(string(bytes.TrimSpace(raw)), `"`)); text {
	case "null", "": // said nothing
	case "true", "false":
		*y = text == "true"
	default:
		return errors.New(string(raw) + " is neither true nor false")
	}
	return nil
}

package model

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
)

// DataURL takes a data: URL (RFC 2397) apart: its media type without parameters
// and its content in base64, as providers want it. ok is false for other URLs and
// for content that cannot be read.
func DataURL(u string) (mediaType, content string, ok bool) {
	rest, ok := strings.CutPrefix(u, "data:")
	if !ok {
		return "", "", false
	}
	head, content, ok := strings.Cut(rest, ",")
	if !ok {
		return "", "", false
	}
	head, is64 := strings.CutSuffix(head, ";base64")
	mediaType, _, _ = strings.Cut(head, ";")
	if mediaType == "" {
		mediaType = "text/plain"
	}
	if is64 {
		return mediaType, content, true
	}
	plain, err := url.PathUnescape(content)
	if err != nil {
		return "", "", false
	}
	return mediaType, base64.StdEncoding.EncodeToString([]byte(plain)), true
}

// ArgumentsObject returns a call's arguments for APIs that take them as a JSON
// object: {} for none, and what is no object, because the model wrote it wrong,
// as the text of the member invalid_arguments.
func ArgumentsObject(arguments string) []byte {
	s := strings.TrimSpace(arguments)
	switch {
	case s == "":
		return []byte("{}")
	case s[0] == '{' && json.Valid([]byte(s)):
		return []byte(s)
	}
	return append(AppendString([]byte(`{"invalid_arguments":`), arguments), '}')
}

// SafeID makes an id fit for APIs that admit letters, digits, _ and - in the ids
// of calls, and at most a number of them: a conversation may hold calls that
// another provider's model made.
func SafeID(id string, longest int) string {
	id = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, id)
	if len(id) > longest {
		id = id[len(id)-longest:] // ids differ at their end sooner than at their beginning
	}
	return id
}

// IsBlank reports whether a text has nothing to say. Some APIs refuse blank text.
func IsBlank(s string) bool { return strings.TrimSpace(s) == "" }

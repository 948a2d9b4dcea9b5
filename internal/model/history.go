package model

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
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

// longestCallName is what the hosted providers admit as the name of a function.
const longestCallName = 64

// CallName makes the name of a call fit to be sent back. Tools have such names; a
// model may have called one that does not exist, and APIs refuse a conversation
// with a name of other characters than letters, digits, _ and - ("must satisfy
// regular expression pattern: [a-zA-Z0-9_-]+").
func CallName(name string) string {
	name = SafeID(name, len(name))
	if name == "" {
		return "_"
	}
	return name[:min(len(name), longestCallName)]
}

// NewCallID is an id for a call that has none, or one that another call of the
// same answer has.
func NewCallID() string { return "call_" + strings.ReplaceAll(holdfast.NewID(), "-", "") }

// RequestSize guesses how long the body of a request gets, in bytes.
func RequestSize(req *Request) int {
	n := 1 << 10
	for i := range req.Messages {
		msg := &req.Messages[i]
		n += 128 + len(msg.Content)*9/8 + len(msg.Opaque)
		for j := range msg.ToolCalls {
			n += 128 + len(msg.ToolCalls[j].Function.Arguments)*9/8
		}
		for j := range msg.Parts {
			if u := msg.Parts[j].ImageURL; u != nil {
				n += 128 + len(u.URL)
			}
			n += 64 + len(msg.Parts[j].Text)
		}
	}
	for i := range req.Tools {
		n += 96 + len(req.Tools[i].Description) + len(req.Tools[i].Parameters)
	}
	return n
}

// IsBlank reports whether a text has nothing to say. Some APIs refuse blank text.
func IsBlank(s string) bool { return strings.TrimSpace(s) == "" }

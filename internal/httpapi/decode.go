package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// lateBody is said of a body that did not come.
const lateBody = "the body did not come in the time that there is for it"

// readBody reads a request's body of at most max bytes. Its errors have
// CodeTooLarge, CodeTimeout or CodeInvalid.
func readBody(w http.ResponseWriter, r *http.Request, max int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, max))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, holdfast.Errorf(holdfast.CodeTooLarge, "the body is larger than %d bytes", max)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, holdfast.WrapError(holdfast.CodeTimeout, errSlowBody, lateBody)
	case err != nil:
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "the body could not be read to its end")
	}
	return body, nil
}

// wantJSON refuses a body that says that it is something else. One that says
// nothing is taken for JSON.
func wantJSON(r *http.Request) error {
	given := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(given)
	if given == "" || (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) && (media == "application/json" || strings.HasSuffix(media, "+json")) {
		return nil
	}
	return holdfast.WrapError(holdfast.CodeInvalid, errMediaType, fmt.Sprintf("Content-Type %q: this route takes JSON; send the header Content-Type: application/json", given))
}

// decodeStrict is decodeJSON for our own routes, where a name that an object has
// twice is a mistake: which of the two counts would be a guess.
func decodeStrict(data []byte, v any) error {
	if err := decodeJSON(data, v); err != nil {
		return err
	}
	if name, at := duplicate(data); at >= 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is given twice in one object, again at %s", name, position(data, at))
	}
	return nil
}

// duplicate looks for a name that an object of a valid JSON text has twice and
// returns it with its place, -1 if there is none.
func duplicate(data []byte) (name string, at int) {
	var open []map[string]bool // the names so far; nil for an array
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{':
			open = append(open, map[string]bool{})
		case '[':
			open = append(open, nil)
		case '}', ']':
			open = open[:len(open)-1]
		case '"':
			begin := i
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			after := bytes.TrimLeft(data[i+1:], " \t\r\n")
			if len(after) == 0 || after[0] != ':' {
				continue
			}
			if err := json.Unmarshal(data[begin:i+1], &name); err != nil {
				panic("httpapi: a valid JSON text has a name that is none: " + err.Error())
			}
			names := open[len(open)-1]
			if names[name] {
				return name, begin
			}
			names[name] = true
		}
	}
	return "", -1
}

// decodeJSON reads one JSON text into v. Its errors have CodeInvalid and say
// where the mistake is. Members that v does not have are passed over.
func decodeJSON(data []byte, v any) error {
	if i := invalidUTF8(data); i >= 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the body is not valid UTF-8 at %s", position(data, i))
	}
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return holdfast.Errorf(holdfast.CodeInvalid, "the body is empty; JSON is expected")
	case errors.As(err, &syntax):
		// The offset is that of the byte after the one that does not fit.
		return holdfast.Errorf(holdfast.CodeInvalid, "malformed JSON at %s: %s", position(data, int(syntax.Offset)-1), syntax.Error())
	case errors.As(err, &mismatch):
		where := "the body"
		if mismatch.Field != "" {
			where = mismatch.Field
		}
		return holdfast.Errorf(holdfast.CodeInvalid, "%s: a JSON %s does not fit at %s", where, mismatch.Value, position(data, int(mismatch.Offset)-1))
	}
	return holdfast.WrapError(holdfast.CodeInvalid, err, "the body cannot be read as JSON")
}

// invalidUTF8 returns the index of the first byte that is not UTF-8, -1 if there
// is none.
func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// position says where offset is in data, for people.
func position(data []byte, offset int) string {
	offset = max(0, min(offset, len(data)))
	line := 1 + bytes.Count(data[:offset], []byte{'\n'})
	column := offset - bytes.LastIndexByte(data[:offset], '\n')
	return fmt.Sprintf("line %d, column %d", line, column)
}

// MessageIn is a message of the user as a request brings it.
type MessageIn struct {
	Role    string                 `json:"role,omitempty" enum:"user" doc:"Always user, which is also the default: what the others said is in the session."`
	Content string                 `json:"content" doc:"The text of the message."`
	Parts   []holdfast.ContentPart `json:"multi_content,omitempty" doc:"What is not plain text, in order after content."`
}

// runInput reads the body of a run on the legacy routes: an array of messages,
// or an object with a member messages.
func runInput(data []byte) ([]MessageIn, error) {
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) > 0 && trimmed[0] == '[' {
		var list []MessageIn
		if err := decodeJSON(data, &list); err != nil {
			return nil, err
		}
		return list, nil
	}
	var object struct {
		Messages *[]MessageIn `json:"messages"`
		Model    string       `json:"model"` // of clients of 2026: another one than the agent's
	}
	if err := decodeJSON(data, &object); err != nil {
		return nil, err
	}
	if object.Model != "" {
		return nil, holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: model: a choice of models; the agent file says which")
	}
	if object.Messages == nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "messages: missing; want [{\"role\":\"user\",\"content\":\"…\"}] or an object with a member messages")
	}
	return *object.Messages, nil
}

// userMessages checks the messages of a run.
func userMessages(list []MessageIn) ([]holdfast.Message, error) {
	if len(list) == 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "messages: at least one is needed")
	}
	out := make([]holdfast.Message, len(list))
	for i, m := range list {
		if m.Role != "" && m.Role != string(holdfast.RoleUser) {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "messages[%d].role: %q is not taken from outside, only \"user\" is", i, m.Role)
		}
		if m.Content == "" && len(m.Parts) == 0 {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "messages[%d].content: empty", i)
		}
		for j, p := range m.Parts {
			switch {
			case p.Type == "text" && p.ImageURL == nil, p.Type == "image_url" && p.ImageURL != nil && p.ImageURL.URL != "":
			default:
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "messages[%d].multi_content[%d]: want type text with text, or type image_url with image_url.url", i, j)
			}
		}
		out[i] = holdfast.Message{Role: holdfast.RoleUser, Content: m.Content, Parts: m.Parts}
	}
	return out, nil
}

// sessionTemplate is what counts of the body of POST /sessions.
type sessionTemplate struct {
	ToolsApproved bool `json:"tools_approved"`
}

// template reads the body of POST /sessions; an empty body and null are an empty
// template.
func template(data []byte) (sessionTemplate, error) {
	var t *sessionTemplate
	if len(bytes.TrimSpace(data)) > 0 {
		if err := decodeJSON(data, &t); err != nil {
			return sessionTemplate{}, err
		}
	}
	if t == nil {
		t = &sessionTemplate{}
	}
	return *t, nil
}

// Decisions on a tool call.
const (
	decisionApprove        = "approve"
	decisionApproveSession = "approve-session"
	decisionReject         = "reject"
)

// checkDecision refuses every word but the three.
func checkDecision(member, word string) error {
	switch word {
	case decisionApprove, decisionApproveSession, decisionReject:
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "%s: %q is none of \"approve\", \"approve-session\", \"reject\"; nothing was decided", member, word)
}

// checkArguments refuses edited arguments that are not a JSON object.
func checkArguments(text string) error {
	if text == "" {
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "arguments: want the text of a JSON object")
	}
	return nil
}

// checkMode refuses every word but the modes of a run.
func checkMode(mode string) error {
	switch mode {
	case "", events.ModeEnqueue, events.ModeSteer, events.ModeInterrupt, events.ModeRollback, events.ModeReject:
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "mode: %q is none of enqueue, steer, interrupt, rollback, reject", mode)
}

package openai

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// chatRequest composes the body of POST /chat/completions.
func (m *Model) chatRequest(req *model.Request) ([]byte, error) {
	b := make([]byte, 0, len(m.set.fixed)+model.RequestSize(req))
	b = append(b, m.set.fixed...)
	b = append(b, `,"messages":[`...)
	begin := len(b)
	var last holdfast.Role
	add := func(msg *holdfast.Message) (err error) {
		if len(b) > begin {
			b = append(b, ',')
		}
		if m.set.alias.quirks.mistral && last == holdfast.RoleTool && msg.Role == holdfast.RoleUser {
			b = append(b, bridge...)
		}
		last = msg.Role
		b, err = m.chatMessage(b, msg)
		return err
	}
	var seen []holdfast.ContentPart // images of the answers of tools since the last other message
	for i := range req.Messages {
		msg := &req.Messages[i]
		if isEmpty(msg) {
			continue
		}
		if msg.Role != holdfast.RoleTool && len(seen) > 0 {
			if err := add(toolImages(seen)); err != nil {
				return nil, err
			}
			seen = nil
		}
		if msg.Role == holdfast.RoleTool {
			seen = append(seen, msg.Parts...)
		}
		if err := add(msg); err != nil {
			return nil, err
		}
	}
	if len(seen) > 0 {
		if err := add(toolImages(seen)); err != nil {
			return nil, err
		}
	}
	b = append(b, ']')
	if len(req.Tools) > 0 {
		b = append(b, `,"tools":[`...)
		for i := range req.Tools {
			t := &req.Tools[i]
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"type":"function","function":{"name":`...)
			b = model.AppendString(b, t.Name)
			if t.Description != "" {
				b = model.AppendString(append(b, `,"description":`...), t.Description)
			}
			b = append(b, `,"parameters":`...)
			var err error
			if b, err = m.appendSchema(b, t); err != nil {
				return nil, err
			}
			b = append(b, `}}`...)
		}
		b = append(b, ']')
		b = append(b, m.set.withTools...)
	}
	if so := req.StructuredOutput; so != nil {
		b = append(b, `,"response_format":{"type":"json_schema","json_schema":`...)
		var err error
		if b, err = appendFormat(append(b, '{'), so); err != nil {
			return nil, err
		}
		b = append(b, `}}`...)
	}
	if p := m.set.alias.quirks.endUser; p != "" && req.EndUser != "" {
		b = append(model.AppendString(append(b, ','), p), ':')
		b = model.AppendString(b, req.EndUser)
	}
	return append(b, '}'), nil
}

// toolImages is the message that shows the model the images which the tools before it
// answered: the API takes text alone in messages of tools, and images in those of the
// user (https://platform.openai.com/docs/api-reference/chat/create), and nothing may
// stand between a call and its answer.
func toolImages(parts []holdfast.ContentPart) *holdfast.Message {
	return &holdfast.Message{Role: holdfast.RoleUser, Content: "The images that the tools answered, in order:", Parts: parts}
}

// isEmpty reports whether a message is an answer that broke off before it said
// anything. Servers refuse an assistant message with neither text nor calls.
func isEmpty(m *holdfast.Message) bool {
	return m.Role == holdfast.RoleAssistant && m.Content == "" && len(m.ToolCalls) == 0
}

func (m *Model) chatMessage(b []byte, msg *holdfast.Message) ([]byte, error) {
	if len(msg.Parts) > 0 && msg.Role != holdfast.RoleUser && msg.Role != holdfast.RoleTool {
		return nil, m.noImages()
	}
	b = append(b, `{"role":`...)
	b = model.AppendString(b, string(msg.Role))
	switch msg.Role {
	case holdfast.RoleAssistant:
		if msg.Content != "" {
			b = model.AppendString(append(b, `,"content":`...), msg.Content)
		}
		if h := m.set.reasoningHistory; h != "" && msg.ReasoningContent != "" {
			b = append(model.AppendString(append(b, ','), h), ':')
			b = model.AppendString(b, msg.ReasoningContent)
		}
		memory := m.memory(msg)
		if len(memory.Details) > 0 {
			b = append(b, `,"reasoning_details":[`...)
			for i, detail := range memory.Details {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(b, detail...)
			}
			b = append(b, ']')
		}
		if len(msg.ToolCalls) > 0 {
			b = append(b, `,"tool_calls":[`...)
			for i := range msg.ToolCalls {
				if i > 0 {
					b = append(b, ',')
				}
				c := &msg.ToolCalls[i]
				b = model.AppendString(append(b, `{"id":`...), m.callID(c.ID))
				b = model.AppendString(append(b, `,"type":"function","function":{"name":`...), model.CallName(c.Function.Name))
				b = appendArguments(append(b, `,"arguments":`...), c)
				b = append(b, '}')
				if extra := memory.Calls[c.ID]; extra != nil {
					b = append(append(b, `,"extra_content":`...), extra...)
				}
				b = append(b, '}')
			}
			b = append(b, ']')
		}
	case holdfast.RoleTool:
		b = model.AppendString(append(b, `,"tool_call_id":`...), m.callID(msg.ToolCallID))
		b = model.AppendString(append(b, `,"content":`...), msg.Content)
	default:
		if len(msg.Parts) == 0 {
			b = model.AppendString(append(b, `,"content":`...), msg.Content)
			break
		}
		b = append(b, `,"content":[`...)
		if msg.Content != "" {
			b = model.AppendString(append(b, `{"type":"text","text":`...), msg.Content)
			b = append(b, `},`...)
		}
		for i := range msg.Parts {
			if i > 0 {
				b = append(b, ',')
			}
			p := &msg.Parts[i]
			if p.ImageURL == nil {
				b = model.AppendString(append(b, `{"type":"text","text":`...), p.Text)
				b = append(b, '}')
				continue
			}
			b = model.AppendString(append(b, `{"type":"image_url","image_url":{"url":`...), p.ImageURL.URL)
			if p.ImageURL.Detail != "" {
				b = model.AppendString(append(b, `,"detail":`...), p.ImageURL.Detail)
			}
			b = append(b, `}}`...)
		}
		b = append(b, ']')
	}
	return append(b, '}'), nil
}

// bridge goes between a tool's answer and the user's next message where Mistral
// has none of the model's: its API refuses the order ("Unexpected role 'user' after
// role 'tool'"), which comes when a run is canceled or fails behind its tools.
const bridge = `{"role":"assistant","content":"OK."},`

// mistralID is the only form of a call's id that Mistral takes back ("must be a-z,
// A-Z, 0-9, with a length of 9").
var mistralID = regexp.MustCompile(`^[a-zA-Z0-9]{9}$`)

// callID is a call's id as the API takes it. A conversation may hold calls that
// another provider's model made.
func (m *Model) callID(id string) string {
	if !m.set.alias.quirks.mistral || mistralID.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:5])[:9]
}

// appendArguments appends a call's arguments, as a JSON string, as the model wrote
// them, {} for none. What is
// no JSON object goes as the text of a member: servers read what they are sent (vLLM's
// templates, Qwen: "the function.arguments parameter must be in JSON format"), and
// one call gone wrong must not end the conversation.
func appendArguments(b []byte, c *holdfast.ToolCall) []byte {
	a := c.Function.Arguments
	// The room behind b is where the text can be looked at as bytes without a copy of
	// its own.
	if a != "" && a[0] == '{' && json.Valid(append(b, a...)[len(b):]) {
		return model.AppendString(b, a)
	}
	return model.AppendString(b, string(model.ArgumentsObject(a)))
}

// appendSchema appends the parameters of a tool: whole where the server is one's own,
// else in the form that the hosted providers take.
func (m *Model) appendSchema(b []byte, t *model.Tool) ([]byte, error) {
	if s := bytes.TrimSpace(t.Parameters); m.set.alias.quirks.anySchema && len(s) > 2 && s[0] == '{' && json.Valid(s) {
		return append(b, s...), nil
	}
	schema, err := t.Schema()
	return append(b, schema...), err
}

// nameRunes are what the name of a format must not contain (OpenAI's reference:
// a-z, A-Z, 0-9, underscores and dashes, 64 at most).
var nameRunes = regexp.MustCompile(`[^a-zA-Z0-9_-]+`)

// appendFormat appends the members that describe structured output; both APIs
// share them.
func appendFormat(b []byte, so *model.StructuredOutput) ([]byte, error) {
	name := nameRunes.ReplaceAllString(so.Name, "_")
	if name == "" {
		name = "answer"
	}
	b = model.AppendString(append(b, `"name":`...), name[:min(len(name), 64)])
	if so.Description != "" {
		b = model.AppendString(append(b, `,"description":`...), so.Description)
	}
	if !json.Valid(so.Schema) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the schema of structured_output %q is not JSON", so.Name)
	}
	b = append(append(b, `,"schema":`...), so.Schema...)
	if so.Strict {
		b = append(b, `,"strict":true`...)
	}
	return b, nil
}

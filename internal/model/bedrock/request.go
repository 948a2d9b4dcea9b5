package bedrock

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// cachedTurns is how many of the user's last turns end with a cache point: the
// last writes it, the one before finds what the call before has written.
const cachedTurns = 2

// longestID is the limit of toolUseId.
const longestID = 64

// turn is a run of messages that the API sees as one: it wants user and
// assistant to take turns.
type turn struct {
	role     holdfast.Role // user (tools' answers included) or assistant
	messages []holdfast.Message
}

// turns splits a conversation, without the system's messages and those that say
// nothing.
func turns(messages []holdfast.Message) []turn {
	var out []turn
	for i := range messages {
		msg := &messages[i]
		role := msg.Role
		switch role {
		case holdfast.RoleSystem:
			continue
		case holdfast.RoleTool:
			role = holdfast.RoleUser
		default:
			silent := func(p holdfast.ContentPart) bool { return p.ImageURL == nil && model.IsBlank(p.Text) }
			if model.IsBlank(msg.Content) && len(msg.ToolCalls) == 0 && len(slices.DeleteFunc(slices.Clone(msg.Parts), silent)) == 0 {
				continue
			}
		}
		if n := len(out); n > 0 && out[n-1].role == role {
			out[n-1].messages = append(out[n-1].messages, *msg)
			continue
		}
		out = append(out, turn{role: role, messages: messages[i : i+1 : i+1]})
	}
	return out
}

// request composes the body of ConverseStream.
func (m *Model) request(req *model.Request) ([]byte, error) {
	b := make([]byte, 0, len(m.set.tail)+model.RequestSize(req))
	ts := turns(req.Messages)
	think := m.set.thinking
	if think.Manual() && !m.mayThink(ts) {
		think = model.ClaudeThinking{}
	}
	b = append(b, `{"messages":[`...)
	var err error
	if b, err = m.messages(b, ts); err != nil {
		return nil, err
	}
	b = append(b, ']')
	if b, err = m.system(b, req.Messages); err != nil {
		return nil, err
	}
	if b, err = m.tools(b, req); err != nil {
		return nil, err
	}
	if b, err = m.additionalFields(b, think, len(req.Tools) > 0); err != nil {
		return nil, err
	}
	if b, err = outputConfig(b, think.Effort, req.StructuredOutput); err != nil {
		return nil, err
	}
	b = append(b, m.set.tail...)
	return append(b, '}'), nil
}

func isTool(msg holdfast.Message) bool { return msg.Role == holdfast.RoleTool }

// mayThink reports whether manual thinking is possible: while tools are being
// used, the turn must have begun with a thinking block.
func (m *Model) mayThink(ts []turn) bool {
	if len(ts) == 0 || !slices.ContainsFunc(ts[len(ts)-1].messages, isTool) {
		return true
	}
	first := 0 // of the assistant's turns since the user's own last word
	for i := range ts {
		if ts[i].role == holdfast.RoleUser && !slices.ContainsFunc(ts[i].messages, isTool) {
			first = i + 1
		}
	}
	if first >= len(ts) || ts[first].role != holdfast.RoleAssistant {
		return false
	}
	o := m.kept(&ts[first].messages[0])
	return len(o) > 0 && (o[0].Type == "thinking" || o[0].Type == "redacted_thinking")
}

// system appends the system prompt, a block for each message.
func (m *Model) system(b []byte, messages []holdfast.Message) ([]byte, error) {
	n := 0
	for i := range messages {
		msg := &messages[i]
		if msg.Role != holdfast.RoleSystem || model.IsBlank(msg.Content) {
			continue
		}
		if len(msg.Parts) > 0 {
			return nil, m.noImages()
		}
		if n == 0 {
			b = append(b, `,"system":[`...)
		} else {
			b = append(b, ',')
		}
		n++
		b = textBlock(b, msg.Content)
	}
	if n == 0 {
		return b, nil
	}
	return append(m.point(b), ']'), nil
}

func (m *Model) noImages() error {
	return holdfast.Errorf(holdfast.CodeInvalid, "%s takes images only in messages of the user and in tools' answers", m.cfg.Provider)
}

// point appends a cache point to a list that is not empty.
func (m *Model) point(b []byte) []byte {
	if m.set.cache == "" {
		return b
	}
	return append(append(b, ','), m.set.cache...)
}

func textBlock(b []byte, text string) []byte {
	return append(model.AppendString(append(b, `{"text":`...), text), '}')
}

// messages appends the turns.
func (m *Model) messages(b []byte, ts []turn) ([]byte, error) {
	users := 0
	for i := range ts {
		if ts[i].role == holdfast.RoleUser {
			users++
		}
	}
	for i := range ts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `{"role":"`...), ts[i].role...), `","content":[`...)
		var err error
		if ts[i].role == holdfast.RoleAssistant {
			b, err = m.assistant(b, ts[i].messages)
		} else {
			b, err = m.user(b, ts[i].messages)
			if users <= cachedTurns {
				b = m.point(b)
			}
			users--
		}
		if err != nil {
			return nil, err
		}
		b = append(b, `]}`...)
	}
	return b, nil
}

// user appends a user's turn, the answers of tools first.
func (m *Model) user(b []byte, messages []holdfast.Message) ([]byte, error) {
	begin := len(b)
	comma := func() {
		if len(b) > begin {
			b = append(b, ',')
		}
	}
	var err error
	for i := range messages {
		msg := &messages[i]
		if msg.Role != holdfast.RoleTool {
			continue
		}
		comma()
		b = model.AppendString(append(b, `{"toolResult":{"toolUseId":`...), model.SafeID(msg.ToolCallID, longestID))
		b = append(b, `,"content":[`...)
		empty := len(b)
		if b, err = m.content(b, msg); err != nil {
			return nil, err
		}
		if len(b) == empty {
			// The list may be empty for Claude, for other models it may not.
			b = textBlock(b, "(no output)")
		}
		b = append(b, ']')
		if msg.IsError && len(msg.Parts) == 0 { // as for Anthropic's own API
			b = append(b, `,"status":"error"`...)
		}
		b = append(b, `}}`...)
	}
	for i := range messages {
		msg := &messages[i]
		if msg.Role == holdfast.RoleTool {
			continue
		}
		comma()
		if b, err = m.content(b, msg); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// content appends a message's text and parts as blocks.
func (m *Model) content(b []byte, msg *holdfast.Message) ([]byte, error) {
	begin := len(b)
	comma := func() {
		if len(b) > begin {
			b = append(b, ',')
		}
	}
	if !model.IsBlank(msg.Content) {
		b = textBlock(b, msg.Content)
	}
	for i := range msg.Parts {
		p := &msg.Parts[i]
		if p.ImageURL == nil {
			if !model.IsBlank(p.Text) {
				comma()
				b = textBlock(b, p.Text)
			}
			continue
		}
		mediaType, data, ok := model.DataURL(p.ImageURL.URL)
		format, image := strings.CutPrefix(mediaType, "image/")
		if !ok || !image {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s takes images as data: URLs only", m.cfg.Provider)
		}
		if format == "jpg" {
			format = "jpeg"
		}
		comma()
		b = model.AppendString(append(b, `{"image":{"format":`...), format)
		b = model.AppendString(append(b, `,"source":{"bytes":`...), data)
		b = append(b, `}}}`...)
	}
	return b, nil
}

// assistant appends an assistant's turn.
func (m *Model) assistant(b []byte, messages []holdfast.Message) ([]byte, error) {
	begin := len(b)
	for i := range messages {
		msg := &messages[i]
		if len(msg.Parts) > 0 {
			return nil, m.noImages()
		}
		for _, block := range model.OrderBlocks(msg, m.kept(msg)) {
			if block.Type == "text" && model.IsBlank(block.Text) {
				continue
			}
			if len(b) > begin {
				b = append(b, ',')
			}
			switch block.Type {
			case "thinking":
				b = model.AppendString(append(b, `{"reasoningContent":{"reasoningText":{"text":`...), block.Thinking)
				b = model.AppendString(append(b, `,"signature":`...), block.Signature)
				b = append(b, `}}}`...)
			case "redacted_thinking":
				b = model.AppendString(append(b, `{"reasoningContent":{"redactedContent":`...), block.Data)
				b = append(b, `}}`...)
			case "text":
				b = textBlock(b, block.Text)
			case "tool_use":
				b = model.AppendString(append(b, `{"toolUse":{"toolUseId":`...), model.SafeID(block.Call.ID, longestID))
				b = model.AppendString(append(b, `,"name":`...), model.CallName(block.Call.Function.Name))
				b = append(append(b, `,"input":`...), model.ArgumentsObject(block.Call.Function.Arguments)...)
				b = append(b, `}}`...)
			}
		}
	}
	return b, nil
}

// tools appends the tools. A conversation with calls needs the tools that were
// called even if none are offered any more.
func (m *Model) tools(b []byte, req *model.Request) ([]byte, error) {
	tools := req.Tools
	if len(tools) == 0 {
		if tools = called(req.Messages); len(tools) == 0 {
			return b, nil
		}
	}
	b = append(b, `,"toolConfig":{"tools":[`...)
	for i := range tools {
		t := &tools[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = model.AppendString(append(b, `{"toolSpec":{"name":`...), t.Name)
		if t.Description != "" {
			b = model.AppendString(append(b, `,"description":`...), t.Description)
		}
		schema, err := t.Schema()
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"inputSchema":{"json":`...), schema...)
		b = append(b, `}}}`...)
	}
	if m.set.cacheTools {
		b = m.point(b)
	}
	return append(b, `]}`...), nil
}

// called lists the tools that a conversation has calls of, in order of their
// first call.
func called(messages []holdfast.Message) []model.Tool {
	var out []model.Tool
	for i := range messages {
		for j := range messages[i].ToolCalls {
			name := model.CallName(messages[i].ToolCalls[j].Function.Name)
			if !slices.ContainsFunc(out, func(t model.Tool) bool { return t.Name == name }) {
				out = append(out, model.Tool{Name: name, Description: "Not available any more."})
			}
		}
	}
	return out
}

// additionalFields appends what only the model itself understands.
func (m *Model) additionalFields(b []byte, think model.ClaudeThinking, tools bool) ([]byte, error) {
	fields := maps.Clone(m.set.fields)
	if fields == nil {
		fields = map[string]any{}
	}
	if think.Kind != "" {
		t := map[string]any{"type": think.Kind}
		if think.Manual() {
			t["budget_tokens"] = think.Budget
		}
		if m.set.display != "" && think.Kind != "disabled" {
			t["display"] = m.set.display
		}
		fields["thinking"] = t
		if _, given := fields["anthropic_beta"]; m.set.interleaved && tools && !given {
			fields["anthropic_beta"] = []string{interleavedBeta}
		}
	}
	if len(fields) == 0 {
		return b, nil
	}
	// The order of a map's members is that of their names: the same for all calls,
	// as the cache wants it.
	v, err := json.Marshal(fields)
	if err != nil {
		return nil, m.cfg.Invalid("provider option additional_model_request_fields cannot be sent as JSON")
	}
	return append(append(b, `,"additionalModelRequestFields":`...), v...), nil
}

// outputConfig appends the effort and the format of the answer.
func outputConfig(b []byte, effort string, so *model.StructuredOutput) ([]byte, error) {
	o := &model.Object{}
	if so != nil {
		var schema bytes.Buffer
		if err := json.Compact(&schema, so.Schema); err != nil {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the schema of structured_output %q is not JSON", so.Name)
		}
		s := &model.Object{}
		s.String("schema", schema.String())
		s.StringIf("name", model.SafeID(so.Name, 64))
		s.StringIf("description", so.Description)
		o.Raw("textFormat", slices.Concat([]byte(`{"type":"json_schema","structure":{"jsonSchema":`), s.Close(), []byte(`}}`)))
	}
	o.StringIf("effort", effort)
	if o.Empty() {
		return b, nil
	}
	return append(append(b, `,"outputConfig":`...), o.Close()...), nil
}

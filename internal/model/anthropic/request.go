package anthropic

import (
	"bytes"
	"encoding/json"
	"slices"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// interleavedBeta lets manual thinking go on between the calls of tools.
const interleavedBeta = "interleaved-thinking-2025-05-14"

// cachedTurns is how many of the user's last turns are marked for the cache: the
// last writes it, the one before finds what the call before has written.
const cachedTurns = 2

// longestID is generous: the API limits the characters of ids, not their number.
const longestID = 256

// turn is a run of messages that the API sees as one.
type turn struct {
	role     holdfast.Role // user (tools' answers included) or assistant
	messages []holdfast.Message
}

// turns splits a conversation, without the system's messages.
func turns(messages []holdfast.Message) []turn {
	var out []turn
	for i := range messages {
		role := messages[i].Role
		switch role {
		case holdfast.RoleSystem:
			continue
		case holdfast.RoleTool:
			role = holdfast.RoleUser
		}
		if n := len(out); n > 0 && out[n-1].role == role {
			out[n-1].messages = append(out[n-1].messages, messages[i])
			continue
		}
		out = append(out, turn{role: role, messages: messages[i : i+1 : i+1]})
	}
	return out
}

// request composes the body of POST /v1/messages and says which betas it needs.
func (m *Model) request(req *model.Request) (body []byte, betas []string, err error) {
	b := make([]byte, 0, len(m.set.fixed)+model.RequestSize(req))
	b = append(b, m.set.fixed...)
	ts := turns(req.Messages)
	think := m.set.thinking
	if think.Manual() && !m.mayThink(ts) {
		think = model.ClaudeThinking{}
	} else {
		b = append(b, m.set.thinkingBody...)
	}
	if b, err = m.system(b, req.Messages); err != nil {
		return nil, nil, err
	}
	b = append(b, `,"messages":[`...)
	if b, err = m.messages(b, ts); err != nil {
		return nil, nil, err
	}
	b = append(b, ']')
	if b, err = m.tools(b, req); err != nil {
		return nil, nil, err
	}
	if b, err = outputConfig(b, think.Effort, req.StructuredOutput); err != nil {
		return nil, nil, err
	}
	if req.EndUser != "" {
		b = model.AppendString(append(b, `,"metadata":{"user_id":`...), req.EndUser)
		b = append(b, '}')
	}
	betas = slices.Clip(m.set.betas)
	if m.set.interleaved && think.Manual() && len(req.Tools) > 0 && !slices.Contains(betas, interleavedBeta) {
		betas = append(betas, interleavedBeta)
	}
	return append(b, '}'), betas, nil
}

// mayThink reports whether manual thinking is possible: while tools are being
// used, the turn must have begun with a thinking block.
func (m *Model) mayThink(ts []turn) bool {
	if len(ts) == 0 || !slices.ContainsFunc(ts[len(ts)-1].messages, isTool) {
		return true
	}
	for i := len(ts) - 1; i >= 0; i-- {
		// The turn began after the last message of the user's own.
		if ts[i].role == holdfast.RoleUser && !slices.ContainsFunc(ts[i].messages, isTool) {
			if i+1 >= len(ts) {
				return true
			}
			return m.beginsWithThinking(&ts[i+1].messages[0])
		}
	}
	// The beginning is gone, by compaction for example.
	return ts[0].role == holdfast.RoleAssistant && m.beginsWithThinking(&ts[0].messages[0])
}

func isTool(msg holdfast.Message) bool { return msg.Role == holdfast.RoleTool }

func (m *Model) beginsWithThinking(msg *holdfast.Message) bool {
	o := m.kept(msg)
	return len(o) > 0 && (o[0].Type == "thinking" || o[0].Type == "redacted_thinking")
}

// mark marks the block that b ends with for the cache.
func (m *Model) mark(b []byte) []byte {
	if m.set.cache == "" || len(b) == 0 || b[len(b)-1] != '}' {
		return b
	}
	b = append(b[:len(b)-1], m.set.cache...)
	return append(b, '}')
}

// system appends the system prompt, a block for each message.
func (m *Model) system(b []byte, messages []holdfast.Message) ([]byte, error) {
	n := 0
	for i := range messages {
		msg := &messages[i]
		if msg.Role != holdfast.RoleSystem {
			continue
		}
		if len(msg.Parts) > 0 {
			return nil, m.noImages()
		}
		if model.IsBlank(msg.Content) {
			continue // the API refuses blank text
		}
		if n == 0 {
			b = append(b, `,"system":[`...)
		} else {
			b = append(b, ',')
		}
		n++
		b = textBlock(b, msg.Content)
	}
	if n > 0 {
		b = append(m.mark(b), ']')
	}
	return b, nil
}

func (m *Model) noImages() error {
	return holdfast.Errorf(holdfast.CodeInvalid, "%s takes images only in messages of the user and in tools' answers", m.cfg.Provider)
}

func textBlock(b []byte, text string) []byte {
	b = model.AppendString(append(b, `{"type":"text","text":`...), text)
	return append(b, '}')
}

// messages appends the turns that have anything to say.
func (m *Model) messages(b []byte, ts []turn) ([]byte, error) {
	marks := 0
	for i := range ts {
		if ts[i].role == holdfast.RoleUser {
			marks++
		}
	}
	begin := len(b)
	for i := range ts {
		before := len(b)
		if before > begin {
			b = append(b, ',')
		}
		b = model.AppendString(append(b, `{"role":`...), string(ts[i].role))
		b = append(b, `,"content":[`...)
		empty := len(b)
		var err error
		if ts[i].role == holdfast.RoleAssistant {
			b, err = m.assistant(b, ts[i].messages)
		} else {
			b, err = m.user(b, ts[i].messages)
			if marks <= cachedTurns && len(b) > empty {
				b = m.mark(b)
			}
			marks--
		}
		if err != nil {
			return nil, err
		}
		if len(b) == empty {
			b = b[:before] // the API refuses messages without content
			continue
		}
		b = append(b, `]}`...)
	}
	return b, nil
}

// user appends a user's turn. The answers of tools come first: the API wants
// them right behind the calls.
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
		b = model.AppendString(append(b, `{"type":"tool_result","tool_use_id":`...), model.SafeID(msg.ToolCallID, longestID))
		if msg.IsError && len(msg.Parts) == 0 { // with an image it is refused, and with it the whole conversation; the text says it
			b = append(b, `,"is_error":true`...)
		}
		before := len(b)
		b = append(b, `,"content":[`...)
		empty := len(b)
		if b, err = m.content(b, msg); err != nil {
			return nil, err
		}
		if len(b) == empty {
			b = b[:before]
		} else {
			b = append(b, ']')
		}
		b = append(b, '}')
	}
	for i := range messages {
		msg := &messages[i]
		if msg.Role == holdfast.RoleTool {
			continue
		}
		before := len(b)
		comma()
		empty := len(b)
		if b, err = m.content(b, msg); err != nil {
			return nil, err
		}
		if len(b) == empty {
			b = b[:before]
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
		switch {
		case p.ImageURL == nil:
			if !model.IsBlank(p.Text) {
				comma()
				b = textBlock(b, p.Text)
			}
		default:
			comma()
			b = append(b, `{"type":"image","source":`...)
			if mediaType, data, ok := model.DataURL(p.ImageURL.URL); ok {
				b = model.AppendString(append(b, `{"type":"base64","media_type":`...), mediaType)
				b = model.AppendString(append(b, `,"data":`...), data)
			} else {
				b = model.AppendString(append(b, `{"type":"url","url":`...), p.ImageURL.URL)
			}
			b = append(b, `}}`...)
		}
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
				b = model.AppendString(append(b, `{"type":"thinking","thinking":`...), block.Thinking)
				b = model.AppendString(append(b, `,"signature":`...), block.Signature)
			case "redacted_thinking":
				b = model.AppendString(append(b, `{"type":"redacted_thinking","data":`...), block.Data)
			case "text":
				b = model.AppendString(append(b, `{"type":"text","text":`...), block.Text)
			case "tool_use":
				b = model.AppendString(append(b, `{"type":"tool_use","id":`...), model.SafeID(block.Call.ID, longestID))
				b = model.AppendString(append(b, `,"name":`...), model.CallName(block.Call.Function.Name))
				b = append(append(b, `,"input":`...), model.ArgumentsObject(block.Call.Function.Arguments)...)
			}
			b = append(b, '}')
		}
	}
	return b, nil
}

// tools appends the tools and what is said of their use. A conversation with
// calls needs the tools that were called even if none may be called any more.
func (m *Model) tools(b []byte, req *model.Request) ([]byte, error) {
	tools, choice := req.Tools, ""
	switch {
	case len(tools) == 0:
		if tools = called(req.Messages); len(tools) == 0 {
			return b, nil
		}
		choice = `,"tool_choice":{"type":"none"}`
	case m.set.parallel != nil && *m.set.parallel:
		choice = `,"tool_choice":{"type":"auto","disable_parallel_tool_use":false}`
	case m.set.parallel != nil:
		choice = `,"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`
	}
	b = append(b, `,"tools":[`...)
	for i := range tools {
		t := &tools[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = model.AppendString(append(b, `{"name":`...), t.Name)
		if t.Description != "" {
			b = model.AppendString(append(b, `,"description":`...), t.Description)
		}
		schema, err := t.Schema()
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"input_schema":`...), schema...)
		b = append(b, '}')
	}
	b = append(m.mark(b), ']')
	return append(b, choice...), nil
}

// called lists the tools that a conversation has calls of, in order of their
// first call.
func called(messages []holdfast.Message) []model.Tool {
	var out []model.Tool
	for i := range messages {
		for j := range messages[i].ToolCalls {
			name := model.CallName(messages[i].ToolCalls[j].Function.Name)
			if !slices.ContainsFunc(out, func(t model.Tool) bool { return t.Name == name }) {
				out = append(out, model.Tool{Name: name})
			}
		}
	}
	return out
}

// outputConfig appends the effort and the format of the answer.
func outputConfig(b []byte, effort string, so *model.StructuredOutput) ([]byte, error) {
	o := &model.Object{}
	o.StringIf("effort", effort)
	if so != nil {
		schema, err := closeObjects(so.Schema)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the schema of structured_output %q is not JSON", so.Name)
		}
		f := &model.Object{}
		f.String("type", "json_schema")
		f.Raw("schema", schema)
		o.Raw("format", f.Close())
	}
	if o.Empty() {
		return b, nil
	}
	return append(append(b, `,"output_config":`...), o.Close()...), nil
}

// closeObjects adds "additionalProperties": false to the objects of a schema that
// say nothing of it. The API demands it, and an answer without further members
// fits the schema as it was.
func closeObjects(schema json.RawMessage) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(schema))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if !closeIn(v) {
		return schema, nil
	}
	return json.Marshal(v)
}

func closeIn(v any) (changed bool) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			changed = closeIn(e) || changed
		}
	case map[string]any:
		for name, e := range v {
			switch name {
			case "enum", "const", "default", "examples": // values, not schemas
			case "properties", "$defs", "definitions", "patternProperties":
				if named, ok := e.(map[string]any); ok {
					for _, s := range named {
						changed = closeIn(s) || changed
					}
				}
			default:
				changed = closeIn(e) || changed
			}
		}
		_, said := v["additionalProperties"]
		if v["type"] == "object" && !said {
			v["additionalProperties"] = false
			changed = true
		}
	}
	return changed
}

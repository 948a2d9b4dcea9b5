package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// maxLine is the most bytes of the JSON of one event on the legacy routes.
	// Existing clients stop reading, without a word, at a line of 64 KiB.
	maxLine = 60 << 10
	// maxPartial is the most bytes of accumulated arguments in a partial_tool_call.
	// The tool_call that follows has them whole.
	maxPartial = 32 << 10
)

// legacyWire turns events into the lines that existing clients read. It belongs
// to one stream.
type legacyWire struct {
	session string
	partial map[string]*partialCall
}

// partialCall is a tool call as far as the model has written it.
type partialCall struct {
	call holdfast.ToolCall
	args strings.Builder
	next int // length of args at which it is sent again
}

func newLegacyWire(session string) *legacyWire {
	return &legacyWire{session: session, partial: map[string]*partialCall{}}
}

// append appends the event in the form of the stream to dst, as one or more
// server-sent events, or nothing if the client need not see it.
func (l *legacyWire) append(dst []byte, it *item) ([]byte, error) {
	line, sse := it.line, it.sse
	if it.agent == "" && wantsAgent(it.typ) {
		line = append([]byte(`{"agent_name":"root",`), line[1:]...)
		sse = nil
	}
	switch it.typ {
	case holdfast.TypePartialToolCall:
		acc, err := l.accumulate(line)
		if err != nil || acc == nil {
			return dst, err
		}
		line, sse = acc, nil
	case holdfast.TypeElicitationRequest:
		asked, err := elicitationID(line)
		if err != nil {
			return dst, err
		}
		line, sse = asked, nil
	case holdfast.TypeToolCall, holdfast.TypeToolCallConfirmation:
		// The call is written; what was gathered of it is no longer needed.
		clear(l.partial)
	case holdfast.TypeModelCallVoided:
		// The same calls may come again, and begin anew.
		clear(l.partial)
	}
	if len(line) <= maxLine {
		if sse != nil {
			return append(dst, sse...), nil
		}
		return appendEvent(dst, it.seq, line), nil
	}
	if it.typ == holdfast.TypeAgentChoice || it.typ == holdfast.TypeAgentChoiceReasoning {
		return l.split(dst, it, line)
	}
	cut, err := l.cut(it, line)
	if err != nil {
		return dst, err
	}
	return appendEvent(dst, it.seq, cut), nil
}

// appendEvent appends a line as one server-sent event; seq 0 leaves its id out.
func appendEvent(dst []byte, seq uint64, line []byte) []byte {
	if seq != 0 {
		dst = append(dst, "id: "...)
		dst = strconv.AppendUint(dst, seq, 10)
		dst = append(dst, '\n')
	}
	dst = append(dst, "data: "...)
	dst = append(dst, line...)
	return append(dst, "\n\n"...)
}

// elicitationID adds the name under which newer clients look for a question's id.
func elicitationID(line []byte) ([]byte, error) {
	var doc struct {
		ID json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal(line, &doc); err != nil {
		return nil, fmt.Errorf("read a question: %w", err)
	}
	if len(doc.ID) == 0 {
		return line, nil
	}
	out := append([]byte(`{"elicitation_id":`), doc.ID...)
	return append(append(out, ','), line[1:]...), nil
}

// wantsAgent reports whether clients of the contract insist on an agent_name.
func wantsAgent(typ string) bool {
	switch typ {
	case holdfast.TypeAgentChoice, holdfast.TypeAgentChoiceReasoning, holdfast.TypePartialToolCall,
		holdfast.TypeToolCall, holdfast.TypeToolCallConfirmation, holdfast.TypeToolCallResponse:
		return true
	}
	return false
}

// accumulate returns the event with all arguments so far, which is what existing
// clients expect of a partial_tool_call. So that a long call does not cost the
// square of its length, it is sent again only when it has grown by an eighth,
// and no more when it is longer than maxPartial; then the result is nil. So it is of
// a call whose beginning is before the stream's: its name comes with the first piece
// alone, and the rest of its arguments would look like all of them. The tool_call
// that follows has it whole.
func (l *legacyWire) accumulate(line []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return nil, fmt.Errorf("read a partial tool call: %w", err)
	}
	var delta holdfast.ToolCall
	if err := json.Unmarshal(members["tool_call"], &delta); err != nil {
		return nil, fmt.Errorf("read a partial tool call: %w", err)
	}
	p := l.partial[delta.ID]
	if p == nil {
		if delta.Function.Name == "" {
			return nil, nil
		}
		p = &partialCall{call: holdfast.NewToolCall(delta.ID, "", "")}
		l.partial[delta.ID] = p
	}
	p.call.Function.Name += delta.Function.Name
	if p.args.Len() <= maxPartial {
		p.args.WriteString(delta.Function.Arguments)
	}
	n := p.args.Len()
	if n > maxPartial || n < p.next {
		return nil, nil
	}
	p.next = n + n/8
	call := p.call
	call.Function.Arguments = p.args.String()
	var err error
	if members["tool_call"], err = json.Marshal(call); err != nil {
		return nil, fmt.Errorf("encode a partial tool call: %w", err)
	}
	out, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("encode a partial tool call: %w", err)
	}
	return out, nil
}

// split sends a long delta of text as several: clients add them up.
func (l *legacyWire) split(dst []byte, it *item, line []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	var text string
	if err := json.Unmarshal(line, &members); err != nil {
		return dst, fmt.Errorf("split event %d: %w", it.seq, err)
	}
	if err := json.Unmarshal(members["content"], &text); err != nil {
		return dst, fmt.Errorf("split event %d: %w", it.seq, err)
	}
	// No byte of text takes more than six in JSON.
	const piece = (maxLine - 4<<10) / 6
	for len(text) > 0 {
		n := cutAt(text, piece)
		var err error
		if members["content"], err = encodeText(text[:n]); err != nil {
			return dst, err
		}
		out, err := json.Marshal(members)
		if err != nil {
			return dst, fmt.Errorf("split event %d: %w", it.seq, err)
		}
		text = text[n:]
		id := uint64(0)
		if text == "" {
			id = it.seq
		}
		dst = appendEvent(dst, id, out)
	}
	return dst, nil
}

// cutAt returns the length of the longest beginning of s that has at most n
// bytes and ends with a whole character; at least one character.
func cutAt(s string, n int) int {
	if len(s) <= n {
		return len(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	if n == 0 {
		_, n = utf8.DecodeRuneInString(s)
	}
	return n
}

func encodeText(s string) (json.RawMessage, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode a text: %w", err)
	}
	return b, nil
}

// cut shortens the long texts of an event until its line fits, and says in each
// where the whole is.
func (l *legacyWire) cut(it *item, line []byte) ([]byte, error) {
	for limit := 32 << 10; limit >= 64; limit /= 2 {
		var doc map[string]any
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&doc); err != nil {
			return nil, fmt.Errorf("shorten event %d: %w", it.seq, err)
		}
		if limit < 1024 {
			// Many small members: what the contract does not list goes first.
			for _, extra := range []string{"multi_content", "schema", "messages", "metadata"} {
				delete(doc, extra)
			}
			if result, ok := doc["result"].(map[string]any); ok {
				delete(result, "meta")
			}
		}
		c := cutter{limit: limit, whole: l.whole(it, doc)}
		for k, v := range doc {
			doc[k] = c.value(k, v)
		}
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(doc); err != nil {
			return nil, fmt.Errorf("shorten event %d: %w", it.seq, err)
		}
		if out := bytes.TrimSuffix(buf.Bytes(), []byte("\n")); len(out) <= maxLine {
			return out, nil
		}
	}
	return json.Marshal(map[string]any{
		"type": holdfast.TypeWarning, "agent_name": it.agent, "seq": it.seq,
		"message": fmt.Sprintf("an event of type %s is too long for this stream; the whole: GET %s", it.typ, l.eventPath(it.seq)),
		"code":    holdfast.CodeTooLarge,
	})
}

func (l *legacyWire) eventPath(seq uint64) string {
	return "/v1/sessions/" + l.session + "/events/" + strconv.FormatUint(seq, 10)
}

// whole is the path that has the event whole.
func (l *legacyWire) whole(it *item, doc map[string]any) string {
	if id, ok := doc["tool_call_id"].(string); ok && it.typ == holdfast.TypeToolCallResponse && holdfast.ValidateID("call", id) == nil {
		return "/v1/sessions/" + l.session + "/tool-calls/" + id + "/output"
	}
	return l.eventPath(it.seq)
}

// cutter shortens texts.
type cutter struct {
	limit int
	whole string
}

// value returns v with all texts at most limit bytes long.
func (c cutter) value(key string, v any) any {
	switch v := v.(type) {
	case string:
		if len(v) <= c.limit {
			return v
		}
		marker := fmt.Sprintf("[cut, %d bytes in all; the whole: GET %s]", len(v), c.whole)
		begin := v[:cutAt(v, max(1, c.limit-len(marker)-2))]
		if key == "arguments" {
			// Clients parse arguments: what is cut must be JSON still.
			b, err := json.Marshal(map[string]string{"_cut": begin, "_note": marker})
			if err == nil {
				return string(b)
			}
		}
		return begin + "\n" + marker
	case map[string]any:
		for k, m := range v {
			v[k] = c.value(k, m)
		}
	case []any:
		for i, m := range v {
			v[i] = c.value(key, m)
		}
	}
	return v
}

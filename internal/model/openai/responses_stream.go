package openai

import (
	"bytes"
	"encoding/json"
	"slices"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// responsesEvent is what is read of the events of the responses API. Types that
// are not mentioned in event tell nothing that a chunk could carry.
type responsesEvent struct {
	Type        string          `json:"type"`
	OutputIndex int             `json:"output_index"`
	Delta       json.RawMessage `json:"delta"`
	Item        json.RawMessage `json:"item"`
	Response    *responsesEnd   `json:"response"`
}

type responsesItem struct {
	Type      string   `json:"type"`
	CallID    string   `json:"call_id"`
	Name      string   `json:"name"`
	Arguments flexArgs `json:"arguments"`
	Phase     string   `json:"phase"`
	Content   []struct {
		Type    string `json:"type"`
		Text    string `json:"text"`
		Refusal string `json:"refusal"`
	} `json:"content"`
	Summary []struct {
		Text string `json:"text"`
	} `json:"summary"`
	Encrypted string `json:"encrypted_content"`
}

// readItem reads an item of a type that is of use here. Others, of tools that run at
// the provider for example, may have the same members in other forms.
func readItem(raw json.RawMessage) (w responsesItem, err error) {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return w, unreadable(err)
	}
	switch kind.Type {
	case "message", "reasoning", "function_call":
		if err := json.Unmarshal(raw, &w); err != nil {
			return w, unreadable(err)
		}
	}
	return w, nil
}

type responsesEnd struct {
	Model      string            `json:"model"`
	Output     []json.RawMessage `json:"output"`
	Error      json.RawMessage   `json:"error"`
	Incomplete *struct {
		Reason string `json:"reason"`
	} `json:"incomplete_details"`
	Usage *responsesUsage `json:"usage"`
}

type responsesUsage struct {
	Input        int64 `json:"input_tokens"`
	Output       int64 `json:"output_tokens"`
	InputDetails struct {
		Cached     int64 `json:"cached_tokens"`
		CacheWrite int64 `json:"cache_write_tokens"`
	} `json:"input_tokens_details"`
	OutputDetails struct {
		Reasoning int64 `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
}

// outputItem is an item of the answer under way.
type outputItem struct {
	kind   string
	callID string
	deltas bool // something of it has been handed out
	bytes  int  // of text that has been handed out
}

// responsesDecoder reads the events of one response.
type responsesDecoder struct {
	m         *Model
	items     map[int]*outputItem
	kept      map[int]opaqueItem // finished items by output index
	called    bool
	reasoned  bool // reasoning text has been handed out
	modelSaid bool
	model     string
}

func newResponsesDecoder(m *Model) *responsesDecoder {
	return &responsesDecoder{m: m, items: map[int]*outputItem{}, kept: map[int]opaqueItem{}}
}

// Complete is never true: this API always sends a last event.
func (d *responsesDecoder) Complete() bool { return false }

// Finish has nothing left: the last event carries all.
func (d *responsesDecoder) Finish(func(model.Chunk) error) error { return nil }

// Event implements [model.Decoder].
func (d *responsesDecoder) Event(_, data []byte, yield func(model.Chunk) error) (bool, error) {
	if bytes.HasPrefix(data, doneMark) {
		return false, nil // some gateways add it; the last event says more
	}
	var e responsesEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return false, unreadable(err)
	}
	y := d.naming(yield)
	switch e.Type {
	case "response.created", "response.in_progress":
		if e.Response != nil && d.model == "" {
			d.model = e.Response.Model
		}
	case "response.output_text.delta", "response.refusal.delta",
		"response.reasoning_text.delta", "response.reasoning_summary_text.delta",
		"response.function_call_arguments.delta":
		return false, d.delta(&e, y)
	case "response.reasoning_summary_part.added":
		// Parts of a summary are paragraphs; without a break they would run together.
		if d.reasoned {
			return false, y(model.Chunk{Reasoning: "\n\n"})
		}
	case "response.output_item.added":
		return false, d.added(&e, y)
	case "response.output_item.done":
		return false, d.done(&e, y)
	case "response.completed", "response.incomplete":
		return true, d.end(&e, y)
	case "response.failed":
		body := json.RawMessage("{}")
		if e.Response != nil && len(e.Response.Error) > 0 {
			body = e.Response.Error
		}
		return false, d.m.failure(0, nil, body).Err()
	case "error":
		return false, d.m.failure(0, nil, data).Err()
	case "":
		if message, _, _ := parseError(data); message != "" {
			return false, d.m.failure(0, nil, data).Err()
		}
	}
	return false, nil
}

// naming adds the model's name to the first chunk.
func (d *responsesDecoder) naming(yield func(model.Chunk) error) func(model.Chunk) error {
	return func(c model.Chunk) error {
		if !d.modelSaid && d.model != "" {
			d.modelSaid, c.Model = true, d.model
		}
		return yield(c)
	}
}

// Whole implements [model.WholeDecoder] for a response that is complete at once.
func (d *responsesDecoder) Whole(body []byte, yield func(model.Chunk) error) (bool, error) {
	var w struct {
		responsesEnd
		Object string `json:"object"`
	}
	if err := json.Unmarshal(body, &w); err != nil || w.Object != "response" {
		return false, nil
	}
	if len(w.Error) > 0 && string(w.Error) != "null" {
		return true, d.m.failure(0, nil, w.Error).Err()
	}
	d.model = w.Model
	return true, d.end(&responsesEvent{Response: &w.responsesEnd}, d.naming(yield))
}

// output hands out the items of an answer that came without them until its end.
func (d *responsesDecoder) output(items []json.RawMessage, yield func(model.Chunk) error) error {
	for i, item := range items {
		if err := d.done(&responsesEvent{OutputIndex: i, Item: item}, yield); err != nil {
			return err
		}
	}
	return nil
}

// thoughts hands out the reasoning of an item that comes whole.
func (d *responsesDecoder) thoughts(w *responsesItem, yield func(model.Chunk) error) error {
	var texts []string
	for _, part := range w.Content {
		texts = append(texts, part.Text)
	}
	for _, part := range w.Summary {
		texts = append(texts, part.Text)
	}
	for _, text := range texts {
		if text == "" {
			continue
		}
		if d.reasoned {
			text = "\n\n" + text
		}
		d.reasoned = true
		if err := yield(model.Chunk{Reasoning: text}); err != nil {
			return err
		}
	}
	return nil
}

func (d *responsesDecoder) item(index int) *outputItem {
	it := d.items[index]
	if it == nil {
		it = &outputItem{}
		d.items[index] = it
	}
	return it
}

func (d *responsesDecoder) delta(e *responsesEvent, yield func(model.Chunk) error) error {
	var t flexText
	if err := t.UnmarshalJSON(e.Delta); err != nil {
		return unreadable(err)
	}
	if t.text == "" {
		return nil
	}
	it := d.item(e.OutputIndex)
	switch e.Type {
	case "response.output_text.delta":
		it.deltas = true
		it.bytes += len(t.text)
		return yield(model.Chunk{Text: t.text})
	case "response.refusal.delta":
		it.deltas = true
		it.bytes += len(t.text)
		return yield(model.Chunk{Text: t.text, Refusal: true})
	case "response.function_call_arguments.delta":
		if it.callID == "" {
			return unreadable(errNoName)
		}
		it.deltas = true
		return yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(it.callID, "", t.text)}})
	}
	d.reasoned, it.deltas = true, true
	return yield(model.Chunk{Reasoning: t.text})
}

// begin announces a function call once.
func (d *responsesDecoder) begin(it *outputItem, w *responsesItem, args string, yield func(model.Chunk) error) error {
	if w.Name == "" {
		return unreadable(errNoName)
	}
	it.kind, it.callID = w.Type, w.CallID
	for _, o := range d.items {
		if o != it && o.callID == it.callID {
			it.callID = ""
		}
	}
	if it.callID == "" {
		it.callID = model.NewCallID()
	}
	it.deltas = args != ""
	d.called = true
	return yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(it.callID, w.Name, args)}})
}

func (d *responsesDecoder) added(e *responsesEvent, yield func(model.Chunk) error) error {
	w, err := readItem(e.Item)
	if err != nil {
		return err
	}
	if w.Type == "function_call" {
		return d.begin(d.item(e.OutputIndex), &w, "", yield)
	}
	return nil
}

// done reads a finished item: what must go back with the next call, and what no
// delta has brought.
func (d *responsesDecoder) done(e *responsesEvent, yield func(model.Chunk) error) error {
	w, err := readItem(e.Item)
	if err != nil {
		return err
	}
	it := d.item(e.OutputIndex)
	switch w.Type {
	case "reasoning":
		// Without its encrypted form an item means nothing to a server that stores
		// nothing, and is refused ("Items are not persisted when `store` is set to false").
		if d.m.set.reasoning && (w.Encrypted != "" || len(w.Content) > 0 || d.m.set.stored) {
			d.kept[e.OutputIndex] = opaqueItem{Type: w.Type, Item: slices.Clone(e.Item)}
		}
		if !it.deltas {
			it.deltas = true
			return d.thoughts(&w, yield)
		}
	case "message":
		if !it.deltas {
			var c model.Chunk
			for _, p := range w.Content {
				c.Text += p.Text + p.Refusal
				c.Refusal = c.Refusal || p.Refusal != ""
			}
			if c.Text != "" {
				it.deltas, it.bytes = true, len(c.Text)
				err = yield(c)
			}
		}
		d.kept[e.OutputIndex] = opaqueItem{Type: w.Type, Bytes: it.bytes, Phase: w.Phase}
		return err
	case "function_call":
		args := string(w.Arguments)
		switch {
		case it.callID == "":
			err = d.begin(it, &w, args, yield)
		case !it.deltas && args != "":
			it.deltas = true
			err = yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(it.callID, "", args)}})
		}
		d.kept[e.OutputIndex] = opaqueItem{Type: w.Type, CallID: it.callID}
		return err
	}
	return nil
}

// end hands out the reason of the end, the usage, and what goes back.
func (d *responsesDecoder) end(e *responsesEvent, yield func(model.Chunk) error) error {
	if r := e.Response; r != nil && len(d.items) == 0 {
		if d.model == "" {
			d.model = r.Model
		}
		if err := d.output(r.Output, yield); err != nil {
			return err
		}
	}
	c := model.Chunk{FinishReason: "stop"}
	if d.called {
		c.FinishReason = "tool_calls"
	}
	if r := e.Response; r != nil {
		if d.model == "" {
			d.model = r.Model
		}
		if r.Incomplete != nil {
			switch r.Incomplete.Reason {
			case "content_filter":
				c.FinishReason = "content_filter"
			default: // max_output_tokens, and whatever else ends an answer early
				c.FinishReason = "length"
			}
		}
		if u := r.Usage; u != nil && d.m.trackUsage() {
			c.Usage = &model.Usage{
				InputTokens: u.Input, OutputTokens: u.Output, CachedInputTokens: u.InputDetails.Cached,
				CacheWriteTokens: u.InputDetails.CacheWrite, ReasoningTokens: u.OutputDetails.Reasoning,
			}
		}
	}
	var err error
	if c.Opaque, err = d.opaque(); err != nil {
		return d.m.garbage(err)
	}
	return yield(c)
}

// opaque is nil for an answer without reasoning and phases: its order then does not
// matter.
func (d *responsesDecoder) opaque() (json.RawMessage, error) {
	o := opaque{API: "responses"}
	indexes := make([]int, 0, len(d.kept))
	matters := false
	for i, item := range d.kept {
		indexes = append(indexes, i)
		matters = matters || item.Type == "reasoning" || item.Phase != ""
	}
	if !matters {
		return nil, nil
	}
	slices.Sort(indexes)
	for _, i := range indexes {
		o.Items = append(o.Items, d.kept[i])
	}
	return json.Marshal(o)
}

package anthropic

import (
	"encoding/json"
	"fmt"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// event is what is read of the stream's events. Types that are not mentioned in
// Event tell nothing that a chunk could carry: the API reserves the right to add
// some.
type event struct {
	Type    string `json:"type"`
	Index   int    `json:"index"`
	Message *struct {
		Model   string      `json:"model"`
		Usage   *usage      `json:"usage"`
		Content []wireBlock `json:"content"`
		ending
	} `json:"message"`
	ContentBlock *wireBlock `json:"content_block"`
	Delta        *struct {
		Type        string `json:"type"`
		Text        string `json:"text"`
		Thinking    string `json:"thinking"`
		Signature   string `json:"signature"`
		PartialJSON string `json:"partial_json"`
		ending
	} `json:"delta"`
	Usage *usage          `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// wireBlock is a block of the answer: at its beginning, or, in an answer that comes
// whole, all of it.
type wireBlock struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	Thinking  string          `json:"thinking"`
	Signature string          `json:"signature"`
	Data      string          `json:"data"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
}

// ending says why an answer ends.
type ending struct {
	StopReason  string `json:"stop_reason"`
	StopDetails *struct {
		Explanation string `json:"explanation"`
	} `json:"stop_details"`
}

// usage counts the tokens of the call so far. A member that is missing keeps the
// count that an earlier event gave.
type usage struct {
	Input         *int64 `json:"input_tokens"`
	Output        *int64 `json:"output_tokens"`
	CacheWrite    *int64 `json:"cache_creation_input_tokens"`
	CacheRead     *int64 `json:"cache_read_input_tokens"`
	OutputDetails *struct {
		Thinking int64 `json:"thinking_tokens"`
	} `json:"output_tokens_details"`
}

// openBlock is a block under way.
type openBlock struct {
	model.Block
	index    int // on the wire
	thinking strings.Builder
	input    json.RawMessage // of the beginning of a call
	deltas   bool            // something of a call's input has been handed out
	ignored  bool
}

// decoder reads the events of one message.
type decoder struct {
	m      *Model
	model  string
	said   bool // the model's name has been handed out
	blocks []*openBlock
	texts  bool // text has been handed out
	reason string
	refuse string // the explanation of a refusal
	usage  model.Usage
	used   bool
}

// Complete reports whether the provider has told why the answer ends; only
// message_stop comes after that.
func (d *decoder) Complete() bool { return d.reason != "" }

func unreadable(err error) error { return &model.UnreadableError{Err: err} }

// Event implements [model.Decoder].
func (d *decoder) Event(_, data []byte, yield func(model.Chunk) error) (bool, error) {
	var e event
	if err := json.Unmarshal(data, &e); err != nil {
		return false, unreadable(err)
	}
	switch e.Type {
	case "message_start":
		if e.Message != nil {
			d.model = e.Message.Model
			d.count(e.Message.Usage)
			// Empty but for an answer that goes on where tools at the provider have
			// stopped, and may even be complete with that.
			if err := d.content(e.Message.Content, yield); err != nil {
				return false, err
			}
			d.ends(&e.Message.ending)
		}
	case "content_block_start":
		return false, d.begin(&e, yield)
	case "content_block_delta":
		return false, d.delta(&e, yield)
	case "content_block_stop":
		return false, d.end(&e, yield)
	case "message_delta":
		d.count(e.Usage)
		if e.Delta != nil {
			d.ends(&e.Delta.ending)
		}
	case "message_stop":
		if d.reason == "" {
			return false, unreadable(fmt.Errorf("message_stop without a stop_reason"))
		}
		return true, nil
	case "error":
		return false, d.m.failure(0, nil, data).Err()
	case "":
		if len(e.Error) > 0 {
			return false, d.m.failure(0, nil, data).Err()
		}
	}
	return false, nil
}

func (d *decoder) ends(e *ending) {
	if e.StopReason == "" {
		return
	}
	d.reason = e.StopReason
	if e.StopDetails != nil {
		d.refuse = e.StopDetails.Explanation
	}
}

// Whole implements [model.WholeDecoder] for a message that is complete at once.
func (d *decoder) Whole(body []byte, yield func(model.Chunk) error) (bool, error) {
	var w struct {
		Type    string      `json:"type"`
		Model   string      `json:"model"`
		Content []wireBlock `json:"content"`
		Usage   *usage      `json:"usage"`
		ending
	}
	if err := json.Unmarshal(body, &w); err != nil || w.Type != "message" {
		return false, nil
	}
	d.model = w.Model
	d.count(w.Usage)
	if err := d.content(w.Content, yield); err != nil {
		return true, err
	}
	d.ends(&w.ending)
	return true, d.Finish(yield)
}

// content reads blocks that come whole.
func (d *decoder) content(blocks []wireBlock, yield func(model.Chunk) error) error {
	for i := range blocks {
		e := event{Index: i, ContentBlock: &blocks[i]}
		if err := d.begin(&e, yield); err != nil {
			return err
		}
		if err := d.end(&e, yield); err != nil {
			return err
		}
	}
	return nil
}

// count takes the counts that an event has. They are totals, not increments, so
// none falls: some gateways repeat those of the beginning as 0 at the end.
func (d *decoder) count(u *usage) {
	if u == nil {
		return
	}
	d.used = true
	set := func(to *int64, from *int64) {
		if from != nil {
			*to = max(*to, *from)
		}
	}
	// Kept apart until the end: the API counts the cache beside the input.
	set(&d.usage.InputTokens, u.Input)
	set(&d.usage.OutputTokens, u.Output)
	set(&d.usage.CacheWriteTokens, u.CacheWrite)
	set(&d.usage.CachedInputTokens, u.CacheRead)
	if u.OutputDetails != nil {
		d.usage.ReasoningTokens = max(d.usage.ReasoningTokens, u.OutputDetails.Thinking)
	}
}

func (d *decoder) yield(c model.Chunk, yield func(model.Chunk) error) error {
	if !d.said && d.model != "" {
		d.said, c.Model = true, d.model
	}
	if c.Text != "" {
		d.texts = true
	}
	return yield(c)
}

// at returns a block that has begun.
func (d *decoder) at(index int) (*openBlock, error) {
	// Anthropic counts from 0; compatible servers may leave numbers out.
	for i := len(d.blocks) - 1; i >= 0; i-- {
		if d.blocks[i].index == index {
			return d.blocks[i], nil
		}
	}
	return nil, unreadable(fmt.Errorf("block %d has not begun", index))
}

func (d *decoder) begin(e *event, yield func(model.Chunk) error) error {
	w := e.ContentBlock
	if w == nil {
		return unreadable(fmt.Errorf("block %d begins with nothing", e.Index))
	}
	b := &openBlock{Block: model.Block{Type: w.Type}, index: e.Index}
	d.blocks = append(d.blocks, b)
	switch w.Type {
	case "text":
		b.Bytes = len(w.Text)
		if w.Text != "" {
			return d.yield(model.Chunk{Text: w.Text}, yield)
		}
	case "thinking":
		b.Signature = w.Signature
		b.thinking.WriteString(w.Thinking)
		if w.Thinking != "" {
			return d.yield(model.Chunk{Reasoning: w.Thinking}, yield)
		}
		if d.reasoned() {
			// Blocks of thinking are paragraphs; without a break they would run together.
			return d.yield(model.Chunk{Reasoning: "\n\n"}, yield)
		}
	case "redacted_thinking":
		b.Data = w.Data
	case "tool_use":
		if w.ID == "" || w.Name == "" {
			return unreadable(fmt.Errorf("a call without id or name"))
		}
		b.ID, b.input = w.ID, append(b.input, w.Input...)
		for _, o := range d.blocks[:len(d.blocks)-1] {
			if o.ID == w.ID {
				b.ID = model.NewCallID()
			}
		}
		return d.yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(b.ID, w.Name, "")}}, yield)
	default:
		// Blocks of tools that run at the provider; none is ever asked for.
		b.ignored = true
	}
	return nil
}

// reasoned reports whether a block has shown thinking.
func (d *decoder) reasoned() bool {
	for _, b := range d.blocks {
		if b.thinking.Len() > 0 {
			return true
		}
	}
	return false
}

func (d *decoder) delta(e *event, yield func(model.Chunk) error) error {
	b, err := d.at(e.Index)
	switch {
	case err != nil:
		return err
	case e.Delta == nil || b.ignored:
		return nil
	}
	switch w := e.Delta; w.Type {
	case "text_delta":
		if w.Text == "" {
			return nil
		}
		b.Bytes += len(w.Text)
		return d.yield(model.Chunk{Text: w.Text}, yield)
	case "thinking_delta":
		if w.Thinking == "" {
			return nil
		}
		b.thinking.WriteString(w.Thinking)
		return d.yield(model.Chunk{Reasoning: w.Thinking}, yield)
	case "signature_delta":
		b.Signature += w.Signature
	case "input_json_delta":
		if w.PartialJSON == "" || b.Type != "tool_use" {
			return nil
		}
		b.deltas = true
		return d.yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(b.ID, "", w.PartialJSON)}}, yield)
	}
	return nil
}

// end hands out the arguments of a call for which no delta came.
func (d *decoder) end(e *event, yield func(model.Chunk) error) error {
	b, err := d.at(e.Index)
	if err != nil || b.Type != "tool_use" || b.deltas {
		return err
	}
	b.deltas = true
	args := "{}"
	if len(b.input) > 0 && string(b.input) != "null" {
		args = string(b.input)
	}
	return d.yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(b.ID, "", args)}}, yield)
}

// finishReason maps the API's stop reasons to those of model.Chunk.
func finishReason(reason string) string {
	switch reason {
	case "tool_use":
		return "tool_calls"
	case "max_tokens", "model_context_window_exceeded":
		return "length"
	case "refusal":
		return "content_filter"
	}
	return "stop" // end_turn, stop_sequence, pause_turn
}

// Finish hands out the reason of the end, the usage, and what goes back.
func (d *decoder) Finish(yield func(model.Chunk) error) error {
	c := model.Chunk{FinishReason: finishReason(d.reason)}
	if d.reason == "refusal" && d.refuse != "" {
		c.Text, c.Refusal = d.refuse, true
		if d.texts {
			c.Text = "\n\n" + c.Text
		}
	}
	if d.used && d.m.trackUsage() {
		u := d.usage
		u.InputTokens += u.CachedInputTokens + u.CacheWriteTokens
		c.Usage = &u
	}
	var err error
	if c.Opaque, err = d.opaque(); err != nil {
		return holdfast.WrapError(holdfast.CodeModelFailed, err, "keeping what "+d.m.cfg.Provider+" wants back")
	}
	return d.yield(c, yield)
}

// opaque is nil for an answer without thinking: its order then does not matter.
func (d *decoder) opaque() (json.RawMessage, error) {
	o := model.Blocks{API: api}
	thought := false
	for _, b := range d.blocks {
		switch b.Type {
		case "thinking":
			b.Thinking = b.thinking.String()
			thought = true
		case "redacted_thinking":
			thought = true
		}
		if !b.ignored {
			o.Blocks = append(o.Blocks, b.Block)
		}
	}
	if !thought {
		return nil, nil
	}
	return json.Marshal(o)
}

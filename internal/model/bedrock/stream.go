package bedrock

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// event is what is read of the members of ConverseStreamOutput.
type event struct {
	Index int `json:"contentBlockIndex"`
	Start *struct {
		ToolUse *wireCall `json:"toolUse"`
	} `json:"start"`
	Delta *wireDelta `json:"delta"`
	ending
}

type wireCall struct {
	ID   string `json:"toolUseId"`
	Name string `json:"name"`
}

type wireDelta struct {
	Text    string `json:"text"`
	ToolUse *struct {
		Input string `json:"input"`
	} `json:"toolUse"`
	Reasoning *wireReasoning `json:"reasoningContent"`
}

type wireReasoning struct {
	Text      string `json:"text"`
	Signature string `json:"signature"`
	Redacted  string `json:"redactedContent"`
}

// ending is what the last events have, and an answer that comes whole.
type ending struct {
	StopReason string `json:"stopReason"`
	Usage      *struct {
		Input      int64 `json:"inputTokens"`
		Output     int64 `json:"outputTokens"`
		CacheRead  int64 `json:"cacheReadInputTokens"`
		CacheWrite int64 `json:"cacheWriteInputTokens"`
	} `json:"usage"`
	Trace *struct {
		PromptRouter *struct {
			InvokedModel string `json:"invokedModelId"`
		} `json:"promptRouter"`
	} `json:"trace"`
}

// openBlock is a block under way.
type openBlock struct {
	model.Block
	index   int
	thought strings.Builder
	deltas  bool
	skipped bool // a call beyond the first, where only one is wanted
}

// decoder reads the events of one answer. The model that was addressed is the
// one that answers; only a prompt router chooses, and says so at the end.
type decoder struct {
	m      *Model
	said   bool   // the model's name has been handed out
	routed string // the model that a prompt router chose
	blocks []*openBlock
	calls  int
	reason string
	usage  *model.Usage
}

// Complete reports whether the answer has ended; only metadata comes after that.
func (d *decoder) Complete() bool { return d.reason != "" }

func unreadable(err error) error { return &model.UnreadableError{Err: err} }

// Event implements [model.Decoder].
func (d *decoder) Event(name, data []byte, hand func(model.Chunk) error) (bool, error) {
	yield := d.naming(hand)
	if exception, ok := strings.CutPrefix(string(name), exceptionPrefix); ok {
		return false, d.m.classify(0, nil, exception, data).Err()
	}
	var e event
	if err := json.Unmarshal(data, &e); err != nil {
		return false, unreadable(err)
	}
	switch string(name) {
	case "contentBlockStart":
		if e.Start != nil && e.Start.ToolUse != nil {
			return false, d.begin(e.Index, e.Start.ToolUse, yield)
		}
	case "contentBlockDelta":
		return false, d.delta(&e, yield)
	case "contentBlockStop":
		return false, d.end(&e, yield)
	case "messageStop":
		return false, d.ends(&e.ending)
	case "metadata":
		d.count(&e.ending)
	}
	return false, nil
}

// ends reads why the answer ends.
func (d *decoder) ends(e *ending) error {
	d.reason = e.StopReason
	if d.reason == "" {
		return unreadable(errors.New("messageStop without a stopReason"))
	}
	if strings.HasPrefix(d.reason, "malformed_") {
		return &model.Transient{Err: holdfast.WrapError(holdfast.CodeModelFailed, fmt.Errorf("stop reason %s", d.reason),
			d.m.cfg.Provider+" could not complete its answer: the model wrote what cannot be read")}
	}
	return nil
}

// count reads what an answer has cost, and who gave it.
func (d *decoder) count(e *ending) {
	if u := e.Usage; u != nil {
		// What was read from or written to the cache is counted beside the input.
		d.usage = &model.Usage{
			InputTokens: u.Input + u.CacheRead + u.CacheWrite, OutputTokens: u.Output,
			CachedInputTokens: u.CacheRead, CacheWriteTokens: u.CacheWrite,
		}
	}
	if e.Trace != nil && e.Trace.PromptRouter != nil {
		d.routed = e.Trace.PromptRouter.InvokedModel
	}
}

// Whole implements [model.WholeDecoder] for the answer of Converse, which some
// gateways give instead of ConverseStream's.
func (d *decoder) Whole(body []byte, hand func(model.Chunk) error) (bool, error) {
	var w struct {
		Output *struct {
			Message struct {
				Content []struct {
					Text    string `json:"text"`
					ToolUse *struct {
						wireCall
						Input json.RawMessage `json:"input"`
					} `json:"toolUse"`
					Reasoning *struct {
						Signed   wireReasoning `json:"reasoningText"`
						Redacted string        `json:"redactedContent"`
					} `json:"reasoningContent"`
				} `json:"content"`
			} `json:"message"`
		} `json:"output"`
		ending
	}
	if err := json.Unmarshal(body, &w); err != nil || w.Output == nil {
		return false, nil
	}
	yield := d.naming(hand)
	for i, c := range w.Output.Message.Content {
		e := event{Index: i, Delta: &wireDelta{Text: c.Text}}
		var err error
		switch {
		case c.ToolUse != nil:
			if err = d.begin(i, &c.ToolUse.wireCall, yield); err == nil && len(c.ToolUse.Input) > 0 && string(c.ToolUse.Input) != "null" {
				b := d.at(i)
				b.deltas = true
				if !b.skipped {
					err = yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(b.ID, "", string(c.ToolUse.Input))}})
				}
			}
		case c.Reasoning != nil:
			r := c.Reasoning.Signed
			r.Redacted = c.Reasoning.Redacted
			e.Delta.Reasoning = &r
			err = d.delta(&e, yield)
		default:
			err = d.delta(&e, yield)
		}
		if err == nil {
			err = d.end(&e, yield)
		}
		if err != nil {
			return true, err
		}
	}
	if err := d.ends(&w.ending); err != nil {
		return true, err
	}
	d.count(&w.ending)
	return true, d.Finish(yield)
}

// naming adds the model's name to the first chunk.
func (d *decoder) naming(hand func(model.Chunk) error) func(model.Chunk) error {
	return func(c model.Chunk) error {
		if !d.said {
			d.said = true
			if c.Model == "" {
				c.Model = d.m.cfg.Model
			}
		}
		return hand(c)
	}
}

// at returns the block of an index, nil if it has not begun.
func (d *decoder) at(index int) *openBlock {
	for i := len(d.blocks) - 1; i >= 0; i-- {
		if d.blocks[i].index == index {
			return d.blocks[i]
		}
	}
	return nil
}

func (d *decoder) add(index int, kind string) *openBlock {
	b := &openBlock{index: index, Block: model.Block{Type: kind}}
	d.blocks = append(d.blocks, b)
	return b
}

func (d *decoder) begin(index int, w *wireCall, yield func(model.Chunk) error) error {
	if w.ID == "" || w.Name == "" || d.at(index) != nil {
		return unreadable(fmt.Errorf("the call in block %d", index))
	}
	b := d.add(index, "tool_use")
	b.ID = w.ID
	for _, o := range d.blocks[:len(d.blocks)-1] {
		if o.ID == w.ID {
			b.ID = model.NewCallID()
		}
	}
	if d.m.set.single && d.calls > 0 {
		b.skipped = true
		return nil
	}
	d.calls++
	return yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(b.ID, w.Name, "")}})
}

func (d *decoder) delta(e *event, yield func(model.Chunk) error) error {
	w := e.Delta
	if w == nil {
		return nil
	}
	b := d.at(e.Index)
	switch {
	case w.ToolUse != nil:
		if b == nil || b.Type != "tool_use" {
			return unreadable(fmt.Errorf("a piece of a call in block %d, which is none", e.Index))
		}
		if w.ToolUse.Input == "" || b.skipped {
			return nil
		}
		b.deltas = true
		return yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(b.ID, "", w.ToolUse.Input)}})
	case w.Reasoning != nil:
		first := b == nil
		if first {
			b = d.add(e.Index, "thinking")
		}
		b.Signature += w.Reasoning.Signature
		if w.Reasoning.Redacted != "" {
			b.Type = "redacted_thinking"
			b.Data += w.Reasoning.Redacted
		}
		text := w.Reasoning.Text
		b.thought.WriteString(text)
		if text == "" {
			return nil
		}
		if first && d.thoughtBefore(b) {
			text = "\n\n" + text // blocks of thinking are paragraphs
		}
		return yield(model.Chunk{Reasoning: text})
	case w.Text != "":
		if b == nil {
			b = d.add(e.Index, "text")
		}
		b.Bytes += len(w.Text)
		return yield(model.Chunk{Text: w.Text})
	}
	return nil
}

// thoughtBefore reports whether a block before b has shown thinking.
func (d *decoder) thoughtBefore(b *openBlock) bool {
	for _, o := range d.blocks {
		if o != b && o.thought.Len() > 0 {
			return true
		}
	}
	return false
}

// end hands out the arguments of a call for which no delta came.
func (d *decoder) end(e *event, yield func(model.Chunk) error) error {
	b := d.at(e.Index)
	if b == nil || b.Type != "tool_use" || b.deltas || b.skipped {
		return nil
	}
	b.deltas = true
	return yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(b.ID, "", "{}")}})
}

// finishReason maps the API's reasons to those of model.Chunk.
func finishReason(reason string) string {
	switch reason {
	case "tool_use":
		return "tool_calls"
	case "max_tokens", "model_context_window_exceeded":
		return "length"
	case "guardrail_intervened", "content_filtered", "refusal":
		return "content_filter"
	}
	return "stop" // end_turn, stop_sequence
}

// Finish hands out the reason of the end, the usage, and what goes back.
func (d *decoder) Finish(yield func(model.Chunk) error) error {
	c := model.Chunk{FinishReason: finishReason(d.reason), Model: d.routed}
	if c.Model == "" && !d.said {
		c.Model = d.m.cfg.Model
	}
	if d.m.trackUsage() {
		c.Usage = d.usage
	}
	var err error
	if c.Opaque, err = d.opaque(); err != nil {
		return holdfast.WrapError(holdfast.CodeModelFailed, err, "keeping what "+d.m.cfg.Provider+" wants back")
	}
	return yield(c)
}

// opaque is nil for an answer without signed reasoning: its order then does not
// matter.
func (d *decoder) opaque() (json.RawMessage, error) {
	o := model.Blocks{API: api}
	signed := false
	for _, b := range d.blocks {
		if b.skipped {
			continue
		}
		if b.Type == "thinking" {
			b.Thinking = b.thought.String()
		}
		signed = signed || b.Signature != "" || b.Data != ""
		o.Blocks = append(o.Blocks, b.Block)
	}
	if !signed {
		return nil, nil
	}
	return json.Marshal(o)
}

package openai

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// chatChunk is what is read of a chat.completion.chunk.
type chatChunk struct {
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   *chatUsage   `json:"usage"`
	// Groq also puts the usage here, and older versions of its API nowhere else.
	Groq struct {
		Usage *chatUsage `json:"usage"`
	} `json:"x_groq"`

	// Error and Object tell an error that comes as an event.
	Error  json.RawMessage `json:"error"`
	Object string          `json:"object"`
}

type chatChoice struct {
	Index        int        `json:"index"`
	Delta        chatDelta  `json:"delta"`
	Message      *chatDelta `json:"message"` // instead of Delta in an answer that comes whole
	FinishReason string     `json:"finish_reason"`
}

type chatDelta struct {
	Content flexText `json:"content"`
	Refusal string   `json:"refusal"`
	// Reasoning comes under one of two names: reasoning_content (DeepSeek, xAI,
	// vLLM, llama.cpp) or reasoning (Ollama, OpenRouter, newer vLLM). Who sends
	// both sends the same text twice.
	ReasoningContent string         `json:"reasoning_content"`
	Reasoning        string         `json:"reasoning"`
	ToolCalls        []chatToolCall `json:"tool_calls"`
	// Details are what chatOpaque says.
	Details []json.RawMessage `json:"reasoning_details"`
}

type chatToolCall struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string   `json:"name"`
		Arguments flexArgs `json:"arguments"`
	} `json:"function"`
	Extra json.RawMessage `json:"extra_content"`
}

type chatUsage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	TotalTokens      int64 `json:"total_tokens"`
	PromptDetails    struct {
		Cached     int64 `json:"cached_tokens"`
		CacheWrite int64 `json:"cache_write_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		Reasoning int64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`

	// Where others count what came from the cache: DeepSeek
	// (https://api-docs.deepseek.com/guides/kv_cache), Moonshot, Mistral.
	CacheHits int64 `json:"prompt_cache_hit_tokens"`
	Cached    int64 `json:"cached_tokens"`
	NumCached int64 `json:"num_cached_tokens"`
}

func (u *chatUsage) usage() *model.Usage {
	out := u.CompletionTokens
	// xAI counts reasoning beside the completion, OpenAI within it; the total
	// tells which.
	if r := u.CompletionDetails.Reasoning; r > 0 && u.TotalTokens == u.PromptTokens+out+r {
		out += r
	}
	return &model.Usage{
		InputTokens:       u.PromptTokens,
		OutputTokens:      out,
		CachedInputTokens: max(u.PromptDetails.Cached, u.CacheHits, u.Cached, u.NumCached),
		CacheWriteTokens:  u.PromptDetails.CacheWrite,
		ReasoningTokens:   u.CompletionDetails.Reasoning,
	}
}

// flexText is content: a string, or, from Mistral's reasoning models, a list of
// text and thinking parts.
type flexText struct {
	text, thinking string
}

func (f *flexText) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) >= 2 && b[0] == '"':
		// The usual case without encoding/json's second look.
		if s := b[1 : len(b)-1]; bytes.IndexByte(s, '\\') < 0 && utf8.Valid(s) {
			f.text = string(s)
			return nil
		}
		return json.Unmarshal(b, &f.text)
	case string(b) == "null":
		return nil
	}
	var parts []struct {
		Type     string          `json:"type"`
		Text     string          `json:"text"`
		Thinking json.RawMessage `json:"thinking"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	var text, thinking strings.Builder
	for _, p := range parts {
		text.WriteString(p.Text)
		if len(p.Thinking) > 0 {
			var t flexText
			if err := t.UnmarshalJSON(p.Thinking); err != nil {
				return err
			}
			thinking.WriteString(t.text)
		}
	}
	f.text, f.thinking = text.String(), thinking.String()
	return nil
}

// flexArgs are arguments: a piece of JSON text as a string, or, from servers
// that forget to encode it, the object itself.
type flexArgs string

func (f *flexArgs) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		return nil
	case len(b) > 0 && b[0] == '{':
		*f = flexArgs(b)
		return nil
	}
	return json.Unmarshal(b, (*string)(f))
}

// chatDecoder reads the events of one chat completion.
type chatDecoder struct {
	m        *Model
	model    string // last one that was handed out
	calls    []*chatCall
	finished bool
	usage    *chatUsage
	extras   map[string]json.RawMessage // extra_content by the ids of calls
	details  []*reasoningDetail
}

// chatCall is a tool call under way.
type chatCall struct {
	index  int
	id     string // as Chunk has it
	wireID string
	named  bool
	held   string // arguments that came before the name
}

func newChatDecoder(m *Model) *chatDecoder { return &chatDecoder{m: m} }

// Complete reports whether the provider has told why the answer ends.
func (d *chatDecoder) Complete() bool { return d.finished }

var doneMark = []byte("[DONE]")

// Event implements [model.Decoder].
func (d *chatDecoder) Event(_, data []byte, yield func(model.Chunk) error) (bool, error) {
	if bytes.HasPrefix(data, doneMark) {
		return true, nil
	}
	var c chatChunk
	if err := json.Unmarshal(data, &c); err != nil {
		return false, unreadable(err)
	}
	if len(c.Error) > 0 && string(c.Error) != "null" || c.Object == "error" {
		return false, d.m.failure(0, nil, data).Err()
	}
	if c.Usage == nil {
		c.Usage = c.Groq.Usage
	}
	if c.Usage != nil {
		d.usage = c.Usage
	}
	return false, d.choices(&c, yield)
}

func (d *chatDecoder) choices(c *chatChunk, yield func(model.Chunk) error) error {
	for i := range c.Choices {
		if c.Choices[i].Index != 0 {
			continue // only one was asked for
		}
		if err := d.choice(&c.Choices[i], c.Model, yield); err != nil {
			return err
		}
	}
	return nil
}

// Whole implements [model.WholeDecoder] for a chat.completion: its choices have a
// message where those of chunks have a delta.
func (d *chatDecoder) Whole(body []byte, yield func(model.Chunk) error) (bool, error) {
	var c chatChunk
	if err := json.Unmarshal(body, &c); err != nil || len(c.Choices) == 0 || c.Choices[0].Message == nil {
		return false, nil // the caller looks for an error in it
	}
	d.usage = c.Usage
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.Message != nil {
			choice.Delta = *choice.Message
		}
		if choice.FinishReason == "" {
			choice.FinishReason = "stop"
		}
	}
	if err := d.choices(&c, yield); err != nil {
		return true, err
	}
	return true, d.Finish(yield)
}

func (d *chatDecoder) choice(c *chatChoice, name string, yield func(model.Chunk) error) error {
	delta := &c.Delta
	out := model.Chunk{Text: delta.Content.text, Reasoning: delta.ReasoningContent}
	if out.Reasoning == "" {
		out.Reasoning = delta.Reasoning
	}
	out.Reasoning += delta.Content.thinking
	if delta.Refusal != "" {
		out.Text, out.Refusal = out.Text+delta.Refusal, true
	}
	for _, raw := range delta.Details {
		if err := d.detail(raw); err != nil {
			return err
		}
	}
	for i := range delta.ToolCalls {
		out.ToolCalls = d.toolCall(out.ToolCalls, &delta.ToolCalls[i])
	}
	if !d.finished && c.FinishReason != "" {
		reason, err := d.finishReason(c.FinishReason)
		if err != nil {
			return err
		}
		d.finished, out.FinishReason = true, reason
	}
	if out.Text == "" && out.Reasoning == "" && len(out.ToolCalls) == 0 && out.FinishReason == "" {
		return nil // the role alone, or a sign of life
	}
	if name != d.model {
		d.model, out.Model = name, name
	}
	return yield(out)
}

// finishReason maps a provider's reason to one of model.Chunk.
func (d *chatDecoder) finishReason(reason string) (string, error) {
	switch reason {
	case "tool_calls", "length", "content_filter":
		return reason, nil
	case "function_call":
		return "tool_calls", nil
	case "model_length": // Mistral
		return "length", nil
	case "error", "insufficient_system_resource": // Mistral, OpenRouter; DeepSeek
		return "", &model.Transient{Err: holdfast.WrapError(holdfast.CodeModelFailed, errUnhealthy,
			d.m.cfg.Provider+" could not complete its answer")}
	}
	return "stop", nil
}

// toolCall appends the deltas that a delta on the wire becomes.
func (d *chatDecoder) toolCall(out []holdfast.ToolCall, w *chatToolCall) []holdfast.ToolCall {
	c := d.call(w)
	if len(w.Extra) > 0 && string(w.Extra) != "null" {
		if d.extras == nil {
			d.extras = map[string]json.RawMessage{}
		}
		d.extras[c.id] = slices.Clone(w.Extra)
	}
	args := string(w.Function.Arguments)
	switch {
	case c.named:
	case w.Function.Name == "":
		c.held += args
		return out
	default:
		c.named = true
		args = c.held + args
		return append(out, holdfast.NewToolCall(c.id, w.Function.Name, args))
	}
	if args == "" {
		return out
	}
	return append(out, holdfast.NewToolCall(c.id, "", args))
}

// call finds the call that a delta continues, or begins a new one. OpenAI numbers
// calls by index. Others send whole calls without one, or all under 0 with ids of
// their own, or without ids.
func (d *chatDecoder) call(w *chatToolCall) *chatCall {
	index := len(d.calls)
	if w.Index != nil {
		index = *w.Index
	}
	for i := len(d.calls) - 1; i >= 0; i-- {
		c := d.calls[i]
		sameID := w.ID != "" && w.ID == c.wireID
		if w.Index == nil {
			if sameID || w.ID == "" && w.Function.Name == "" {
				return c
			}
			continue
		}
		unnamed := c.wireID == "" && !c.named
		if c.index == index && (w.ID == "" || sameID || unnamed || w.Function.Name == "") {
			if unnamed && w.ID != "" && !d.taken(w.ID) {
				c.wireID, c.id = w.ID, w.ID
			}
			return c
		}
	}
	c := &chatCall{index: index, wireID: w.ID, id: w.ID}
	if c.id == "" || d.taken(c.id) {
		c.id = model.NewCallID()
	}
	d.calls = append(d.calls, c)
	return c
}

func (d *chatDecoder) taken(id string) bool {
	for _, c := range d.calls {
		if c.id == id {
			return true
		}
	}
	return false
}

// Finish implements [model.Decoder].
func (d *chatDecoder) Finish(yield func(model.Chunk) error) error {
	for _, c := range d.calls {
		if !c.named {
			return d.m.garbage(errNoName)
		}
	}
	var c model.Chunk
	var err error
	if c.Opaque, err = d.opaque(); err != nil {
		return d.m.garbage(err)
	}
	if d.usage != nil && d.m.trackUsage() {
		c.Usage = d.usage.usage()
	}
	if c.Opaque == nil && c.Usage == nil {
		return nil
	}
	return yield(c)
}

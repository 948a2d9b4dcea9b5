package scripted

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// Options are what the program, not the agent file, decides.
type Options struct {
	// ReadFile reads the script at path, which the agent file names, for an agent
	// whose files lie in baseDir. Default: the file must lie in that folder; paths
	// and symbolic links that lead out of it are refused.
	ReadFile func(baseDir, path string) ([]byte, error)
}

// Model is a script that answers as a model.
type Model struct {
	name      string
	script    *script
	maxTokens int64 // words, -1: no limit
	usage     bool
	idle      time.Duration // 0: never
}

var _ model.Model = (*Model)(nil)

// New loads the script of cfg.ProviderOpts. It fails with CodeInvalid or
// CodeTooLarge, naming the place in the script.
func New(cfg model.Config, opt Options) (*Model, error) {
	if cfg.BaseURL != "" {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "scripted model: base_url has no meaning: the script answers, no server")
	}
	name, data, err := readScript(cfg, opt)
	if err != nil {
		return nil, err
	}
	s, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	m := &Model{
		name:      "scripted/" + cfg.Model,
		script:    s,
		maxTokens: -1,
		usage:     cfg.TrackUsage == nil || *cfg.TrackUsage,
		idle:      cfg.IdleTimeout,
	}
	if cfg.MaxTokens != nil {
		m.maxTokens = *cfg.MaxTokens
	}
	switch {
	case m.idle == 0:
		m.idle = 2 * time.Minute
	case m.idle < 0:
		m.idle = 0
	}
	return m, nil
}

// Name is "scripted/" and the label of the agent file.
func (m *Model) Name() string { return m.name }

// ContextLimit is the window that the script names, in tokens; 0 without one.
func (m *Model) ContextLimit() int64 { return m.script.contextLimit }

// Stream answers with the first turn that fits the conversation. Without one it
// says so, in an answer that names itself.
func (m *Model) Stream(ctx context.Context, req model.Request, yield func(model.Chunk) error) error {
	if err := model.Interrupted(ctx); err != nil {
		return err
	}
	conv := read(req.Messages)
	v := &values{model: m.name, conv: &conv}
	e := &emitter{ctx: ctx, yield: yield, model: m, left: m.maxTokens, until: -1}
	defer e.stop()

	if limit := m.script.contextLimit; limit > 0 && conv.inputTokens > limit {
		return holdfast.Errorf(holdfast.CodeModelContext,
			"scripted model: the conversation takes about %d tokens, the script allows %d", conv.inputTokens, limit)
	}
	switch req.Purpose {
	case model.PurposeTitle:
		return e.whole(&conv, m.title(v))
	case model.PurposeSummary:
		return e.whole(&conv, m.summary(v))
	}
	t := m.script.pick(&conv, v)
	if t == nil {
		return e.whole(&conv, unmatched(&conv))
	}
	return e.turn(t, v, &req)
}

func (m *Model) title(v *values) string {
	if m.script.title != nil {
		return m.script.title.fill(v)
	}
	words := strings.Fields(v.conv.user)
	if len(words) > 6 {
		words = append(words[:6:6], "…")
	}
	if len(words) == 0 {
		return "Scripted session"
	}
	return shorten(strings.Join(words, " "), 80)
}

func (m *Model) summary(v *values) string {
	if m.script.summary != nil {
		return m.script.summary.fill(v)
	}
	return fmt.Sprintf("Summary by the scripted model: %d messages; the user said last: %s",
		v.conv.messages, shorten(v.conv.user, 200))
}

// unmatched is the answer of a script that foresees nothing for a conversation.
func unmatched(c *conversation) string {
	if len(c.tools) > 0 {
		return fmt.Sprintf("scripted model: no rule matches the result of the tool %q: %s", c.toolName, shorten(c.toolOutput, 200))
	}
	return fmt.Sprintf("scripted model: no rule matches %q", shorten(c.user, 200))
}

// errStalled is the cause when a scripted stall meets the idle time-out.
var errStalled = errors.New("the script stalls")

// emitter hands out the chunks of one answer.
type emitter struct {
	ctx   context.Context
	yield func(model.Chunk) error
	model *Model
	timer *time.Timer // nil until the script asks for a delay

	delay   time.Duration
	started bool
	until   int   // words of text before a break, -1: none
	words   int   // words of text handed out
	left    int64 // words until max_tokens, -1: no limit
	reason  int64 // words of reasoning
	out     int64 // output tokens so far
	full    bool  // max_tokens is reached
}

func (e *emitter) stop() {
	if e.timer != nil {
		e.timer.Stop()
	}
}

// pause waits for d of the script's time.
func (e *emitter) pause(d time.Duration) error {
	if d > 0 {
		if e.timer == nil {
			e.timer = time.NewTimer(d)
		} else {
			e.timer.Reset(d)
		}
		select {
		case <-e.timer.C:
		case <-e.ctx.Done():
		}
	}
	return model.Interrupted(e.ctx)
}

// whole answers with one text in one piece.
func (e *emitter) whole(conv *conversation, s string) error {
	c := model.Chunk{Text: s, FinishReason: "stop", Model: e.model.name}
	if e.model.usage {
		c.Usage = &model.Usage{InputTokens: conv.inputTokens, OutputTokens: countWords(s)}
	}
	return e.yield(c)
}

func (e *emitter) turn(t *turn, v *values, req *model.Request) error {
	if err := e.pause(t.wait); err != nil {
		return err
	}
	if t.singleChunk {
		return e.single(t, v, req)
	}
	e.delay = t.delay
	if t.fail != nil || t.cut || t.stall {
		e.until = t.breakAfter
	}
	broken := e.until == 0
	if t.reason != nil && !broken {
		if err := e.text(t.reason.fill(v), true); err != nil {
			return err
		}
	}
	if t.say != nil && !broken {
		if err := e.text(t.say.fill(v), false); err != nil {
			return err
		}
	}
	for i := 0; i < t.sayWords && !e.done(); i++ {
		if err := e.word(fillerWord(i, t.sayWords), false); err != nil {
			return err
		}
	}
	if e.until >= 0 {
		return e.end(t)
	}
	if !e.full {
		for i := range t.calls {
			if err := e.call(&t.calls[i], callID(req, i), v); err != nil {
				return err
			}
		}
	}
	c := model.Chunk{FinishReason: e.finish(t), Model: e.model.name, Usage: e.usage(t, v.conv)}
	if err := e.pause(0); err != nil {
		return err
	}
	return e.yield(c)
}

// end leaves the answer where the script breaks it off.
func (e *emitter) end(t *turn) error {
	switch {
	case t.fail != nil:
		return holdfast.Errorf(t.fail.code, "%s", t.fail.message)
	case t.cut:
		return holdfast.WrapError(holdfast.CodeModelFailed, io.ErrUnexpectedEOF, "the model's answer broke off")
	}
	if e.model.idle == 0 {
		<-e.ctx.Done()
		return model.Interrupted(e.ctx)
	}
	if err := e.pause(e.model.idle); err != nil {
		return err
	}
	return holdfast.WrapError(holdfast.CodeModelFailed, errStalled,
		fmt.Sprintf("the model sent nothing for %s", e.model.idle))
}

// done reports whether no further word may go out.
func (e *emitter) done() bool {
	return e.full || e.until >= 0 && e.words >= e.until
}

// text streams s in words.
func (e *emitter) text(s string, reasoning bool) error {
	for i := 0; i < len(s) && !e.done(); {
		end := wordEnd(s, i)
		if err := e.word(s[i:end], reasoning); err != nil {
			return err
		}
		i = end
	}
	return nil
}

func (e *emitter) word(w string, reasoning bool) error {
	if e.left == 0 {
		e.full = true
		return nil
	}
	if e.left > 0 {
		e.left--
	}
	d := e.delay
	if !e.started {
		d = 0
		e.started = true
	}
	if err := e.pause(d); err != nil {
		return err
	}
	e.out++
	if reasoning {
		e.reason++
		return e.yield(model.Chunk{Reasoning: w})
	}
	e.words++
	return e.yield(model.Chunk{Text: w})
}

// callPiece is how many bytes of a call's arguments ride in one chunk.
const callPiece = 48

func (e *emitter) call(c *call, id string, v *values) error {
	if err := e.pause(e.delay); err != nil {
		return err
	}
	args := c.arguments(v)
	e.out += 1 + int64(len(args)+3)/4
	if err := e.yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(id, c.name, "")}}); err != nil {
		return err
	}
	for i := 0; i < len(args); {
		end := runeEnd(args, i+callPiece)
		if err := e.pause(e.delay); err != nil {
			return err
		}
		if err := e.yield(model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(id, "", args[i:end])}}); err != nil {
			return err
		}
		i = end
	}
	return nil
}

func (c *call) arguments(v *values) string {
	switch {
	case c.args != nil:
		return string(c.args.appendJSON(nil, v))
	case c.argsText != nil:
		return c.argsText.fill(v)
	}
	return "{}"
}

// single hands out the whole answer at once, as some providers do for short
// ones: text, calls, finish and usage in one chunk.
func (e *emitter) single(t *turn, v *values, req *model.Request) error {
	c := model.Chunk{Model: e.model.name}
	if t.reason != nil {
		c.Reasoning = e.limit(t.reason.fill(v))
		e.reason = countWords(c.Reasoning)
	}
	var b strings.Builder
	if t.say != nil {
		b.WriteString(t.say.fill(v))
	}
	for i := range t.sayWords {
		b.WriteString(fillerWord(i, t.sayWords))
	}
	c.Text = e.limit(b.String())
	e.out = e.reason + countWords(c.Text)
	if !e.full {
		for i := range t.calls {
			args := t.calls[i].arguments(v)
			e.out += 1 + int64(len(args)+3)/4
			c.ToolCalls = append(c.ToolCalls, holdfast.NewToolCall(callID(req, i), t.calls[i].name, args))
		}
	}
	c.FinishReason, c.Usage = e.finish(t), e.usage(t, v.conv)
	return e.yield(c)
}

// limit cuts s where max_tokens ends.
func (e *emitter) limit(s string) string {
	if e.left < 0 {
		return s
	}
	i := 0
	for i < len(s) {
		if e.left == 0 {
			e.full = true
			break
		}
		e.left--
		i = wordEnd(s, i)
	}
	return s[:i]
}

func (e *emitter) finish(t *turn) string {
	switch {
	case e.full:
		return "length"
	case t.finish != "":
		return t.finish
	case len(t.calls) > 0:
		return "tool_calls"
	}
	return "stop"
}

func (e *emitter) usage(t *turn, c *conversation) *model.Usage {
	if !e.model.usage {
		return nil
	}
	u := &model.Usage{InputTokens: c.inputTokens, OutputTokens: e.out, ReasoningTokens: e.reason}
	if g := t.usage; g != nil {
		for _, n := range []struct {
			given int64
			to    *int64
		}{
			{g.input, &u.InputTokens},
			{g.output, &u.OutputTokens},
			{g.cached, &u.CachedInputTokens},
			{g.cacheWrite, &u.CacheWriteTokens},
			{g.reasoning, &u.ReasoningTokens},
		} {
			if n.given >= 0 {
				*n.to = n.given
			}
		}
	}
	return u
}

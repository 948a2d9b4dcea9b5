package scripted

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// conversation is what conditions and texts look at. It is read from the end of
// the messages, so that a long history costs no more than a short one, but for
// one addition per message.
type conversation struct {
	messages int
	images   int    // of the last user message, and of the tools' answers at the end
	user     string // last user message
	turn     int    // assistant messages since then

	// tools are the results at the very end, in order; toolName and toolOutput
	// those of the one that a condition chose, else of the last.
	tools                []toolResult
	toolName, toolOutput string

	inputTokens int64
}

type toolResult struct {
	name, output string
}

func read(messages []holdfast.Message) conversation {
	c := conversation{messages: len(messages)}
	for i := range messages {
		c.inputTokens += estimate(&messages[i])
	}
	i := len(messages) - 1
	for ; i >= 0 && messages[i].Role == holdfast.RoleTool; i-- {
	}
	if results := messages[i+1:]; len(results) > 0 {
		c.tools = make([]toolResult, len(results))
		for n := range results {
			r := toolResult{output: results[n].Content}
			for _, p := range results[n].Parts {
				if p.ImageURL != nil {
					c.images++
				}
			}
			if i >= 0 {
				r.name = callName(&messages[i], results[n].ToolCallID)
			}
			c.tools[n] = r
		}
		last := c.tools[len(c.tools)-1]
		c.toolName, c.toolOutput = last.name, last.output
	}
	for ; i >= 0; i-- {
		m := &messages[i]
		switch m.Role {
		case holdfast.RoleAssistant:
			c.turn++
			continue
		case holdfast.RoleUser:
		default:
			continue
		}
		c.user = m.Content
		for _, p := range m.Parts {
			switch p.Type {
			case "text":
				c.user = strings.TrimPrefix(c.user+"\n"+p.Text, "\n")
			case "image_url":
				c.images++
			}
		}
		break
	}
	return c
}

// callName is the name of the tool that an assistant message called under id.
func callName(m *holdfast.Message, id string) string {
	for n := range m.ToolCalls {
		if m.ToolCalls[n].ID == id {
			return m.ToolCalls[n].Function.Name
		}
	}
	return ""
}

// estimate is a rough count of a message's tokens: one for four bytes. Exact
// words would cost a pass over the whole history with every call.
func estimate(m *holdfast.Message) int64 {
	n := len(m.Content)
	for i := range m.ToolCalls {
		f := &m.ToolCalls[i].Function
		n += len(f.Name) + len(f.Arguments)
	}
	for i := range m.Parts {
		n += len(m.Parts[i].Text)
	}
	return int64(n+3) / 4
}

// pick returns the first turn that fits, and sets the tool result that the
// condition chose.
func (s *script) pick(c *conversation, v *values) *turn {
	for i := range s.turns {
		if s.turns[i].when.fits(c, v) {
			return &s.turns[i]
		}
	}
	return nil
}

func (w *when) fits(c *conversation, v *values) bool {
	if w.turn >= 0 && w.turn != c.turn {
		return false
	}
	if w.afterTool == "" && w.turn < 0 && len(c.tools) > 0 {
		// A rule for a user's words must not answer again after its own tool call.
		return false
	}
	switch {
	case w.equals != "":
		if !strings.EqualFold(strings.TrimSpace(c.user), w.equals) {
			return false
		}
	case w.contains != "":
		if !strings.Contains(strings.ToLower(c.user), w.contains) {
			return false
		}
	case w.matches != nil:
		m := w.matches.FindStringSubmatch(c.user)
		if m == nil {
			return false
		}
		v.match, v.matches = m, w.matches
	}
	if w.afterTool == "" {
		return true
	}
	for _, r := range c.tools {
		if w.afterTool != "*" && w.afterTool != r.name {
			continue
		}
		if w.output != nil {
			m := w.output.FindStringSubmatch(r.output)
			if m == nil {
				continue
			}
			v.output, v.outRE = m, w.output
		}
		c.toolName, c.toolOutput = r.name, r.output
		return true
	}
	return false
}

// callID names the n-th tool call of an answer: the same for the same
// conversation and idempotency key, another for every other step of a session.
// It hashes what changes with each step instead of the whole history: the key,
// the number of messages, the last message, and the previous call's id, which
// carries on what came before.
func callID(req *model.Request, n int) string {
	h := sha256.New()
	put := func(s string) {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	put(req.IdempotencyKey)
	put(strconv.Itoa(len(req.Messages)))
	put(strconv.Itoa(n))
	if k := len(req.Messages); k > 0 {
		last := &req.Messages[k-1]
		put(string(last.Role))
		put(last.Content)
		put(last.ToolCallID)
		put(last.CreatedAt.UTC().String())
	}
	for i := len(req.Messages) - 1; i >= 0; i-- {
		if calls := req.Messages[i].ToolCalls; len(calls) > 0 {
			put(calls[len(calls)-1].ID)
			break
		}
	}
	return "call_" + hex.EncodeToString(h.Sum(nil)[:12])
}

// shorten cuts s to at most n runes and marks the cut.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n]) + "…"
}

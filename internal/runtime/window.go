package runtime

import (
	holdfast "github.com/holdfast-run/holdfast"
)

// Window is how full the context of a conversation is, as its last model call
// measured it. A session's own conversation has one and so has every thread of a
// sub-agent.
type Window struct {
	// Used and Limit are tokens; 0 if they are not known.
	Used  int64 `json:",omitempty"`
	Limit int64 `json:",omitempty"`
	// Overflow says that the last model call was refused because the conversation
	// did not fit.
	Overflow bool `json:",omitempty"`
	// Tried says that the conversation was compacted since the last model call that
	// came to an end, whatever came of it: once must do, until the run has failed.
	Tried bool `json:",omitempty"`
}

// full reports whether the conversation is to be compacted: at 90 % of the limit.
func (w *Window) full() bool {
	return w.Overflow || (w.Limit > 0 && w.Used*10 >= w.Limit*9)
}

// Compacting is a compaction under way: its started event is in the log, its
// completed event is not.
type Compacting struct {
	// Attempts counts the model calls for it.
	Attempts int
}

// Summary replaces the first Messages of a conversation in what the model sees.
type Summary struct {
	Text     string
	Messages int
}

// reasonOverflow is why a model call is void that did not fit the window.
const reasonOverflow = "context_overflow"

// reasonFallback is why a model call is void after which another model takes over.
const reasonFallback = "model_failed"

const (
	compactionStarted   = "started"
	compactionCompleted = "completed"
)

// window returns the window of the thread's conversation.
func (s *State) window(t *Thread) *Window {
	if t == nil || t.Task == nil {
		return &s.Window
	}
	return &t.Window
}

// summary returns what stands for the beginning of the thread's conversation.
func (s *State) summary(t *Thread) Summary {
	if t == nil || t.Task == nil {
		return Summary{s.Summary, s.Summarized}
	}
	return t.Summary
}

// measure notes how full the window of the innermost conversation is. A call
// whose provider counted nothing says nothing.
func (s *State) measure(u holdfast.Usage) {
	if u.InputTokens+u.OutputTokens == 0 {
		return
	}
	w := s.window(s.top())
	w.Used, w.Limit = u.ContextLength, u.ContextLimit
}

// summarized folds session_summary: it is of the innermost conversation.
func (s *State) summarized(ev *holdfast.SessionSummaryEvent) {
	t := s.top()
	n := len(*s.messages(t))
	if ev.Messages > 0 {
		n = min(n, ev.Messages)
	}
	s.window(t).Overflow = false
	if t != nil && t.Task != nil {
		t.Summary = Summary{ev.Summary, n}
		return
	}
	s.Summary, s.Summarized = ev.Summary, n
}

// compaction folds session_compaction.
func (s *State) compaction(ev *holdfast.SessionCompactionEvent) {
	switch ev.Status {
	case compactionStarted:
		s.Compacting = &Compacting{}
	case compactionCompleted:
		s.Compacting = nil
		t := s.top()
		s.window(t).Tried = true
		if (t == nil || t.Task == nil) && (s.Run == nil || !s.Run.Canceled) {
			s.CompactWanted = false
		}
	}
}

// mustCompact reports whether the innermost conversation is to be compacted
// before anything else happens in it: because the user asked for it or, if
// automatic says so, because its window is full.
func (s *State) mustCompact(automatic bool) bool {
	t := s.top()
	if s.CompactWanted && (t == nil || t.Task == nil) {
		return true
	}
	w := s.window(t)
	return automatic && !w.Tried && w.full() && s.cut(t) > s.summary(t).Messages
}

// cut returns how many messages of the thread's conversation a summary is to
// stand for: all but the newest that take a fifth of the window. It parts no call
// from its result, because it is asked for only when every call has one.
func (s *State) cut(t *Thread) int {
	msgs, w := *s.messages(t), s.window(t)
	first := s.summary(t).Messages
	n := len(msgs)
	if n <= first {
		return first
	}
	if s.CompactWanted && (t == nil || t.Task == nil) && msgs[n-1].Role == holdfast.RoleAssistant {
		return n // the user asked for it and nothing is under way: everything
	}
	var total int64
	for i := first; i < n; i++ {
		total += estimate(&msgs[i])
	}
	room, half := w.Limit/5, w.Limit/2
	if w.Limit == 0 {
		room, half = total/4, total/2
	}
	if w.Used > total { // these messages have more tokens than their length lets expect
		room = room * max(total, 1) / w.Used
	}
	// What was said last, or the last calls with their results, stays if it fits at
	// all.
	at := n - 1
	for at > first && msgs[at].Role == holdfast.RoleTool {
		at--
	}
	var last int64
	for i := at; i < n; i++ {
		last += estimate(&msgs[i])
	}
	if last > half {
		return n
	}
	room -= last
	for at > first {
		size := estimate(&msgs[at-1])
		if size > room {
			break
		}
		room -= size
		at--
	}
	return safeCut(msgs, at)
}

// lastRequest is what the user, or the agent that gave the task, said last before
// the cut if nothing was said behind it: a summary alone makes a poor request.
func lastRequest(msgs []holdfast.Message, cut int) string {
	for i := len(msgs) - 1; i >= 0; i-- {
		if msgs[i].Role == holdfast.RoleUser {
			if i >= cut {
				return ""
			}
			return shortened(msgs[i].Content, maxRequest)
		}
	}
	return ""
}

// maxRequest is how much of the last request goes with a summary, in bytes.
const maxRequest = 4 << 10

// estimate is a rough count of a message's tokens: one for four bytes.
func estimate(m *holdfast.Message) int64 {
	n := len(m.Content) + len(m.Opaque)
	for i := range m.ToolCalls {
		n += len(m.ToolCalls[i].Function.Name) + len(m.ToolCalls[i].Function.Arguments)
	}
	for i := range m.Parts {
		n += len(m.Parts[i].Text)
		if m.Role == holdfast.RoleTool && m.Parts[i].ImageURL != nil {
			n += 4 * imageTokens
		}
	}
	return int64(n+3) / 4
}

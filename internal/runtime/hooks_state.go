package runtime

import (
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// HookState is what hooks of a thread's agent were run for, and what they said.
type HookState struct {
	// Started, Stopped and Ended say that session_start, stop and session_end were.
	Started bool `json:",omitempty"`
	Stopped bool `json:",omitempty"`
	Ended   bool `json:",omitempty"`
	// Prompts counts the messages of the user that user_prompt_submit was not run for.
	Prompts int `json:",omitempty"`
	// Turn says that turn_start was run for the next model call.
	Turn bool `json:",omitempty"`
	// Context, PromptContext and TurnContext are what session_start,
	// user_prompt_submit and turn_start tell the model.
	Context       string `json:",omitempty"`
	PromptContext string `json:",omitempty"`
	TurnContext   string `json:",omitempty"`
	// Asked names the wait that on_user_input was run for.
	Asked string `json:",omitempty"`
	// Error is the failure that ends the thread.
	Error string `json:",omitempty"`
	// Told are the notices that hooks were told of: event and mark.
	Told []string `json:",omitempty"`
	// Ran are the calls that were made since the last model call.
	Ran []RanCall `json:",omitempty"`
}

// RanCall is a call that was made. Message is the place of its response.
type RanCall struct {
	holdfast.ToolCall
	Message int
	Hooked  bool `json:",omitempty"`
	// RuledAs is the tool whose hooks count for the call, too.
	RuledAs string `json:",omitempty"`
	// Own says that the call was one of the loop's own tools, which handed something to
	// another agent: nothing was run.
	Own bool `json:",omitempty"`
}

// handedOver notes that what has just been answered, as the last of so many messages,
// handed the conversation over.
func (h *HookState) handedOver(messages int) {
	if n := len(h.Ran); n > 0 && h.Ran[n-1].Message == messages-1 {
		h.Ran[n-1].Own = true
	}
}

// OpenHook is the moment whose hooks are run.
type OpenHook struct {
	ID      string
	Event   string
	Thread  int
	Call    string `json:",omitempty"`
	Mark    string `json:",omitempty"`
	Attempt int
}

// Verdict is what hooks say about a call.
type Verdict struct {
	Blocked  bool   `json:",omitempty"`
	Message  string `json:",omitempty"`
	Decision string `json:",omitempty"`
}

// asks reports whether the user is to be asked, whatever else is approved.
func (v *Verdict) asks() bool { return v != nil && v.Decision == "ask" }

// allows reports whether the user need not be asked.
func (v *Verdict) allows() bool { return v != nil && v.Decision == "allow" }

// prompted notes that the user has said something.
func (h *HookState) prompted() {
	h.Prompts++
	h.Stopped, h.Ended = false, false
}

func (h *HookState) told(event, mark string) bool { return slices.Contains(h.Told, event+" "+mark) }

// applyHook folds the events of hooks. One that closes what is not open changes
// nothing: only a log that breaks the rules has it.
func (s *State) applyHook(_ *events.Envelope, ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.HookStartedEvent:
		s.Run.Hook = &OpenHook{ID: ev.ID, Event: ev.HookEvent, Thread: ev.Thread, Call: ev.ToolCallID, Mark: ev.Mark, Attempt: ev.Attempt}
	case *holdfast.HookFinishedEvent:
		open := s.Run.Hook
		if open == nil || open.ID != ev.ID || open.Thread < 0 || open.Thread >= len(s.Run.Threads) {
			return
		}
		s.Run.Hook = nil
		s.Run.Hooked++
		if !ev.Canceled {
			s.Run.Threads[open.Thread].hooked(open, ev)
		}
	}
}

func (t *Thread) hooked(open *OpenHook, ev *holdfast.HookFinishedEvent) {
	h := &t.Hooks
	switch open.Event {
	case agent.HookSessionStart:
		h.Started, h.Context = true, ev.Context
	case agent.HookSessionEnd:
		h.Ended = true
	case agent.HookStop:
		h.Stopped = true
	case agent.HookUserPromptSubmit:
		h.Prompts, h.PromptContext = 0, ev.Context
	case agent.HookTurnStart:
		h.Turn, h.TurnContext = true, ev.Context
	case agent.HookOnUserInput:
		h.Asked = open.Mark
	case agent.HookOnError, agent.HookOnMaxIterations, agent.HookNotification:
		h.Told = append(h.Told, open.Event+" "+open.Mark)
	case agent.HookPostToolUse:
		for i := range h.Ran {
			if h.Ran[i].ID == open.Call && !h.Ran[i].Hooked {
				h.Ran[i].Hooked = true
				return
			}
		}
	case agent.HookPreToolUse:
		if c := t.call(open.Call); c != nil {
			c.Hooked = &Verdict{Blocked: !ev.Allowed, Message: ev.Message, Decision: ev.Decision}
			if ev.Arguments != "" {
				c.Function.Arguments = ev.Arguments
			}
		}
	case agent.HookPermissionRequest:
		if c := t.call(open.Call); c != nil {
			c.Permitted = &Verdict{Blocked: !ev.Allowed, Message: ev.Message, Decision: ev.Decision}
		}
	}
}

// contexts are what hooks tell the model.
func (h *HookState) contexts() []string { return []string{h.Context, h.PromptContext, h.TurnContext} }

// lastPrompts are the newest n messages of the user, oldest first.
func lastPrompts(msgs []holdfast.Message, n int) string {
	var out []string
	for i := len(msgs) - 1; i >= 0 && len(out) < n; i-- {
		if msgs[i].Role == holdfast.RoleUser {
			out = append(out, msgs[i].Content)
		}
	}
	slices.Reverse(out)
	return strings.Join(out, "\n\n")
}

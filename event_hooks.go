package holdfast

// The events of hooks: commands that an agent file has run at certain moments.

// HookBlockedEvent (hook_blocked) says that a hook did not let something happen: a tool call, or the run to go on.
type HookBlockedEvent struct {
	AgentContext
	// ToolCall is the call that is not made, empty if none was about to be.
	ToolCall ToolCall `json:"tool_call"`
	// Message is the reason that the hook gave.
	Message string `json:"message"`
	// HookEvent is the moment, such as "pre_tool_use".
	HookEvent string `json:"hook_event"`
}

// HookStartedEvent (hook_started) is the stored intent to run the hooks of one moment. If no hook_finished of its id
// follows, they are run again with the same keys, because what comes next depends on what they say.
type HookStartedEvent struct {
	AgentContext
	// ID names this moment; the key of each of its hooks is made of it.
	ID        string `json:"id"`
	HookEvent string `json:"hook_event"`
	// Thread is the place of the agent's stream in the stack of streams, 0 for the
	// outermost.
	Thread int `json:"thread"`
	// ToolCallID is the call that it is about, "" if none.
	ToolCallID string `json:"tool_call_id,omitempty"`
	// Mark says which of several moments of this kind it is.
	Mark string `json:"mark,omitempty"`
	// Attempt is 1 for the first time, more after a crash.
	Attempt int `json:"attempt"`
}

// HookFinishedEvent (hook_finished) is what the hooks of one moment said together.
type HookFinishedEvent struct {
	AgentContext
	ID        string `json:"id"`
	HookEvent string `json:"hook_event"`
	// Allowed is false if one of them blocked; Message then says why.
	Allowed bool   `json:"allowed"`
	Message string `json:"message,omitempty"`
	// Decision is "allow", "ask" or "" for a tool call.
	Decision string `json:"decision,omitempty"`
	// Arguments replace those of the tool call, "" if they stay.
	Arguments string `json:"arguments,omitempty"`
	// Context is told to the model.
	Context string `json:"context,omitempty"`
	// Canceled says that the run was canceled before they ended.
	Canceled bool `json:"canceled,omitempty"`
}

// EventType returns "hook_blocked".
func (*HookBlockedEvent) EventType() string { return TypeHookBlocked }

// EventType returns "hook_started".
func (*HookStartedEvent) EventType() string { return TypeHookStarted }

// EventType returns "hook_finished".
func (*HookFinishedEvent) EventType() string { return TypeHookFinished }

func (e *HookBlockedEvent) payload() any  { type p HookBlockedEvent; return (*p)(e) }
func (e *HookStartedEvent) payload() any  { type p HookStartedEvent; return (*p)(e) }
func (e *HookFinishedEvent) payload() any { type p HookFinishedEvent; return (*p)(e) }

// MarshalJSON returns the wire form.
func (e *HookBlockedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *HookStartedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *HookFinishedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

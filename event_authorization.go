package holdfast

// The events of authorizations beside authorization_required. None of them has a
// code, a token or any other secret.

// AuthorizationAwaitedEvent (authorization_awaited) says who waits for an authorization: a tool call, which was refused before it
// had any effect and will be made again, or an agent whose tools cannot be listed.
type AuthorizationAwaitedEvent struct {
	AgentContext
	FlowID string `json:"flow_id"`
	// ToolCallID is the call, "" for the agent.
	ToolCallID string `json:"tool_call_id,omitempty"`
}

// AuthorizationReceivedEvent (authorization_received) says that the authorization server's answer has come. The answer itself is never in
// the log.
type AuthorizationReceivedEvent struct {
	AgentContext
	FlowID  string `json:"flow_id"`
	Command string `json:"command,omitempty"`
}

// AuthorizationVouchedEvent (authorization_vouched) says that the tenant's application vouches for the user who finished.
type AuthorizationVouchedEvent struct {
	AgentContext
	FlowID  string `json:"flow_id"`
	Command string `json:"command,omitempty"`
}

// AuthorizationEndedEvent (authorization_ended) says that a flow came to nothing: who waits for it goes on and, if the
// server asks again, gets another flow.
type AuthorizationEndedEvent struct {
	AgentContext
	FlowID string `json:"flow_id"`
	// Reason is "expired", "lost" or "failed".
	Reason  string `json:"reason"`
	Command string `json:"command,omitempty"`
	// Error is what whoever waits for a flow that failed is told; the run then ends.
	Error string `json:"error,omitempty"`
}

// EventType returns "authorization_awaited".
func (*AuthorizationAwaitedEvent) EventType() string { return TypeAuthorizationAwaited }

// EventType returns "authorization_received".
func (*AuthorizationReceivedEvent) EventType() string { return TypeAuthorizationReceived }

// EventType returns "authorization_vouched".
func (*AuthorizationVouchedEvent) EventType() string { return TypeAuthorizationVouched }

// EventType returns "authorization_ended".
func (*AuthorizationEndedEvent) EventType() string { return TypeAuthorizationEnded }

func (e *AuthorizationAwaitedEvent) payload() any {
	type p AuthorizationAwaitedEvent
	return (*p)(e)
}

func (e *AuthorizationReceivedEvent) payload() any {
	type p AuthorizationReceivedEvent
	return (*p)(e)
}

func (e *AuthorizationVouchedEvent) payload() any {
	type p AuthorizationVouchedEvent
	return (*p)(e)
}
func (e *AuthorizationEndedEvent) payload() any { type p AuthorizationEndedEvent; return (*p)(e) }

// MarshalJSON returns the wire form.
func (e *AuthorizationAwaitedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *AuthorizationReceivedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *AuthorizationVouchedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *AuthorizationEndedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

package holdfast

// Names of event types. They are for ever.
const (
	TypeUserMessage           = "user_message"
	TypeStreamStarted         = "stream_started"
	TypeStreamStopped         = "stream_stopped"
	TypeAgentChoice           = "agent_choice"
	TypeAgentChoiceReasoning  = "agent_choice_reasoning"
	TypePartialToolCall       = "partial_tool_call"
	TypeToolCall              = "tool_call"
	TypeToolCallConfirmation  = "tool_call_confirmation"
	TypeToolCallResponse      = "tool_call_response"
	TypeTokenUsage            = "token_usage"
	TypeSessionTitle          = "session_title"
	TypeSessionSummary        = "session_summary"
	TypeSessionCompaction     = "session_compaction"
	TypeAuthorizationRequired = "authorization_required"
	TypeShellOutput           = "shell"
	TypeError                 = "error"
	TypeWarning               = "warning"
	TypeMaxIterationsReached  = "max_iterations_reached"
	TypeModelFallback         = "model_fallback"
	TypeAgentSwitching        = "agent_switching"
	TypeElicitationRequest    = "elicitation_request"
	TypeHookBlocked           = "hook_blocked"
	TypeMCPInitStarted        = "mcp_init_started"
	TypeMCPInitFinished       = "mcp_init_finished"
	TypeSessionCreated        = "session_created"
	TypeSessionClaimed        = "session_claimed"
	TypeSessionParked         = "session_parked"
	TypeSessionHandedOver     = "session_handed_over"
	TypeSessionDeleted        = "session_deleted"
	TypeCommandAccepted       = "command_accepted"
	TypeCommandRefused        = "command_refused"
	TypeAgentPinned           = "agent_pinned"
	TypeRunQueued             = "run_queued"
	TypeRunStarted            = "run_started"
	TypeRunFinished           = "run_finished"
	TypeRunCanceled           = "run_canceled"
	TypeRunContinued          = "run_continued"
	TypeModelCallStarted      = "model_call_started"
	TypeModelCallFinished     = "model_call_finished"
	TypeModelCallVoided       = "model_call_voided"
	TypeToolCallsStarted      = "tool_calls_started"
	TypeToolCallDecided       = "tool_call_decided"
	TypeToolOutcomeUnknown    = "tool_outcome_unknown"
	TypeToolCallSuspended     = "tool_call_suspended"
	TypeElicitationAnswered   = "elicitation_answered"
	TypeModelNotice           = "model_notice"
	TypeHookStarted           = "hook_started"
	TypeHookFinished          = "hook_finished"
	TypeToolState             = "tool_state"
	TypePayloadPart           = "payload_part"
	TypeTimerSet              = "timer_set"
	TypeTimerFired            = "timer_fired"
	TypeAuthorizationAwaited  = "authorization_awaited"
	TypeAuthorizationReceived = "authorization_received"
	TypeAuthorizationVouched  = "authorization_vouched"
	TypeAuthorizationEnded    = "authorization_ended"
)

// registry makes an empty event of each known type.
var registry = map[string]func() Event{
	TypeUserMessage:           func() Event { return new(UserMessageEvent) },
	TypeStreamStarted:         func() Event { return new(StreamStartedEvent) },
	TypeStreamStopped:         func() Event { return new(StreamStoppedEvent) },
	TypeAgentChoice:           func() Event { return new(AgentChoiceEvent) },
	TypeAgentChoiceReasoning:  func() Event { return new(AgentChoiceReasoningEvent) },
	TypePartialToolCall:       func() Event { return new(PartialToolCallEvent) },
	TypeToolCall:              func() Event { return new(ToolCallEvent) },
	TypeToolCallConfirmation:  func() Event { return new(ToolCallConfirmationEvent) },
	TypeToolCallResponse:      func() Event { return new(ToolCallResponseEvent) },
	TypeTokenUsage:            func() Event { return new(TokenUsageEvent) },
	TypeSessionTitle:          func() Event { return new(SessionTitleEvent) },
	TypeSessionSummary:        func() Event { return new(SessionSummaryEvent) },
	TypeSessionCompaction:     func() Event { return new(SessionCompactionEvent) },
	TypeAuthorizationRequired: func() Event { return new(AuthorizationRequiredEvent) },
	TypeShellOutput:           func() Event { return new(ShellOutputEvent) },
	TypeError:                 func() Event { return new(ErrorEvent) },
	TypeWarning:               func() Event { return new(WarningEvent) },
	TypeMaxIterationsReached:  func() Event { return new(MaxIterationsReachedEvent) },
	TypeModelFallback:         func() Event { return new(ModelFallbackEvent) },
	TypeAgentSwitching:        func() Event { return new(AgentSwitchingEvent) },
	TypeElicitationRequest:    func() Event { return new(ElicitationRequestEvent) },
	TypeHookBlocked:           func() Event { return new(HookBlockedEvent) },
	TypeMCPInitStarted:        func() Event { return new(MCPInitStartedEvent) },
	TypeMCPInitFinished:       func() Event { return new(MCPInitFinishedEvent) },
	TypeSessionCreated:        func() Event { return new(SessionCreatedEvent) },
	TypeSessionClaimed:        func() Event { return new(SessionClaimedEvent) },
	TypeSessionParked:         func() Event { return new(SessionParkedEvent) },
	TypeSessionHandedOver:     func() Event { return new(SessionHandedOverEvent) },
	TypeSessionDeleted:        func() Event { return new(SessionDeletedEvent) },
	TypeCommandAccepted:       func() Event { return new(CommandAcceptedEvent) },
	TypeCommandRefused:        func() Event { return new(CommandRefusedEvent) },
	TypeAgentPinned:           func() Event { return new(AgentPinnedEvent) },
	TypeRunQueued:             func() Event { return new(RunQueuedEvent) },
	TypeRunStarted:            func() Event { return new(RunStartedEvent) },
	TypeRunFinished:           func() Event { return new(RunFinishedEvent) },
	TypeRunCanceled:           func() Event { return new(RunCanceledEvent) },
	TypeRunContinued:          func() Event { return new(RunContinuedEvent) },
	TypeModelCallStarted:      func() Event { return new(ModelCallStartedEvent) },
	TypeModelCallFinished:     func() Event { return new(ModelCallFinishedEvent) },
	TypeModelCallVoided:       func() Event { return new(ModelCallVoidedEvent) },
	TypeToolCallsStarted:      func() Event { return new(ToolCallsStartedEvent) },
	TypeToolCallDecided:       func() Event { return new(ToolCallDecidedEvent) },
	TypeToolOutcomeUnknown:    func() Event { return new(ToolOutcomeUnknownEvent) },
	TypeToolCallSuspended:     func() Event { return new(ToolCallSuspendedEvent) },
	TypeElicitationAnswered:   func() Event { return new(ElicitationAnsweredEvent) },
	TypeModelNotice:           func() Event { return new(ModelNoticeEvent) },
	TypeHookStarted:           func() Event { return new(HookStartedEvent) },
	TypeHookFinished:          func() Event { return new(HookFinishedEvent) },
	TypeToolState:             func() Event { return new(ToolStateEvent) },
	TypePayloadPart:           func() Event { return new(PayloadPartEvent) },
	TypeTimerSet:              func() Event { return new(TimerSetEvent) },
	TypeTimerFired:            func() Event { return new(TimerFiredEvent) },
	TypeRunScheduled:          func() Event { return new(RunScheduledEvent) },
	TypeAuthorizationAwaited:  func() Event { return new(AuthorizationAwaitedEvent) },
	TypeAuthorizationReceived: func() Event { return new(AuthorizationReceivedEvent) },
	TypeAuthorizationVouched:  func() Event { return new(AuthorizationVouchedEvent) },
	TypeAuthorizationEnded:    func() Event { return new(AuthorizationEndedEvent) },
}

// EventType returns "user_message".
func (*UserMessageEvent) EventType() string { return TypeUserMessage }

// EventType returns "stream_started".
func (*StreamStartedEvent) EventType() string { return TypeStreamStarted }

// EventType returns "stream_stopped".
func (*StreamStoppedEvent) EventType() string { return TypeStreamStopped }

// EventType returns "agent_choice".
func (*AgentChoiceEvent) EventType() string { return TypeAgentChoice }

// EventType returns "agent_choice_reasoning".
func (*AgentChoiceReasoningEvent) EventType() string { return TypeAgentChoiceReasoning }

// EventType returns "partial_tool_call".
func (*PartialToolCallEvent) EventType() string { return TypePartialToolCall }

// EventType returns "tool_call".
func (*ToolCallEvent) EventType() string { return TypeToolCall }

// EventType returns "tool_call_confirmation".
func (*ToolCallConfirmationEvent) EventType() string { return TypeToolCallConfirmation }

// EventType returns "tool_call_response".
func (*ToolCallResponseEvent) EventType() string { return TypeToolCallResponse }

// EventType returns "token_usage".
func (*TokenUsageEvent) EventType() string { return TypeTokenUsage }

// EventType returns "session_title".
func (*SessionTitleEvent) EventType() string { return TypeSessionTitle }

// EventType returns "session_summary".
func (*SessionSummaryEvent) EventType() string { return TypeSessionSummary }

// EventType returns "session_compaction".
func (*SessionCompactionEvent) EventType() string { return TypeSessionCompaction }

// EventType returns "authorization_required".
func (*AuthorizationRequiredEvent) EventType() string { return TypeAuthorizationRequired }

// EventType returns "shell".
func (*ShellOutputEvent) EventType() string { return TypeShellOutput }

// EventType returns "error".
func (*ErrorEvent) EventType() string { return TypeError }

// EventType returns "warning".
func (*WarningEvent) EventType() string { return TypeWarning }

// EventType returns "max_iterations_reached".
func (*MaxIterationsReachedEvent) EventType() string { return TypeMaxIterationsReached }

// EventType returns "model_fallback".
func (*ModelFallbackEvent) EventType() string { return TypeModelFallback }

// EventType returns "agent_switching".
func (*AgentSwitchingEvent) EventType() string { return TypeAgentSwitching }

// EventType returns "elicitation_request".
func (*ElicitationRequestEvent) EventType() string { return TypeElicitationRequest }

// EventType returns "mcp_init_started".
func (*MCPInitStartedEvent) EventType() string { return TypeMCPInitStarted }

// EventType returns "mcp_init_finished".
func (*MCPInitFinishedEvent) EventType() string { return TypeMCPInitFinished }

// EventType returns "session_created".
func (*SessionCreatedEvent) EventType() string { return TypeSessionCreated }

// EventType returns "session_claimed".
func (*SessionClaimedEvent) EventType() string { return TypeSessionClaimed }

// EventType returns "session_parked".
func (*SessionParkedEvent) EventType() string { return TypeSessionParked }

// EventType returns "session_handed_over".
func (*SessionHandedOverEvent) EventType() string { return TypeSessionHandedOver }

// EventType returns "session_deleted".
func (*SessionDeletedEvent) EventType() string { return TypeSessionDeleted }

// EventType returns "command_accepted".
func (*CommandAcceptedEvent) EventType() string { return TypeCommandAccepted }

// EventType returns "command_refused".
func (*CommandRefusedEvent) EventType() string { return TypeCommandRefused }

// EventType returns "agent_pinned".
func (*AgentPinnedEvent) EventType() string { return TypeAgentPinned }

// EventType returns "run_queued".
func (*RunQueuedEvent) EventType() string { return TypeRunQueued }

// EventType returns "run_started".
func (*RunStartedEvent) EventType() string { return TypeRunStarted }

// EventType returns "run_finished".
func (*RunFinishedEvent) EventType() string { return TypeRunFinished }

// EventType returns "run_canceled".
func (*RunCanceledEvent) EventType() string { return TypeRunCanceled }

// EventType returns "run_continued".
func (*RunContinuedEvent) EventType() string { return TypeRunContinued }

// EventType returns "model_call_started".
func (*ModelCallStartedEvent) EventType() string { return TypeModelCallStarted }

// EventType returns "model_call_finished".
func (*ModelCallFinishedEvent) EventType() string { return TypeModelCallFinished }

// EventType returns "model_call_voided".
func (*ModelCallVoidedEvent) EventType() string { return TypeModelCallVoided }

// EventType returns "tool_calls_started".
func (*ToolCallsStartedEvent) EventType() string { return TypeToolCallsStarted }

// EventType returns "tool_call_decided".
func (*ToolCallDecidedEvent) EventType() string { return TypeToolCallDecided }

// EventType returns "tool_outcome_unknown".
func (*ToolOutcomeUnknownEvent) EventType() string { return TypeToolOutcomeUnknown }

// EventType returns "tool_call_suspended".
func (*ToolCallSuspendedEvent) EventType() string { return TypeToolCallSuspended }

// EventType returns "elicitation_answered".
func (*ElicitationAnsweredEvent) EventType() string { return TypeElicitationAnswered }

// EventType returns "model_notice".
func (*ModelNoticeEvent) EventType() string { return TypeModelNotice }

// EventType returns "tool_state".
func (*ToolStateEvent) EventType() string { return TypeToolState }

// EventType returns "payload_part".
func (*PayloadPartEvent) EventType() string { return TypePayloadPart }

// EventType returns "timer_set".
func (*TimerSetEvent) EventType() string { return TypeTimerSet }

// EventType returns "timer_fired".
func (*TimerFiredEvent) EventType() string { return TypeTimerFired }

func (e *UserMessageEvent) payload() any           { type p UserMessageEvent; return (*p)(e) }
func (e *StreamStartedEvent) payload() any         { type p StreamStartedEvent; return (*p)(e) }
func (e *StreamStoppedEvent) payload() any         { type p StreamStoppedEvent; return (*p)(e) }
func (e *AgentChoiceEvent) payload() any           { type p AgentChoiceEvent; return (*p)(e) }
func (e *AgentChoiceReasoningEvent) payload() any  { type p AgentChoiceReasoningEvent; return (*p)(e) }
func (e *PartialToolCallEvent) payload() any       { type p PartialToolCallEvent; return (*p)(e) }
func (e *ToolCallEvent) payload() any              { type p ToolCallEvent; return (*p)(e) }
func (e *ToolCallConfirmationEvent) payload() any  { type p ToolCallConfirmationEvent; return (*p)(e) }
func (e *ToolCallResponseEvent) payload() any      { type p ToolCallResponseEvent; return (*p)(e) }
func (e *TokenUsageEvent) payload() any            { type p TokenUsageEvent; return (*p)(e) }
func (e *SessionTitleEvent) payload() any          { type p SessionTitleEvent; return (*p)(e) }
func (e *SessionSummaryEvent) payload() any        { type p SessionSummaryEvent; return (*p)(e) }
func (e *SessionCompactionEvent) payload() any     { type p SessionCompactionEvent; return (*p)(e) }
func (e *AuthorizationRequiredEvent) payload() any { type p AuthorizationRequiredEvent; return (*p)(e) }
func (e *ShellOutputEvent) payload() any           { type p ShellOutputEvent; return (*p)(e) }
func (e *ErrorEvent) payload() any                 { type p ErrorEvent; return (*p)(e) }
func (e *WarningEvent) payload() any               { type p WarningEvent; return (*p)(e) }
func (e *MaxIterationsReachedEvent) payload() any  { type p MaxIterationsReachedEvent; return (*p)(e) }
func (e *ModelFallbackEvent) payload() any         { type p ModelFallbackEvent; return (*p)(e) }
func (e *AgentSwitchingEvent) payload() any        { type p AgentSwitchingEvent; return (*p)(e) }
func (e *ElicitationRequestEvent) payload() any    { type p ElicitationRequestEvent; return (*p)(e) }
func (e *MCPInitStartedEvent) payload() any        { type p MCPInitStartedEvent; return (*p)(e) }
func (e *MCPInitFinishedEvent) payload() any       { type p MCPInitFinishedEvent; return (*p)(e) }
func (e *SessionCreatedEvent) payload() any        { type p SessionCreatedEvent; return (*p)(e) }
func (e *SessionClaimedEvent) payload() any        { type p SessionClaimedEvent; return (*p)(e) }
func (e *SessionParkedEvent) payload() any         { type p SessionParkedEvent; return (*p)(e) }
func (e *SessionHandedOverEvent) payload() any     { type p SessionHandedOverEvent; return (*p)(e) }
func (e *SessionDeletedEvent) payload() any        { type p SessionDeletedEvent; return (*p)(e) }
func (e *CommandAcceptedEvent) payload() any       { type p CommandAcceptedEvent; return (*p)(e) }
func (e *CommandRefusedEvent) payload() any        { type p CommandRefusedEvent; return (*p)(e) }
func (e *AgentPinnedEvent) payload() any           { type p AgentPinnedEvent; return (*p)(e) }
func (e *RunQueuedEvent) payload() any             { type p RunQueuedEvent; return (*p)(e) }
func (e *RunStartedEvent) payload() any            { type p RunStartedEvent; return (*p)(e) }
func (e *RunFinishedEvent) payload() any           { type p RunFinishedEvent; return (*p)(e) }
func (e *RunCanceledEvent) payload() any           { type p RunCanceledEvent; return (*p)(e) }
func (e *RunContinuedEvent) payload() any          { type p RunContinuedEvent; return (*p)(e) }
func (e *ModelCallStartedEvent) payload() any      { type p ModelCallStartedEvent; return (*p)(e) }
func (e *ModelCallFinishedEvent) payload() any     { type p ModelCallFinishedEvent; return (*p)(e) }
func (e *ModelCallVoidedEvent) payload() any       { type p ModelCallVoidedEvent; return (*p)(e) }
func (e *ToolCallsStartedEvent) payload() any      { type p ToolCallsStartedEvent; return (*p)(e) }
func (e *ToolCallDecidedEvent) payload() any       { type p ToolCallDecidedEvent; return (*p)(e) }
func (e *ToolOutcomeUnknownEvent) payload() any    { type p ToolOutcomeUnknownEvent; return (*p)(e) }
func (e *ToolCallSuspendedEvent) payload() any     { type p ToolCallSuspendedEvent; return (*p)(e) }
func (e *ElicitationAnsweredEvent) payload() any   { type p ElicitationAnsweredEvent; return (*p)(e) }
func (e *ModelNoticeEvent) payload() any           { type p ModelNoticeEvent; return (*p)(e) }
func (e *ToolStateEvent) payload() any             { type p ToolStateEvent; return (*p)(e) }
func (e *PayloadPartEvent) payload() any           { type p PayloadPartEvent; return (*p)(e) }
func (e *TimerSetEvent) payload() any              { type p TimerSetEvent; return (*p)(e) }
func (e *TimerFiredEvent) payload() any            { type p TimerFiredEvent; return (*p)(e) }

// MarshalJSON returns the wire form.
func (e *UserMessageEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *StreamStartedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *StreamStoppedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *AgentChoiceEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *AgentChoiceReasoningEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *PartialToolCallEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ToolCallEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ToolCallConfirmationEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ToolCallResponseEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *TokenUsageEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *SessionTitleEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *SessionSummaryEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *SessionCompactionEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *AuthorizationRequiredEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ShellOutputEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ErrorEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *WarningEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *MaxIterationsReachedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ModelFallbackEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *AgentSwitchingEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ElicitationRequestEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *MCPInitStartedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *MCPInitFinishedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *SessionCreatedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *SessionClaimedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *SessionParkedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *SessionHandedOverEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *SessionDeletedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *CommandAcceptedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *CommandRefusedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *AgentPinnedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *RunQueuedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *RunStartedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *RunFinishedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *RunCanceledEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *RunContinuedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ModelCallStartedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ModelCallFinishedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ModelCallVoidedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ToolCallsStartedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ToolCallDecidedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ToolOutcomeUnknownEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ToolCallSuspendedEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ElicitationAnsweredEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ModelNoticeEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *ToolStateEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *PayloadPartEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *TimerSetEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

// MarshalJSON returns the wire form.
func (e *TimerFiredEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

package runtime

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/model"
)

// State is a session: the fold of its events. Nothing that the loop decides by
// is anywhere else, so a worker that takes a session over continues exactly
// where the log ends. It marshals to JSON, for snapshots.
type State struct {
	Ref   holdfast.SessionRef
	Seq   uint64
	Epoch uint64
	// Now is the time of the last event: the only clock that decisions read.
	Now time.Time

	Created       time.Time
	Title         string
	ToolsApproved bool
	Deleted       bool
	// User is on whose behalf the session acts.
	User         string `json:",omitempty"`
	DefaultAgent string

	// Commands says what became of commands, by id: of all within
	// [events.RememberFor], and of the last [events.RememberCommands] at least.
	// ForgetAt is how many make a look for older ones worth while.
	Commands map[string]Settled
	ForgetAt int `json:",omitempty"`
	// Queue holds the runs that wait for their turn.
	Queue []*Queued
	// Run is the active run, nil if there is none.
	Run     *Run
	LastRun string
	// LastAgent and LastAgentInFile are those of the run that started last.
	LastAgent, LastAgentInFile string
	// HandedIn and HandedTo are the file and the agent in it to which the session's
	// own conversation was handed over, "" if it was not.
	HandedIn, HandedTo string `json:",omitempty"`

	// Pinned is the newest version of every agent file that was used, by name.
	Pinned map[string]Pinned
	// Held are older versions that a run still needs, by SHA-256.
	Held map[string]Pinned `json:",omitempty"`
	// Conversation holds the messages of the session's own conversation, without
	// those of sub-agents.
	Conversation []holdfast.Message
	// Summary replaces the first Summarized messages in what the model sees.
	Summary    string
	Summarized int
	// Window is how full the context of the session's own conversation is.
	Window Window
	// Compacting is the compaction under way, nil if there is none. CompactWanted
	// says that the user asked for one.
	Compacting    *Compacting `json:",omitempty"`
	CompactWanted bool        `json:",omitempty"`
	// Said sums up what the user said so far, queued messages included.
	Said Said
	// Timers are the timers that are set, by id.
	Timers map[string]*Timer `json:",omitempty"`
	// Tool is what toolsets keep in the session: toolset, key, value.
	Tool map[string]map[string]json.RawMessage

	// Panics counts how often the session was released by a panic since it was last
	// parked or a run of it ended.
	Panics int `json:",omitempty"`

	InputTokens   int64
	OutputTokens  int64
	Cost          float64
	ContextLength int64
}

// Settled is what became of a command.
type Settled struct {
	Hash    string
	Seq     uint64
	At      int64         // seconds since 1970
	Run     string        `json:",omitempty"`
	Code    holdfast.Code `json:",omitempty"`
	Message string        `json:",omitempty"`
}

// Queued is a run that waits.
type Queued struct {
	Run         string
	Agent       string
	AgentInFile string
	// Named says that the user named AgentInFile.
	Named    bool `json:",omitempty"`
	Messages []holdfast.Message
	// File is the SHA-256 of its agent file.
	File string
}

// Pinned is a version of an agent file.
type Pinned struct {
	SHA256 string
	Source string
}

// Run is the active run.
type Run struct {
	ID          string
	Agent       string // file
	AgentInFile string
	// File is the SHA-256 of the version of Agent that the run works with.
	File     string
	StartSeq uint64
	Started  time.Time
	// Base is the length of the conversation when the run started, Before what
	// stood for its beginning then.
	Base   int
	Before Summary
	// BeforeWindow is how full the context was then.
	BeforeWindow Window
	// BeforeIn and BeforeTo are HandedIn and HandedTo of that time.
	BeforeIn, BeforeTo string `json:",omitempty"`
	// Hook is the hooks that are run, nil if none are.
	Hook *OpenHook `json:",omitempty"`
	// Hooked counts the moments whose hooks were run.
	Hooked   int `json:",omitempty"`
	Canceled bool
	Rollback bool
	// Stopped is the reason of the outermost stream_stopped, "" before.
	Stopped string
	// Failed is set by an error: the innermost stream is to be closed.
	Failed bool
	// AtLimit says that the run used up its iterations and waits; Extra is how many
	// it was granted beyond the agent's own.
	AtLimit bool
	Extra   int
	// Threads is the stack of streams: the session's conversation, then a thread
	// for every transfer that is under way.
	Threads []*Thread
	// Steer holds messages that enter at the next step.
	Steer []holdfast.Message
	// Prompts counts the messages of the user that came before the first stream.
	Prompts int `json:",omitempty"`
	// Auth holds the authorizations that somebody in the run waits for, oldest first.
	Auth []*Authorization `json:",omitempty"`
	// Unanswered are the servers whose last authorization expired without an answer.
	Unanswered []string `json:",omitempty"`
	// Declined is the server that the user did not want to authorize: the run is to end.
	Declined string `json:",omitempty"`
	// Decided remembers the decisions on tool calls of this run, by call.
	Decided map[string]string
	// Answered remembers the answers to questions of this run, by question.
	Answered map[string]string `json:",omitempty"`
}

// Thread is one agent at work, from stream_started to stream_stopped.
type Thread struct {
	Agent string
	// Task is the call that started a sub-agent; its messages are Messages. The
	// outermost thread has none and uses the session's conversation.
	Task     *Call              `json:",omitempty"`
	Messages []holdfast.Message `json:",omitempty"`
	// Summary and Window are those of Messages.
	Summary Summary
	Window  Window
	// Iterations counts the model calls of this thread in this run.
	Iterations int
	// Open is the model call under way.
	Open *OpenCall
	// Attempts counts model calls in a row that broke off because their worker died.
	Attempts int
	// Fallback is the place, from 1, of the stand-in that makes this turn's call
	// because the models before it failed; 0 is the agent's own model.
	Fallback int `json:",omitempty"`
	// Corrections counts how often the model was told that its answer does not fit;
	// Refused says that its last answer declines and need not fit.
	Corrections int  `json:",omitempty"`
	Refused     bool `json:",omitempty"`
	Repeats     Repeats
	// Awaits is the authorization without which the agent's tools cannot be listed,
	// "" for none.
	Awaits string `json:",omitempty"`
	// Unauthorized is why an authorization failed that the agent or one of its calls
	// waited for, until the agent has been told.
	Unauthorized string `json:",omitempty"`
	// Hooks is what the hooks of the agent have said.
	Hooks HookState `json:",omitzero"`
	// Calls are the tool calls of the last answer that have no response yet, in
	// the model's order.
	Calls []*Call
}

// OpenCall is a model call whose answer is being written.
type OpenCall struct {
	ID      string
	Model   string
	FromSeq uint64
	Epoch   uint64
	Message holdfast.Message
	// text and reasoning gather the deltas; they move to Message at the end.
	text, reasoning strings.Builder
	args            []*strings.Builder
}

// Status of a [Call].
const (
	CallNew      = ""         // the model asked for it
	CallWaiting  = "waiting"  // a human is asked
	CallApproved = "approved" // a human said yes
	CallRejected = "rejected" // a human said no
	CallStarted  = "started"  // its intent is stored: it may have had its effect
	CallUnknown  = "unknown"  // its worker died in it, and that was said
	CallDeferred = "deferred" // its server refused it for want of an authorization
	// CallSuspended: it ended with questions to the user and is made again with the
	// answers.
	CallSuspended = "suspended"
)

// Call is a tool call on its way.
type Call struct {
	holdfast.ToolCall
	Status string
	// Announced says that its tool_call event is in the log.
	Announced bool
	Attempt   int
	Effect    string
	OnUnknown string
	// Epoch is the claim that started it: another epoch means that worker is gone.
	Epoch uint64
	// RuledAs is the tool whose hooks count for this one, too.
	RuledAs string `json:",omitempty"`
	// Transferred says that a sub-agent has taken the task of the call.
	Transferred bool `json:",omitempty"`
	// AskedUnknown says that the human was asked because the outcome is unknown.
	AskedUnknown bool
	Policy       string // of the unknown outcome, once decided
	RejectReason string
	Flow         string `json:",omitempty"` // the authorization that it waits for
	Refused      string `json:",omitempty"` // why that authorization failed
	// Inputs are the questions that the call has asked, Continuation what it gets
	// back with the answers.
	Inputs       []*Input        `json:",omitempty"`
	Continuation json.RawMessage `json:",omitempty"`
	// Hooked is what hooks of pre_tool_use said about the call, Permitted those of
	// permission_request; nil before.
	Hooked    *Verdict `json:",omitempty"`
	Permitted *Verdict `json:",omitempty"`
}

// NewState returns the state of a session before its first event.
func NewState(ref holdfast.SessionRef) *State {
	return &State{
		Ref: ref, Commands: map[string]Settled{}, Pinned: map[string]Pinned{},
		Tool: map[string]map[string]json.RawMessage{},
	}
}

// top returns the innermost thread, nil if no stream is open.
func (s *State) top() *Thread {
	if s.Run == nil || len(s.Run.Threads) == 0 {
		return nil
	}
	return s.Run.Threads[len(s.Run.Threads)-1]
}

// messages returns where the thread's messages are kept.
func (s *State) messages(t *Thread) *[]holdfast.Message {
	if t == nil || t.Task == nil {
		return &s.Conversation
	}
	return &t.Messages
}

// Fold applies the next event. An event of a type that this version does not
// know changes nothing but Seq.
func (s *State) Fold(e *events.Envelope) error {
	if s.Seq != 0 && e.Seq != s.Seq+1 {
		return fmt.Errorf("fold %s: %w: seq %d after %d", s.Ref, events.ErrGap, e.Seq, s.Seq)
	}
	if e.Epoch < s.Epoch {
		return fmt.Errorf("fold %s: epoch fell from %d to %d at seq %d", s.Ref, s.Epoch, e.Epoch, e.Seq)
	}
	e = timed(e)
	if err := s.fold(e); err != nil {
		return fmt.Errorf("fold %s: event %d (%s): %w", s.Ref, e.Seq, e.Type, err)
	}
	s.Seq, s.Epoch, s.Now = e.Seq, e.Epoch, e.Time
	return nil
}

func (s *State) fold(e *events.Envelope) error {
	switch e.Type { // what has no part in the state need not be decoded
	case holdfast.TypeAgentChoice, holdfast.TypeAgentChoiceReasoning, holdfast.TypePartialToolCall:
		if t := s.top(); t == nil || t.Open == nil {
			return nil
		}
	case holdfast.TypePayloadPart, holdfast.TypeWarning:
		return nil
	}
	ev, err := e.Event()
	if err != nil {
		return err
	}
	return s.apply(e, ev)
}

// apply changes the state by one decoded event.
func (s *State) apply(e *events.Envelope, ev holdfast.Event) error {
	switch ev := ev.(type) {
	case *holdfast.SessionCreatedEvent:
		if s.Created.IsZero() {
			s.Created = e.Time
		}
		s.DefaultAgent = ev.Agent
		if ev.User != "" || ev.ForkOf == "" {
			s.User = ev.User
		}
		s.ToolsApproved = s.ToolsApproved || ev.ToolsApproved
		if ev.Title != "" {
			s.Title = ev.Title
		}
		if ev.ForkOf != "" {
			s.detach()
		}
	case *holdfast.SessionDeletedEvent:
		s.Deleted = true
	case *holdfast.SessionHandedOverEvent:
		if ev.Reason == events.LeftPanicked {
			s.Panics++
		}
	case *holdfast.SessionParkedEvent:
		s.Panics = 0
	case *holdfast.SessionTitleEvent:
		s.Title = ev.Title
	case *holdfast.CommandAcceptedEvent:
		s.remember(ev.Command, Settled{Hash: ev.Hash, Seq: e.Seq, At: e.Time.Unix(), Run: ev.Run})
		s.CompactWanted = s.CompactWanted || ev.Kind == events.KindCompact
	case *holdfast.CommandRefusedEvent:
		s.remember(ev.Command, Settled{Hash: ev.Hash, Seq: e.Seq, At: e.Time.Unix(), Code: ev.Code, Message: ev.Message})
	case *holdfast.AgentPinnedEvent:
		s.pin(ev.Agent, Pinned{SHA256: ev.SHA256, Source: ev.Source})
	case *holdfast.ToolStateEvent:
		if s.Tool[ev.Toolset] == nil {
			s.Tool[ev.Toolset] = map[string]json.RawMessage{}
		}
		s.Tool[ev.Toolset][ev.Key] = ev.Value
	case *holdfast.RunScheduledEvent, *holdfast.TimerSetEvent, *holdfast.TimerFiredEvent:
		s.applyTimer(ev)
	case *holdfast.TokenUsageEvent:
		s.account(ev.Usage)
		s.ContextLength = ev.Usage.ContextLength
		s.measure(ev.Usage)
	case *holdfast.SessionSummaryEvent:
		s.summarized(ev)
	case *holdfast.SessionCompactionEvent:
		s.compaction(ev)
	case *holdfast.ModelCallStartedEvent:
		if ev.Purpose == "" {
			s.applyRun(e, ev)
		} else if s.Compacting != nil && ev.Purpose == string(model.PurposeSummary) {
			s.Compacting.Attempts++
		}
	case *holdfast.ModelCallFinishedEvent:
		if ev.Purpose == "" {
			s.applyRun(e, ev)
		} else {
			if s.Compacting != nil && ev.Purpose == string(model.PurposeSummary) {
				s.Compacting.Attempts = max(s.Compacting.Attempts-1, 0)
			}
			if ev.Usage != nil {
				s.account(*ev.Usage)
			}
		}
	default:
		s.applyRun(e, ev)
	}
	return nil
}

func (s *State) account(u holdfast.Usage) {
	s.InputTokens += u.InputTokens
	s.OutputTokens += u.OutputTokens
	s.Cost = u.Cost
}

// detach drops what a fork does not inherit: the commands and runs of the
// session that it was forked from go on there.
func (s *State) detach() {
	s.Commands, s.ForgetAt, s.Queue, s.Timers = map[string]Settled{}, 0, nil, nil
	s.Deleted = false
	s.Compacting, s.CompactWanted = nil, false
	if s.Run == nil {
		return
	}
	// What is under way stays with the original; a conversation must not end in
	// calls without answers.
	n := len(s.Conversation)
	for n > 0 && (s.Conversation[n-1].Role == holdfast.RoleTool || len(s.Conversation[n-1].ToolCalls) > 0) {
		n--
	}
	if len(s.Run.Threads) > 0 && (len(s.Run.Threads[0].Calls) > 0 || s.Run.Threads[0].Open != nil) {
		s.Conversation = s.Conversation[:n:n]
		// A summary may stand for what has just gone.
		s.Summarized = min(s.Summarized, n)
	}
	s.LastRun, s.Run = s.Run.ID, nil
	s.Held = nil
}

// applyRun changes the state by an event of a run.
func (s *State) applyRun(e *events.Envelope, ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.RunQueuedEvent:
		for _, m := range ev.Messages {
			if m.Role == holdfast.RoleUser {
				s.Said.add(m.Content)
			}
		}
		if ev.Mode == events.ModeSteer && s.Run != nil {
			s.Run.Steer = append(s.Run.Steer, ev.Messages...)
			return
		}
		q := &Queued{Run: ev.Run, Agent: ev.Agent, AgentInFile: ev.AgentInFile, Named: ev.Named, Messages: ev.Messages, File: s.Pinned[ev.Agent].SHA256}
		if ev.Mode == events.ModeInterrupt || ev.Mode == events.ModeRollback {
			s.Queue = append([]*Queued{q}, s.Queue...)
		} else {
			s.Queue = append(s.Queue, q)
		}
	case *holdfast.RunStartedEvent:
		file := s.queuedFile(ev.Run, ev.Agent)
		s.unqueue(ev.Run)
		s.Run = &Run{
			ID: ev.Run, Agent: ev.Agent, AgentInFile: ev.AgentInFile, StartSeq: e.Seq, Started: e.Time,
			Base: len(s.Conversation), Before: s.summary(nil), BeforeWindow: s.Window, Decided: map[string]string{}, File: file,
			BeforeIn: s.HandedIn, BeforeTo: s.HandedTo,
		}
		if s.HandedIn != ev.Agent || s.HandedTo != ev.AgentInFile { // the user has named another
			s.HandedIn, s.HandedTo = "", ""
		}
		s.LastAgent, s.LastAgentInFile = ev.Agent, ev.AgentInFile
	case *holdfast.RunCanceledEvent:
		if s.Run != nil && s.Run.ID == ev.Run {
			s.Run.Canceled = true
			s.Run.Rollback = s.Run.Rollback || ev.Rollback
		}
	case *holdfast.RunContinuedEvent:
		if s.Run != nil {
			s.Run.AtLimit = false
			s.Run.Extra += ev.Iterations
		}
	case *holdfast.RunFinishedEvent:
		s.unqueue(ev.Run)
		s.Panics = 0
		if s.Run != nil && s.Run.ID == ev.Run {
			if s.Run.Rollback {
				s.Conversation = s.Conversation[:s.Run.Base:s.Run.Base]
				s.Summary, s.Summarized, s.Window = s.Run.Before.Text, s.Run.Before.Messages, s.Run.BeforeWindow
				s.HandedIn, s.HandedTo = s.Run.BeforeIn, s.Run.BeforeTo
			}
			s.LastRun, s.Run = ev.Run, nil
		}
		s.release()
	case *holdfast.UserMessageEvent:
		m := holdfast.Message{Role: holdfast.RoleUser, Content: ev.Message, Parts: ev.Parts, CreatedAt: e.Time}
		s.Conversation = append(s.Conversation, m)
		if t := s.top(); t != nil {
			t.Repeats = Repeats{}
			t.Hooks.prompted()
		} else if s.Run != nil {
			s.Run.Prompts++
		}
		if s.Run != nil && len(s.Run.Steer) > 0 {
			s.Run.Steer = s.Run.Steer[1:]
		}
	case *holdfast.MaxIterationsReachedEvent:
		if s.Run != nil {
			s.Run.AtLimit = true
		}
	default:
		if s.Run != nil {
			s.applyThread(e, ev)
		}
	}
}

func (s *State) unqueue(run string) {
	for i, q := range s.Queue {
		if q.Run == run {
			s.Queue = append(s.Queue[:i:i], s.Queue[i+1:]...)
			return
		}
	}
}

// applyThread changes the innermost thread.
func (s *State) applyThread(e *events.Envelope, ev holdfast.Event) {
	t := s.top()
	if start, ok := ev.(*holdfast.StreamStartedEvent); ok {
		th := &Thread{Agent: start.AgentName}
		if t == nil {
			th.Hooks.Prompts = s.Run.Prompts
		}
		if t != nil {
			th.Task = t.transfer()
			th.Task.Transferred = true
			th.Messages = []holdfast.Message{taskMessage(th.Task, e.Time)}
		}
		s.Run.Threads = append(s.Run.Threads, th)
		return
	}
	if t == nil {
		return
	}
	switch ev := ev.(type) {
	case *holdfast.AuthorizationRequiredEvent, *holdfast.AuthorizationAwaitedEvent, *holdfast.AuthorizationReceivedEvent,
		*holdfast.AuthorizationVouchedEvent, *holdfast.AuthorizationEndedEvent:
		s.applyAuthorization(t, ev)
	case *holdfast.StreamStoppedEvent:
		if len(s.Run.Threads) == 1 {
			s.Run.Stopped = ev.Reason
		}
		s.Run.Threads = s.Run.Threads[:len(s.Run.Threads)-1]
		s.Run.Failed = false
	case *holdfast.HookStartedEvent, *holdfast.HookFinishedEvent:
		s.applyHook(e, ev)
	case *holdfast.ErrorEvent:
		s.Run.Failed, t.Unauthorized = true, ""
		t.Hooks.Error = ev.Error
		if w := s.window(t); w.Overflow {
			w.Overflow, w.Tried = false, false // a summary that failed in this run may come in the next
		}
	case *holdfast.AgentSwitchingEvent:
		if ev.Switching {
			t.Agent = ev.ToAgent
			t.Hooks.handedOver(len(*s.messages(t)))
			if t.Task == nil {
				s.HandedIn, s.HandedTo = s.Run.Agent, ev.ToAgent
			}
		}
	case *holdfast.ModelCallStartedEvent:
		t.Open = &OpenCall{ID: ev.Call, Model: ev.Model, FromSeq: e.Seq + 1, Epoch: e.Epoch}
		t.Hooks.Ran = nil
		t.Iterations++
	case *holdfast.AgentChoiceEvent:
		if t.Open != nil {
			t.Open.text.WriteString(ev.Content)
		}
	case *holdfast.AgentChoiceReasoningEvent:
		if t.Open != nil {
			t.Open.reasoning.WriteString(ev.Content)
		}
	case *holdfast.PartialToolCallEvent:
		if t.Open != nil {
			t.Open.delta(ev.ToolCall)
		}
	case *holdfast.ModelCallVoidedEvent:
		if t.Open == nil {
			return // only a log that breaks the rules, an imported one, gets here
		}
		t.Open = nil
		t.Iterations--
		switch ev.Reason {
		case reasonOverflow:
			s.window(t).Overflow = true
		case reasonFallback:
		default:
			t.Attempts++
		}
	case *holdfast.ModelNoticeEvent:
		s.applyNotice(t, holdfast.Message{Role: holdfast.RoleUser, Content: ev.Message, CreatedAt: e.Time}, ev.Reason)
	case *holdfast.ModelFallbackEvent:
		t.Fallback = ev.Position
	case *holdfast.ModelCallFinishedEvent:
		s.finishCall(t, ev, e.Time)
	default:
		s.applyCall(e, t, ev)
	}
}

// finishCall turns the open call into a message of the assistant.
func (s *State) finishCall(t *Thread, ev *holdfast.ModelCallFinishedEvent, at time.Time) {
	if t.Open == nil {
		return
	}
	m := t.Open.assemble()
	m.CreatedAt, m.Opaque, m.OpaqueProvider = at, ev.Opaque, ev.OpaqueProvider
	if ev.FinishReason == "error" || ev.FinishReason == "canceled" {
		m.ToolCalls, m.Opaque, m.OpaqueProvider = nil, nil, ""
	}
	msgs := s.messages(t)
	*msgs = append(*msgs, m)
	t.Open, t.Attempts, t.Fallback, t.Calls = nil, 0, 0, nil
	t.Refused = ev.Refused
	t.Hooks.Turn, t.Hooks.TurnContext, t.Hooks.Asked = false, "", ""
	w := s.window(t)
	w.Tried, w.Overflow = false, false
	for _, c := range m.ToolCalls {
		t.Calls = append(t.Calls, &Call{ToolCall: c})
	}
}

// foldEvent is Fold for an event whose decoded form is at hand.
func (s *State) foldEvent(e *events.Envelope, ev holdfast.Event) error {
	if e.Seq != s.Seq+1 {
		return fmt.Errorf("fold %s: %w: seq %d after %d", s.Ref, events.ErrGap, e.Seq, s.Seq)
	}
	e = timed(e)
	if err := s.apply(e, ev); err != nil {
		return fmt.Errorf("fold %s: event %d (%s): %w", s.Ref, e.Seq, e.Type, err)
	}
	s.Seq, s.Epoch, s.Now = e.Seq, e.Epoch, e.Time
	return nil
}

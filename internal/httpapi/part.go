package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// part is one run, or what of it came behind a point at which it waited for
// somebody, as the protocols of others know it: it begins with a request and ends
// when the run has finished or waits for a human. It is a fold of the log, so
// that every process tells the same of it, at any later time too.
//
// Give it the events of the session from any point before the run's first one.
type part struct {
	run string
	// from is the first event that belongs to the part, 0 for all of the run.
	from uint64
	// reopens lets a part that waited go on: it is then all of the run, and what it
	// waits for is what it waits for at last.
	reopens bool
	// command is the request whose outcome is not known yet, "" if it is.
	command string

	agent   string // the agent file, once the run is queued
	created time.Time
	begun   bool
	// finished says that the run is over, for reason; otherwise an ended part waits
	// for what is in needs.
	finished bool
	reason   string
	failure  *holdfast.ErrorEvent
	needs    []wanted
	usage    holdfast.Usage
	// ended says that nothing more belongs to the part; last is its last event.
	ended  bool
	last   uint64
	closed time.Time

	// talking are the agents whose streams are open, the outermost first: the others
	// answer to it, not to the user.
	talking []string
}

// Kinds of needs.
const (
	needApproval      = "approval"
	needInput         = "input"
	needAuthorization = "authorization"
	needIterations    = "iterations"
)

// wanted is something that only a human can do for a run.
type wanted struct {
	Kind string `json:"kind"`
	// ID is the id of the tool call, of the question or of the authorization.
	ID string `json:"id,omitempty"`
	// Message says what is wanted, for people.
	Message string `json:"message"`
	// URL is the page on which it is done, where it is not done here.
	URL string `json:"url,omitempty"`
	// Path is the route of /v1 that takes the answer.
	Path string `json:"path,omitempty"`

	agent  string
	call   holdfast.ToolCall
	schema json.RawMessage
}

// newPart returns the part of a run that begins with the event from.
func newPart(run string, from uint64) *part { return &part{run: run, from: from} }

// told is an event of the part. event is nil for one that says nothing to the
// outside; outer that the outermost agent said it.
type told struct {
	event holdfast.Event
	outer bool
	time  time.Time
}

// take folds the next event of the session.
func (p *part) take(it *item, session string) (told, error) {
	if p.ended && (p.finished || !p.reopens) || !p.concerns(it) {
		return told{}, nil
	}
	p.ended = false
	ev, err := holdfast.UnmarshalEvent(it.line)
	if err != nil {
		return told{}, fmt.Errorf("read event %d: %w", it.seq, err)
	}
	var stamp struct {
		Time time.Time `json:"time"`
	}
	if err := json.Unmarshal(it.line, &stamp); err != nil {
		return told{}, fmt.Errorf("read event %d: %w", it.seq, err)
	}
	p.apply(it, ev, session)
	if it.typ == holdfast.TypeCommandAccepted || it.typ == holdfast.TypeAgentPinned {
		// These may come before the run is queued, and not all who read the part read
		// them: to all of them it begins when the run is queued.
		return told{}, nil
	}
	if it.seq < p.from {
		p.usage, p.created = holdfast.Usage{}, time.Time{}
		return told{}, nil
	}
	if p.created.IsZero() {
		p.created = stamp.Time
	}
	if p.ended {
		p.last, p.closed = it.seq, stamp.Time
	}
	outer := len(p.talking) == 0 || it.agent == "" || it.agent == p.talking[0]
	return told{ev, outer, stamp.Time}, nil
}

// concerns reports whether an event says something of the part.
func (p *part) concerns(it *item) bool {
	switch it.typ {
	case holdfast.TypeSessionDeleted:
		return true
	case holdfast.TypeSessionParked:
		return it.seq >= p.from && len(p.needs) > 0
	case holdfast.TypeCommandAccepted, holdfast.TypeCommandRefused:
		return p.command != ""
	}
	return p.run != "" && it.run == p.run
}

// apply folds an event that concerns the part.
func (p *part) apply(it *item, ev holdfast.Event, session string) {
	switch ev := ev.(type) {
	case *holdfast.CommandAcceptedEvent:
		if ev.Command == p.command {
			p.command, p.run = "", ev.Run
		}
	case *holdfast.CommandRefusedEvent:
		if ev.Command == p.command {
			p.fail("error", &holdfast.ErrorEvent{Error: ev.Message, Code: ev.Code, Retryable: ev.Code.Retryable()})
		}
	case *holdfast.SessionDeletedEvent:
		p.fail("canceled", &holdfast.ErrorEvent{Error: "the session was deleted", Code: holdfast.CodeGone})
	case *holdfast.SessionParkedEvent:
		p.ended = true
	case *holdfast.RunQueuedEvent:
		if p.agent == "" {
			p.agent = ev.Agent
		}
	case *holdfast.RunStartedEvent:
		p.agent, p.begun = ev.Agent, true
	case *holdfast.RunFinishedEvent:
		p.ended, p.finished, p.reason, p.needs = true, true, ev.Reason, nil
	case *holdfast.StreamStartedEvent:
		p.talking = append(p.talking, it.agent)
	case *holdfast.StreamStoppedEvent:
		if i := len(p.talking) - 1; i > 0 { // the outermost speaks until the run ends
			p.talking = p.talking[:i]
		}
	case *holdfast.AgentSwitchingEvent:
		if i := len(p.talking) - 1; ev.Switching && i >= 0 {
			p.talking[i] = ev.ToAgent
		}
	case *holdfast.ErrorEvent:
		p.failure = ev
	case *holdfast.TokenUsageEvent:
		u := ev.Usage
		p.usage.InputTokens += u.InputTokens
		p.usage.OutputTokens += u.OutputTokens
		p.usage.CachedInputTokens += u.CachedInputTokens
		p.usage.CacheWriteTokens += u.CacheWriteTokens
		p.usage.ReasoningTokens += u.ReasoningTokens
	default:
		p.applyNeed(it, ev, session)
	}
}

// applyNeed folds what says that a human is needed, or no longer.
func (p *part) applyNeed(it *item, ev holdfast.Event, session string) {
	at := "/v1/sessions/" + session
	switch ev := ev.(type) {
	case *holdfast.ToolCallConfirmationEvent:
		p.met(needApproval, ev.ToolCall.ID)
		p.needs = append(p.needs, wanted{
			Kind: needApproval, ID: ev.ToolCall.ID, agent: it.agent, call: ev.ToolCall,
			Message: "The tool " + ev.ToolCall.Function.Name + " may run only if somebody approves it.",
			Path:    at + "/tool-calls/" + ev.ToolCall.ID + "/decision",
		})
	case *holdfast.ToolCallDecidedEvent:
		p.met(needApproval, ev.ToolCallID)
	case *holdfast.ToolCallEvent:
		p.met(needApproval, ev.ToolCall.ID)
	case *holdfast.ToolCallResponseEvent:
		p.met(needApproval, ev.ToolCallID)
	case *holdfast.ElicitationRequestEvent:
		p.needs = append(p.needs, wanted{
			Kind: needInput, ID: ev.ID, Message: ev.Message, URL: ev.URL, Path: at + "/inputs/" + ev.ID, schema: ev.Schema,
		})
		// The call goes on in its worker while it waits: the session is not parked.
		p.ended = ev.Held && it.seq >= p.from
	case *holdfast.ElicitationAnsweredEvent:
		p.met(needInput, ev.ID)
	case *holdfast.MaxIterationsReachedEvent:
		p.met(needIterations, "")
		p.needs = append(p.needs, wanted{
			Kind: needIterations, Message: fmt.Sprintf("The run has made the %d model calls that it may make without asking.", ev.MaxIterations),
			Path: at + "/runs/" + p.run + "/continue",
		})
	case *holdfast.RunContinuedEvent:
		p.met(needIterations, "")
	case *holdfast.AuthorizationRequiredEvent:
		p.met(needAuthorization, ev.FlowID)
		if ev.Confirmation == "pending" {
			p.needs = append(p.needs, wanted{
				Kind: needAuthorization, ID: ev.FlowID, URL: ev.AuthorizationURL,
				Message: "The server " + ev.ServerURL + " wants the user's authorization.", Path: at + "/authorizations/" + ev.FlowID,
			})
		}
	}
}

func (p *part) fail(reason string, failure *holdfast.ErrorEvent) {
	p.ended, p.finished, p.reason, p.failure, p.needs = true, true, reason, failure, nil
}

// met removes a need.
func (p *part) met(kind, id string) {
	p.needs = slices.DeleteFunc(p.needs, func(n wanted) bool { return n.Kind == kind && n.ID == id })
}

// only reports whether an ended part waits for nothing but needs of one kind.
func (p *part) only(kind string) bool {
	return len(p.needs) > 0 && !slices.ContainsFunc(p.needs, func(n wanted) bool { return n.Kind != kind })
}

// err returns what went wrong with a run that has finished, nil if nothing did.
func (p *part) err() error {
	if !p.finished || p.reason == "stop" {
		return nil
	}
	if f := p.failure; f != nil && f.Code != "" && p.reason != "canceled" {
		return holdfast.Errorf(f.Code, "%s", f.Error)
	}
	switch {
	case p.failure != nil:
		return holdfast.Errorf(holdfast.CodeModelFailed, "%s", p.failure.Error)
	case p.reason == "canceled" || p.reason == "rolled_back":
		return holdfast.Errorf(holdfast.CodeCanceled, "the run was canceled")
	case p.reason == "max_iterations":
		return holdfast.Errorf(holdfast.CodeMaxTurns, "the run has used up the model calls that it may make")
	}
	return holdfast.Errorf(holdfast.CodeModelFailed, "the run ended without an answer (%s)", p.reason)
}

// partSink feeds a [part] and what a protocol makes of it. With a wire it is a
// stream; without one it collects.
type partSink struct {
	*wire
	part    *part
	session string
	seq     uint64 // of the last event that was read
	// tell makes what the protocol says of an event.
	tell func(t told, it *item) error
}

// event implements sink.
func (s *partSink) event(it *item) (done bool, err error) {
	s.seq = it.seq
	t, err := s.part.take(it, s.session)
	if err != nil {
		return false, err
	}
	if t.event != nil && s.tell != nil {
		if err := s.tell(t, it); err != nil {
			return false, err
		}
	}
	return s.part.ended && (s.part.finished || !s.part.reopens), nil
}

// flush implements sink.
func (s *partSink) flush() error {
	if s.wire == nil {
		return nil
	}
	return s.wire.flush()
}

// beat implements sink.
func (s *partSink) beat() error {
	if s.wire == nil {
		return nil
	}
	return s.wire.beat()
}

// pause implements sink.
func (s *partSink) pause() time.Duration {
	if s.wire == nil {
		return time.Minute
	}
	return s.wire.pause()
}

// follow feeds a sink from the log behind after until its part has ended. An
// error without a code of ours is the client's or this process's end.
func (a *API) follow(ctx context.Context, ref holdfast.SessionRef, after uint64, out *partSink) error {
	if err := a.hub.stream(ctx, ref, after, out); err != nil {
		return err
	}
	if p := out.part; !p.ended || !p.finished && p.reopens {
		return errClosing
	}
	return nil
}

// readPart feeds a sink from what is in the log now.
func (a *API) readPart(ctx context.Context, ref holdfast.SessionRef, after uint64, out *partSink) error {
	err := a.hub.catchUp(ctx, ref, after, func(it *item) error {
		done, err := out.event(it)
		if done && err == nil {
			return errDone
		}
		return err
	})
	if err != nil && !errors.Is(err, errDone) {
		return unavailable(fmt.Errorf("read run %s of %s: %w", out.part.run, ref, err))
	}
	return nil
}

// begun is a run that was asked for in a protocol of others.
type begun struct {
	ref holdfast.SessionRef
	run string
	// after is a seq before the run's first event.
	after uint64
	// seq is the event that says so, 0 if command is set: its outcome is then not
	// known yet.
	seq     uint64
	command string
}

// begin asks for a run of a session that exists.
func (a *API) begin(ctx context.Context, q runRequest) (begun, error) {
	end, err := a.end(ctx, q.ref)
	if err != nil {
		return begun{}, err
	}
	c, run, err := q.command()
	if err != nil {
		return begun{}, err
	}
	b := begun{ref: q.ref, run: run, after: end.Seq}
	ans, err := a.request(ctx, c)
	switch {
	case errors.Is(err, errPending):
		b.command = c.ID // the log will say
	case err != nil:
		return begun{}, err
	default:
		b.run, b.seq = ans.Run, ans.Seq
	}
	if b.run != run || q.key != "" && !q.fresh || b.command != "" {
		b.after = 0 // it may have begun before this request
	}
	return b, nil
}

// part returns the run that was asked for as a part.
func (b begun) part() *part {
	p := newPart(b.run, 0)
	p.command = b.command
	return p
}

// settle sends a command of a person to a session and returns the event that
// says what it did. The outcome must be known: errPending is CodeTimeout here.
func (a *API) settle(ctx context.Context, ref holdfast.SessionRef, kind, key string, body any) (events.Answer, error) {
	c, err := events.NewCommand(ref, kind, commandID(ref, kind, key), body)
	if err != nil {
		return events.Answer{}, err
	}
	ans, err := a.request(ctx, c)
	if errors.Is(err, errPending) {
		return events.Answer{}, holdfast.WrapError(holdfast.CodeTimeout, err, "the request is stored and nobody has taken it yet; send it again")
	}
	return ans, err
}

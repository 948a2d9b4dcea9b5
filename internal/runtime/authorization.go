package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Authorizer carries out authorizations of remote servers. The loop decides when,
// and what follows.
type Authorizer interface {
	// Server says whether err asks for a user's authorization, and for which server.
	Server(err error) (url, serverType string, ok bool)
	// Begin prepares an authorization and stores it: any worker can finish it.
	Begin(ctx context.Context, r AuthorizationRequest) (AuthorizationBegun, error)
	// Deliver keeps a sealed answer with the flow. An error with CodeUnavailable or
	// CodeTimeout may pass by itself; any other says that the answer is of no use.
	Deliver(ctx context.Context, s holdfast.SessionRef, flow string, sealed []byte) error
	// Finish uses the answer, at most once. An error means that it was not used.
	Finish(ctx context.Context, s holdfast.SessionRef, user, flow string) (AuthorizationResult, error)
}

// AuthorizationRequest is what the loop knows when a server asks.
type AuthorizationRequest struct {
	Session holdfast.SessionRef
	User    string
	Agent   string
	Toolset string
	// Err is the toolset's error.
	Err error
	// Anew says that the authorization before this one expired without any answer: the
	// server may have forgotten the client, which it tells only the human.
	Anew bool
}

// AuthorizationBegun is a flow that waits for its user.
type AuthorizationBegun struct {
	Flow    string
	URL     string // where the user begins
	Expires time.Time
	Binding string
}

// Outcomes of an authorization.
const (
	AuthorizationGranted = "granted"
	AuthorizationDenied  = "denied"
	AuthorizationLost    = "lost"
	AuthorizationFailed  = "failed"
)

// AuthorizationResult is what became of a flow.
type AuthorizationResult struct {
	Outcome string
	Issuer  string
	Scopes  []string
	Reason  string // for the user, of a failure
}

// bindingConfirm is the binding for which the tenant's application must vouch.
const bindingConfirm = "confirm"

// Authorization is a flow that a run waits for.
type Authorization struct {
	Flow       string
	ServerURL  string
	ServerType string
	Toolset    string
	Agent      string
	Binding    string
	Expires    time.Time
	Received   bool
	Vouched    bool
}

// ready returns the first flow whose answer is there and may be used.
func (r *Run) ready() *Authorization {
	for _, a := range r.Auth {
		if a.Received && (a.Binding != bindingConfirm || a.Vouched) {
			return a
		}
	}
	return nil
}

// flow returns the pending flow of that id, the oldest for "", nil if there is none.
func (s *State) flow(id string) *Authorization {
	if s.Run == nil {
		return nil
	}
	for _, a := range s.Run.Auth {
		if id == "" || a.Flow == id {
			return a
		}
	}
	return nil
}

// applyAuthorization changes the run by an event of an authorization.
func (s *State) applyAuthorization(t *Thread, ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.AuthorizationRequiredEvent:
		switch {
		case ev.Confirmation == "pending":
			if i := slices.Index(s.Run.Unanswered, ev.ServerURL); i >= 0 {
				s.Run.Unanswered = append(s.Run.Unanswered[:i:i], s.Run.Unanswered[i+1:]...)
			}
			s.Run.Auth = append(s.Run.Auth, &Authorization{
				Flow: ev.FlowID, ServerURL: ev.ServerURL, ServerType: ev.ServerType, Toolset: ev.Toolset, Agent: ev.AgentName,
				Binding: ev.Binding, Expires: ev.ExpiresAt,
			})
		case ev.Confirmation == "denied" && s.flow(ev.FlowID) != nil:
			s.Run.Declined = ev.ServerURL
		default:
			s.settleFlow(ev.FlowID)
		}
	case *holdfast.AuthorizationAwaitedEvent:
		if ev.ToolCallID == "" {
			t.Awaits = ev.FlowID
		} else if c := t.call(ev.ToolCallID); c != nil {
			c.Status, c.Flow = CallDeferred, ev.FlowID
		}
	case *holdfast.AuthorizationReceivedEvent:
		if a := s.flow(ev.FlowID); a != nil {
			a.Received = true
		}
	case *holdfast.AuthorizationVouchedEvent:
		if a := s.flow(ev.FlowID); a != nil {
			a.Vouched = true
		}
	case *holdfast.AuthorizationEndedEvent:
		if a := s.flow(ev.FlowID); a != nil && ev.FlowID != "" && ev.Reason == "expired" && !a.Received {
			s.Run.Unanswered = append(s.Run.Unanswered[:len(s.Run.Unanswered):len(s.Run.Unanswered)], a.ServerURL)
		}
		if ev.Error != "" {
			s.refuseFlow(ev.FlowID, ev.Error)
		}
		s.settleFlow(ev.FlowID)
	}
}

// refuseFlow notes with whoever waits for a flow that it failed.
func (s *State) refuseFlow(id, text string) {
	for _, t := range s.Run.Threads {
		if t.Awaits == id {
			t.Unauthorized = text
		}
		for _, c := range t.Calls {
			if c.Status == CallDeferred && c.Flow == id {
				c.Refused, t.Unauthorized = text, text
			}
		}
	}
}

// settleFlow lets those who wait for a flow go on: calls without being asked about
// again, since whoever had to approve them has.
func (s *State) settleFlow(id string) {
	for i, a := range s.Run.Auth {
		if a.Flow == id {
			s.Run.Auth = append(s.Run.Auth[:i:i], s.Run.Auth[i+1:]...)
			break
		}
	}
	for _, t := range s.Run.Threads {
		if t.Awaits == id {
			t.Awaits = ""
		}
		for _, c := range t.Calls {
			if c.Status == CallDeferred && c.Flow == id {
				c.Status, c.Flow = CallApproved, ""
			}
		}
	}
}

// errAwaiting ends a step whose agent waits for an authorization.
var errAwaiting = errors.New("the agent waits for an authorization")

// authorize parks a call, or the agent if callID is "", until somebody has
// authorized the server that refused. It reports false if the error is none of
// that kind, or if nothing came of it; why then says so. Several who wait for the
// same server share a flow. next goes into the log behind it.
func (d *drive) authorize(ctx context.Context, agentName, toolset, callID string, cause error, next ...holdfast.Event) (parked bool, why, err error) {
	az := d.e.cfg.Authorizer
	if az == nil || cause == nil {
		return false, nil, nil
	}
	server, kind, ok := az.Server(cause)
	if !ok {
		return false, nil, nil
	}
	var user, id string
	var anew bool
	d.locked(func() {
		user, anew = d.s.User, slices.Contains(d.s.Run.Unanswered, server)
		for _, a := range d.s.Run.Auth {
			if a.Toolset == toolset && a.ServerURL == server {
				id = a.Flow
			}
		}
	})
	who := holdfast.AgentContext{AgentName: agentName}
	var evs []holdfast.Event
	if id == "" {
		begun, why := az.Begin(ctx, AuthorizationRequest{Session: d.s.Ref, User: user, Agent: agentName, Toolset: toolset, Err: cause, Anew: anew})
		if why != nil {
			if ctx.Err() != nil {
				return false, nil, context.Cause(ctx)
			}
			d.e.log.Info("an authorization cannot begin", "session", d.s.Ref.String(), "server", server, "error", why)
			return false, holdfast.Errorf(holdfast.CodeUnauthorized, "OAuth authorization failed: %s", holdfast.PublicMessage(why)), nil
		}
		id = begun.Flow
		evs = append(evs, &holdfast.AuthorizationRequiredEvent{
			AgentContext: who, ServerURL: server, ServerType: kind, Confirmation: "pending",
			AuthorizationURL: begun.URL, FlowID: id, ExpiresAt: begun.Expires, Toolset: toolset, Binding: begun.Binding,
		})
	}
	evs = append(evs, &holdfast.AuthorizationAwaitedEvent{AgentContext: who, FlowID: id, ToolCallID: callID})
	d.mu.Lock()
	defer d.mu.Unlock()
	return true, nil, d.add(ctx, append(evs, next...)...)
}

// finishAuthorization uses the answer that came.
func (d *drive) finishAuthorization(ctx context.Context) error {
	var flow Authorization
	var user string
	ready := false
	d.locked(func() {
		if a := d.s.Run.ready(); a != nil && !d.s.Run.Canceled {
			flow, user, ready = *a, d.s.User, true
		}
	})
	if !ready {
		return nil
	}
	if d.e.cfg.Authorizer == nil {
		return holdfast.Errorf(holdfast.CodeUnavailable, "this worker has no OAuth client; another one may")
	}
	if err := d.w.Flush(ctx); err != nil { // who lost the session must not use the code
		return err
	}
	res, err := d.e.cfg.Authorizer.Finish(ctx, d.s.Ref, user, flow.Flow)
	if err != nil {
		return fmt.Errorf("finish an authorization: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.s.flow(flow.Flow) == nil {
		return nil // declined or canceled meanwhile
	}
	who := holdfast.AgentContext{AgentName: flow.Agent}
	settled := &holdfast.AuthorizationRequiredEvent{
		AgentContext: who, ServerURL: flow.ServerURL, ServerType: flow.ServerType, FlowID: flow.Flow, Toolset: flow.Toolset, Issuer: res.Issuer,
	}
	switch res.Outcome {
	case AuthorizationGranted:
		settled.Confirmation, settled.Scopes = "confirmed", res.Scopes
		return d.add(ctx, settled)
	case AuthorizationDenied:
		settled.Confirmation = "denied"
		return d.add(ctx, settled)
	case AuthorizationLost:
		return d.add(ctx, &holdfast.AuthorizationEndedEvent{AgentContext: who, FlowID: flow.Flow, Reason: "lost"})
	}
	return d.add(ctx, &holdfast.AuthorizationEndedEvent{
		AgentContext: who, FlowID: flow.Flow, Reason: "failed", Error: "OAuth authorization failed: " + res.Reason,
	})
}

// unauthorized tells the agent that waited for an authorization that it failed:
// its calls are answered and its stream gets the error. An agent that waits while
// another one works for it is told when it is its turn.
func (d *drive) unauthorized(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.s.top()
	var b bundle
	for _, c := range t.Calls {
		if c.Refused != "" && !b.put(response(t.Agent, c.ToolCall, c.Refused, true, nil)) {
			return d.add(ctx, b.evs...)
		}
	}
	b.put(&holdfast.ErrorEvent{AgentContext: holdfast.AgentContext{AgentName: t.Agent}, Error: t.Unauthorized, Code: holdfast.CodeUnauthorized})
	return d.add(ctx, b.evs...)
}

// acceptAuthorize decides about a command that begins or declines.
func (s *State) acceptAuthorize(c events.Command, b events.AuthorizeBody) ([]holdfast.Event, string, error) {
	a := s.flow(b.Flow)
	if a == nil || s.Run.Canceled || s.Run.Declined != "" {
		return nil, "", errNoFlow()
	}
	who := holdfast.AgentContext{AgentName: a.Agent}
	switch {
	case !b.Confirm:
		return []holdfast.Event{&holdfast.AuthorizationRequiredEvent{
			AgentContext: who, ServerURL: a.ServerURL, ServerType: a.ServerType, Confirmation: "denied", FlowID: a.Flow, Toolset: a.Toolset,
		}}, s.Run.ID, nil
	case a.Received && (a.Binding != bindingConfirm || a.Vouched):
		return nil, s.Run.ID, nil // it is being finished
	case !c.Time.Before(a.Expires):
		return []holdfast.Event{&holdfast.AuthorizationEndedEvent{AgentContext: who, FlowID: a.Flow, Reason: "expired", Command: c.ID}}, s.Run.ID, nil
	}
	return nil, s.Run.ID, nil
}

func errNoFlow() error {
	return holdfast.Errorf(holdfast.CodeConflict, "no such authorization is pending")
}

// acceptAnswer notes that an authorization server's answer is there. undelivered
// says why it could not be kept.
func (s *State) acceptAnswer(c events.Command, b events.AnswerBody, undelivered error) ([]holdfast.Event, string, error) {
	a := s.flow(b.Flow)
	switch {
	case b.Flow == "" || a == nil || s.Run.Canceled || s.Run.Declined != "" || a.Received:
		return nil, "", errNoFlow()
	case undelivered != nil:
		return nil, "", undelivered
	}
	who := holdfast.AgentContext{AgentName: a.Agent}
	evs := []holdfast.Event{&holdfast.AuthorizationReceivedEvent{AgentContext: who, FlowID: a.Flow, Command: c.ID}}
	if b.Vouched {
		evs = append(evs, &holdfast.AuthorizationVouchedEvent{AgentContext: who, FlowID: a.Flow, Command: c.ID})
	}
	return evs, s.Run.ID, nil
}

// acceptVouch notes the word of the tenant's application for the user.
func (s *State) acceptVouch(c events.Command, b events.VouchBody) ([]holdfast.Event, string, error) {
	a := s.flow(b.Flow)
	switch {
	case b.Flow == "" || a == nil || s.Run.Canceled || s.Run.Declined != "":
		return nil, "", errNoFlow()
	case b.User != s.User:
		return nil, "", holdfast.Errorf(holdfast.CodeForbidden, "the user who is logged in is not the one of the session")
	case a.Vouched:
		return nil, s.Run.ID, nil
	}
	return []holdfast.Event{&holdfast.AuthorizationVouchedEvent{
		AgentContext: holdfast.AgentContext{AgentName: a.Agent}, FlowID: a.Flow, Command: c.ID,
	}}, s.Run.ID, nil
}

package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"

	holdfast "github.com/holdfast-run/holdfast"
)

// Runtime is what [RemoteRuntime] implements.
type Runtime = holdfast.Runtime

// RemoteRuntime is a [Runtime] whose agents run on a server. It runs one session
// at a time; make another one for a second session beside it.
type RemoteRuntime struct {
	client *Client
	first  string // agent that conversations begin with, "" for the root
	fixed  bool   // the session was chosen with WithRemoteSessionID

	mu      sync.Mutex // guards what follows
	file    string     // agent file
	current string     // agent that speaks next, "" for the root
	session string
	known   bool                       // the session is on the server
	agents  map[string]*holdfast.Agent // of the file, nil before they are asked for
	root    string
	begin   *url.URL // where the authorization begins that is under way
	out     *outlet
}

var _ Runtime = (*RemoteRuntime)(nil)

// RemoteRuntimeOption configures a [RemoteRuntime].
type RemoteRuntimeOption func(*RemoteRuntime)

// WithRemoteAgentFilename sets the agent file. Without it the server is asked,
// and must have exactly one.
func WithRemoteAgentFilename(filename string) RemoteRuntimeOption {
	return func(r *RemoteRuntime) { r.file = filename }
}

// WithRemoteCurrentAgent sets the agent of the file that runs begin with. Default:
// its root.
func WithRemoteCurrentAgent(name string) RemoteRuntimeOption {
	return func(r *RemoteRuntime) { r.first, r.current = name, name }
}

// WithRemoteSessionID goes on with a session of the server, whatever
// [holdfast.Session] a run is given. Default: the id of the Session or, where it has
// none, a new one.
func WithRemoteSessionID(id string) RemoteRuntimeOption {
	return func(r *RemoteRuntime) { r.session, r.fixed = id, id != "" }
}

// NewRemoteRuntime returns a runtime whose agents run on the client's server.
func NewRemoteRuntime(c *Client, opts ...RemoteRuntimeOption) (*RemoteRuntime, error) {
	if c == nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a remote runtime needs a client")
	}
	r := &RemoteRuntime{client: c}
	for _, o := range opts {
		o(r)
	}
	return r, nil
}

// SessionID returns the id of the session that runs, "" before the first run
// has made one.
func (r *RemoteRuntime) SessionID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session
}

// CurrentAgent implements [Runtime]. If the server cannot be asked, the agent has
// its name alone.
func (r *RemoteRuntime) CurrentAgent() *holdfast.Agent {
	ctx, cancel := context.WithTimeout(context.Background(), r.client.timeout)
	defer cancel()
	_, err := r.loadAgents(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	name := cmp.Or(r.current, r.root, "root")
	if a := r.agents[name]; err == nil && a != nil {
		return a
	}
	return holdfast.NewAgent(name, nil)
}

// loadAgents asks the server for the agents of the file once and returns the
// file's name.
func (r *RemoteRuntime) loadAgents(ctx context.Context) (string, error) {
	r.mu.Lock()
	file, loaded := r.file, r.agents != nil
	r.mu.Unlock()
	if loaded {
		return file, nil
	}
	if file == "" {
		list, err := r.client.GetAgents(ctx)
		if err != nil {
			return "", err
		}
		if len(list) != 1 {
			return "", holdfast.Errorf(holdfast.CodeInvalid, "the server has %d agent files: say with WithRemoteAgentFilename which is meant", len(list))
		}
		file = list[0].Name
	}
	doc, err := r.client.GetAgent(ctx, file)
	if err != nil {
		return file, err
	}
	agents, root, err := readAgents(doc)
	if err != nil {
		return file, fmt.Errorf("agent file %s: %w", file, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file, r.agents, r.root = file, agents, root
	return file, nil
}

// readAgents reads the agents of a file and the name of the one that runs begin
// with: root or, without one, the first.
func readAgents(doc json.RawMessage) (map[string]*holdfast.Agent, string, error) {
	var f struct {
		Agents json.RawMessage `json:"agents"`
	}
	if err := json.Unmarshal(doc, &f); err != nil {
		return nil, "", fmt.Errorf("the answer cannot be read: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(f.Agents))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, "", fmt.Errorf("the answer has no agents by name")
	}
	agents, root := map[string]*holdfast.Agent{}, ""
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, "", fmt.Errorf("the answer cannot be read: %w", err)
		}
		name, _ := t.(string) // the key of an object always is one
		var def json.RawMessage
		if err := dec.Decode(&def); err != nil {
			return nil, "", fmt.Errorf("the answer cannot be read: %w", err)
		}
		agents[name] = holdfast.NewAgent(name, def)
		if root == "" || name == "root" {
			root = name
		}
	}
	return agents, root, nil
}

// outlet is where the events of the stream under way go.
type outlet struct {
	ctx    context.Context
	events chan holdfast.Event

	mu      sync.Mutex // guards closed
	closed  bool
	senders sync.WaitGroup
}

// send gives out an event, unless the stream has ended.
func (o *outlet) send(e holdfast.Event) bool {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return false
	}
	o.senders.Add(1)
	o.mu.Unlock()
	defer o.senders.Done()
	select {
	case o.events <- e:
		return true
	case <-o.ctx.Done():
		return false
	}
}

// close ends the stream when those who are sending have sent.
func (o *outlet) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.senders.Wait()
	close(o.events)
}

// Emit puts an event into the stream that is under way, for its reader alone. It
// returns false if there is none.
func (r *RemoteRuntime) Emit(e holdfast.Event) bool {
	r.mu.Lock()
	o := r.out
	r.mu.Unlock()
	return o != nil && o.send(e)
}

// RunStream implements [Runtime].
func (r *RemoteRuntime) RunStream(ctx context.Context, s *holdfast.Session) <-chan holdfast.Event {
	o := &outlet{ctx: ctx, events: make(chan holdfast.Event)}
	r.mu.Lock()
	r.out = o
	r.mu.Unlock()
	go func() {
		defer o.close()
		if err := r.run(ctx, s, o); err != nil && ctx.Err() == nil {
			o.send(failure(err))
		}
	}()
	return o.events
}

func failure(err error) holdfast.Event {
	code := holdfast.CodeOf(err)
	return &holdfast.ErrorEvent{Error: err.Error(), Code: code, Retryable: code.Retryable()}
}

func (r *RemoteRuntime) run(ctx context.Context, s *holdfast.Session, o *outlet) error {
	file, err := r.loadAgents(ctx)
	if err != nil {
		return err
	}
	id, err := r.ensure(ctx, s, file)
	if err != nil {
		return err
	}
	r.mu.Lock()
	current := r.current
	r.mu.Unlock()
	events, err := r.client.RunAgentWithAgentName(ctx, id, file, current, s.Messages)
	if err != nil {
		return err
	}
	for e := range events {
		switch ev := e.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			if s.ToolsApproved {
				// The session on the server began without the approval that the caller's has.
				if _, err := r.client.Decide(ctx, id, ev.ToolCall.ID, Decision{Decision: ResumeTypeApproveSession}); err != nil {
					o.send(failure(err))
				}
				continue
			}
		case *holdfast.AuthorizationRequiredEvent:
			r.noteAuthorization(ev)
		case *holdfast.AgentSwitchingEvent:
			if ev.Switching && ev.ToAgent != "" {
				r.mu.Lock()
				r.current = ev.ToAgent
				r.mu.Unlock()
			}
		}
		o.send(e) // also where nobody reads any more: events ends by itself
	}
	if ctx.Err() != nil {
		return nil
	}
	return r.refresh(ctx, s)
}

// ensure makes the session on the server, if it is not there.
func (r *RemoteRuntime) ensure(ctx context.Context, s *holdfast.Session, file string) (string, error) {
	r.mu.Lock()
	if !r.fixed && s.ID != r.session {
		// A conversation without an id is one that nobody had yet: it gets nothing of
		// the one before it, neither its messages nor its approvals.
		r.session, r.known, r.current, r.begin = s.ID, false, r.first, nil
	}
	id, known := r.session, r.known
	r.mu.Unlock()
	if !known {
		d, err := r.client.CreateSession(ctx, NewSession{ID: id, Agent: file, ToolsApproved: s.ToolsApproved})
		switch {
		case err == nil:
			id = d.ID
		case id == "" || holdfast.CodeOf(err) != holdfast.CodeConflict:
			return "", err
		}
	}
	s.ID = id
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session, r.known = id, true
	return id, nil
}

// noteAuthorization remembers where the authorization begins whose code will come.
func (r *RemoteRuntime) noteAuthorization(ev *holdfast.AuthorizationRequiredEvent) {
	u, err := url.Parse(ev.AuthorizationURL)
	if err != nil || ev.AuthorizationURL == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin = u
}

// refresh brings what the caller holds up to date.
func (r *RemoteRuntime) refresh(ctx context.Context, s *holdfast.Session) error {
	d, err := r.client.GetSession(ctx, s.ID)
	if err != nil {
		return err
	}
	s.Title, s.CreatedAt, s.ToolsApproved = d.Title, d.CreatedAt, d.ToolsApproved
	s.InputTokens, s.OutputTokens, s.Cost = d.InputTokens, d.OutputTokens, d.Cost
	s.Messages = make([]holdfast.Message, len(d.Messages))
	for i, m := range d.Messages {
		s.Messages[i] = m.Message
	}
	return nil
}

// Run implements [Runtime].
func (r *RemoteRuntime) Run(ctx context.Context, s *holdfast.Session) ([]holdfast.Message, error) {
	var failed error
	for e := range r.RunStream(ctx, s) {
		switch ev := e.(type) {
		case *holdfast.ErrorEvent:
			failed = holdfast.Errorf(cmp.Or(ev.Code, holdfast.CodeInternal), "%s", ev.Error)
		case *holdfast.ToolCallConfirmationEvent:
			failed = holdfast.Errorf(holdfast.CodeForbidden, "tool %s needs an approval and nobody can be asked", ev.ToolCall.Function.Name)
			r.Resume(ctx, ResumeTypeReject)
		case *holdfast.MaxIterationsReachedEvent:
			failed = holdfast.Errorf(holdfast.CodeMaxTurns, "the run reached its limit of %d model calls", ev.MaxIterations)
			r.Resume(ctx, ResumeTypeReject)
		case *holdfast.ElicitationRequestEvent:
			failed = holdfast.Errorf(holdfast.CodeForbidden, "there is a question and nobody can be asked: %s", ev.Message)
			if _, err := r.client.AnswerInput(ctx, r.SessionID(), ev.ID, InputAnswer{Action: InputCancel}); err != nil && holdfast.CodeOf(err) != holdfast.CodeConflict {
				r.report(ctx, err)
			}
		case *holdfast.AuthorizationRequiredEvent:
			if ev.Confirmation == "pending" {
				failed = holdfast.Errorf(holdfast.CodeForbidden, "%s wants the user's authorization and nobody can be asked", ev.ServerURL)
				r.ResumeStartAuthorizationFlow(ctx, false)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	return s.Messages, failed
}

// Resume implements [Runtime].
func (r *RemoteRuntime) Resume(ctx context.Context, confirmation holdfast.ResumeType) {
	err := r.running()
	if err == nil {
		err = r.client.ResumeSession(ctx, r.SessionID(), confirmation)
	}
	if err != nil {
		r.report(ctx, err)
	}
}

// report tells the reader of the stream what failed, without waiting for it: the
// reader may be who called.
func (r *RemoteRuntime) report(ctx context.Context, err error) {
	r.mu.Lock()
	o := r.out // not the stream that comes next
	r.mu.Unlock()
	if ctx.Err() == nil && o != nil {
		go o.send(failure(err))
	}
}

// running is the error of an answer that nobody waits for, nil once there is a
// session.
func (r *RemoteRuntime) running() error {
	if r.SessionID() == "" {
		return holdfast.Errorf(holdfast.CodeConflict, "no session runs")
	}
	return nil
}

// ResumeStartAuthorizationFlow implements [Runtime].
func (r *RemoteRuntime) ResumeStartAuthorizationFlow(ctx context.Context, confirmation bool) {
	err := r.running()
	if err == nil {
		err = r.client.ResumeStartAuthorizationFlow(ctx, r.SessionID(), confirmation)
	}
	if err != nil {
		r.report(ctx, err)
	}
}

// ResumeCodeReceived implements [Runtime]. code may also be the whole address to
// which the authorization server sent the browser: it names the issuer too, which
// some servers insist on. A code alone belongs to the authorization whose URL the
// stream gave out last.
func (r *RemoteRuntime) ResumeCodeReceived(ctx context.Context, code string) error {
	if _, query, found := strings.Cut(code, "?"); found {
		q, err := url.ParseQuery(query)
		if err != nil || q.Get("code") == "" || q.Get("state") == "" {
			return holdfast.Errorf(holdfast.CodeInvalid, "the address has no code and state")
		}
		var issuer *string
		if q.Has("iss") {
			v := q.Get("iss")
			issuer = &v
		}
		return r.client.codeReceived(ctx, q.Get("code"), q.Get("state"), issuer)
	}
	r.mu.Lock()
	begin := r.begin
	r.mu.Unlock()
	if begin == nil {
		return holdfast.Errorf(holdfast.CodeConflict, "no authorization is under way")
	}
	state, err := r.client.stateOf(ctx, begin)
	if err != nil {
		return err
	}
	return r.client.codeReceived(ctx, code, state, nil)
}

// Summarize implements [Runtime]. It returns when the summary is stored; what is
// wrong is an [holdfast.ErrorEvent]. It does not close events.
func (r *RemoteRuntime) Summarize(ctx context.Context, s *holdfast.Session, events chan holdfast.Event) {
	err := r.client.summarize(ctx, s.ID, func(e holdfast.Event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	})
	if err == nil {
		err = r.refresh(ctx, s)
	}
	if err != nil {
		select {
		case events <- failure(err):
		case <-ctx.Done():
		}
	}
}

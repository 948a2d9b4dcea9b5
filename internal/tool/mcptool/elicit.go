package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// maxQuestion bounds what a server may ask the user at once, maxQuestions how
	// much of that at a time.
	maxQuestion  = 32 << 10
	maxQuestions = 16
	// maxState bounds the state that a server gives us to keep for it.
	maxState = 64 << 10
	// maxShed is how often a call is repeated for a server that asks for nothing but
	// patience, shedPause how long it gets each time.
	maxShed   = 3
	shedPause = time.Second
)

// question is what elicitation/create carries (MCP 2025-06-18 to 2026-07-28,
// client, elicitation).
type question struct {
	Mode    string          `json:"mode,omitempty"` // "form", which "" is too, or "url"
	Message string          `json:"message"`
	Schema  json.RawMessage `json:"requestedSchema,omitempty"`
	URL     string          `json:"url,omitempty"`
}

const modeURL = "url"

// request makes the question one for the user.
func (q *question) request(key, serverURL string) (tool.InputRequest, error) {
	if len(q.Message)+len(q.Schema)+len(q.URL) > maxQuestion {
		return tool.InputRequest{}, errors.New("the question is too long")
	}
	r := tool.InputRequest{Key: key, Message: q.Message, ServerURL: serverURL}
	switch q.Mode {
	case "", "form":
		r.Schema = q.Schema
	case modeURL:
		u, err := url.Parse(q.URL)
		if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
			return tool.InputRequest{}, errors.New("the question names an address that no browser should be sent to")
		}
		r.URL = q.URL
	default:
		return tool.InputRequest{}, fmt.Errorf("the mode %.40q of the question does not exist", q.Mode)
	}
	return r, nil
}

// result is what the server gets for an answer: the action, and for a form that
// was accepted its content, with the defaults of what the user left out (SEP-1034).
func (q *question) result(a tool.InputAnswer) map[string]any {
	out := map[string]any{"action": a.Action}
	if a.Action == tool.InputAccept && q.Mode != modeURL {
		out["content"] = withDefaults(q.Schema, a.Content)
	}
	return out
}

// withDefaults fills what content leaves out with the defaults of the schema.
func withDefaults(schema, content json.RawMessage) json.RawMessage {
	var form struct {
		Properties map[string]struct {
			Default json.RawMessage `json:"default"`
		} `json:"properties"`
	}
	values := map[string]json.RawMessage{}
	if len(content) > 0 && json.Unmarshal(content, &values) != nil || values == nil {
		return content
	}
	if json.Unmarshal(schema, &form) == nil {
		for name, p := range form.Properties {
			if _, given := values[name]; !given && len(p.Default) > 0 {
				values[name] = p.Default
			}
		}
	}
	out, err := json.Marshal(values)
	if err != nil {
		return content
	}
	return out
}

// continuation is what is kept of a call that ended with questions. It is stored.
type continuation struct {
	// State is the server's, nil if it gave none.
	State     *string              `json:"state,omitempty"`
	Questions map[string]*question `json:"questions"`
}

// resumption goes with a tools/call that continues one.
type resumption struct {
	responses map[string]any
	state     *string
}

// resume reads what a call is to continue, nil if it is the first one.
func resume(c tool.Call) (*resumption, error) {
	if len(c.Continuation) == 0 {
		return nil, nil
	}
	var kept continuation
	if err := json.Unmarshal(c.Continuation, &kept); err != nil {
		return nil, fmt.Errorf("reading what was kept of the call: %w", err)
	}
	r := &resumption{state: kept.State, responses: map[string]any{}}
	for key, q := range kept.Questions {
		a, ok := c.Input[key]
		if !ok {
			a.Action = tool.InputCancel
		}
		r.responses[key] = q.result(a)
	}
	return r, nil
}

// into puts the answers into the parameters of a request.
func (r *resumption) into(params any) (any, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encoding the call: %w", err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("encoding the call: %w", err)
	}
	if len(r.responses) > 0 {
		if fields["inputResponses"], err = json.Marshal(r.responses); err != nil {
			return nil, fmt.Errorf("encoding the answers: %w", err)
		}
	}
	if r.state != nil {
		if fields["requestState"], err = json.Marshal(*r.state); err != nil {
			return nil, fmt.Errorf("encoding the call: %w", err)
		}
	}
	return fields, nil
}

// questions reads a result that asks for input. Without requests the server only
// wants the call again, later, with the state.
func questions(raw json.RawMessage, serverURL string) (*tool.InputRequired, *resumption, error) {
	var asked struct {
		Requests map[string]struct {
			Method string    `json:"method"`
			Params *question `json:"params"`
		} `json:"inputRequests"`
		State *string `json:"requestState"`
	}
	if err := json.Unmarshal(raw, &asked); err != nil {
		return nil, nil, errors.New("what the server asks for cannot be read")
	}
	if asked.State != nil && len(*asked.State) > maxState {
		return nil, nil, errors.New("the state that the server wants kept is too long")
	}
	if len(asked.Requests) == 0 {
		return nil, &resumption{state: asked.State}, nil
	}
	if len(asked.Requests) > maxQuestions {
		return nil, nil, fmt.Errorf("the server asks more than %d questions at once", maxQuestions)
	}
	kept := continuation{State: asked.State, Questions: map[string]*question{}}
	out := &tool.InputRequired{}
	for key, one := range asked.Requests {
		if mcp.MCPMethod(one.Method) != mcp.MethodElicitationCreate || one.Params == nil {
			return nil, nil, fmt.Errorf("the server asks for %.60q, which is not offered here", one.Method)
		}
		r, err := one.Params.request(key, serverURL)
		if err != nil {
			return nil, nil, err
		}
		kept.Questions[key] = one.Params
		out.Requests = append(out.Requests, r)
	}
	slices.SortFunc(out.Requests, func(a, b tool.InputRequest) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	var err error
	if out.Continuation, err = json.Marshal(kept); err != nil {
		return nil, nil, fmt.Errorf("keeping the call: %w", err)
	}
	return out, nil, nil
}

// asker puts the questions of a server to the user of a call that is under way.
type asker struct {
	ctx       context.Context // of the call
	elicit    tool.Elicit
	patience  *patience
	serverURL string
}

// ask returns the answer to a question. The time that the user takes does not
// count for the call.
func (a *asker) ask(id json.RawMessage, q *question) *reply {
	r := &reply{JSONRPC: mcp.JSONRPC_VERSION, ID: id}
	request, err := q.request("", a.serverURL)
	if err != nil {
		r.Error = &replyError{Code: mcp.INVALID_PARAMS, Message: err.Error()}
		return r
	}
	a.patience.pause()
	defer a.patience.goOn()
	answer, err := a.elicit(a.ctx, request)
	if err != nil {
		answer = tool.InputAnswer{Action: tool.InputCancel} // the call is over, or the question cannot be asked
	}
	r.Result = q.result(answer)
	return r
}

// elicitation returns a request of the server if it is a question to the user.
func elicitation(raw []byte) (id json.RawMessage, q *question) {
	var req struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params *question       `json:"params"`
	}
	if json.Unmarshal(raw, &req) != nil || len(req.ID) == 0 || mcp.MCPMethod(req.Method) != mcp.MethodElicitationCreate {
		return nil, nil
	}
	return req.ID, req.Params
}

// ask has a question answered beside the caller, by send. False is that it is no
// question, or that nobody can be asked: a question belongs to the call in whose
// stream it came, else to the only one that is under way.
func (c *connection) ask(ctx context.Context, raw []byte, send func(*reply)) bool {
	id, q := elicitation(raw)
	if q == nil {
		return false
	}
	a := captureOf(ctx).asker
	if a == nil {
		c.mu.Lock()
		if len(c.askers) == 1 {
			a = c.askers[0]
		}
		c.mu.Unlock()
	}
	return a != nil && c.asking.try(func() { send(a.ask(id, q)) })
}

// offer lets the server ask the user during a call, until the function that it
// returns is called.
func (c *connection) offer(a *asker) (end func()) {
	if a == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.askers = append(c.askers, a)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.askers = slices.DeleteFunc(c.askers, func(b *asker) bool { return a == b })
	}
}

// patience ends a call that takes too long, not counting the time in which the
// user is asked.
type patience struct {
	limit time.Duration
	timer *time.Timer

	mu   sync.Mutex // guards open
	open int        // questions
}

func newPatience(limit time.Duration, end func()) *patience {
	return &patience{limit: limit, timer: time.AfterFunc(limit, end)}
}

func (p *patience) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open++; p.open == 1 {
		p.timer.Stop()
	}
}

func (p *patience) goOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open--; p.open == 0 {
		p.timer.Reset(p.limit)
	}
}

package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// NewRun is the body of a run.
type NewRun struct {
	Agent     string      `json:"agent,omitempty" doc:"The agent file, with or without .yaml. Default: the session's."`
	AgentName string      `json:"agent_name,omitempty" doc:"The agent to start with. Default: the root of the file."`
	Messages  []MessageIn `json:"messages" minItems:"1" doc:"What the user says."`
	Mode      string      `json:"mode,omitempty" enum:"enqueue,steer,interrupt,rollback,reject" doc:"What happens if a run is active: enqueue (the default) waits for its turn; steer puts the messages into the active run at its next step; interrupt cancels the active run; rollback cancels it and takes its messages out of the conversation; reject refuses with 409."`
	History   bool        `json:"history,omitempty" doc:"The messages may begin with all that the user has said in the session so far, which is not said again then. If there is nothing new, the answer is the run that had it."`
}

// Values of Status in [Settled].
const (
	statusAccepted = "accepted"
	statusPending  = "pending"
)

// Settled is what became of a command.
type Settled struct {
	Session string `json:"session"`
	Run     string `json:"run,omitempty" doc:"The run that the command started, joined or touched."`
	Seq     uint64 `json:"seq,omitempty" doc:"The event that says so. Events behind seq-1 are the effect."`
	Status  string `json:"status" enum:"accepted,pending" doc:"accepted: it has taken effect. pending (with status 202): it is stored, its outcome is not known yet."`
}

type settledOut struct {
	Status int
	Body   Settled
}

// settledV1 makes the answer of a command.
func (a *API) settledV1(ctx context.Context, ans events.Answer, ref holdfast.SessionRef, err error) (*settledOut, error) {
	switch {
	case errors.Is(err, errPending):
		return &settledOut{http.StatusAccepted, Settled{Session: ref.Session, Run: ans.Run, Status: statusPending}}, nil
	case err != nil:
		return nil, a.respond(ctx, err)
	}
	return &settledOut{http.StatusOK, Settled{Session: ref.Session, Run: ans.Run, Seq: ans.Seq, Status: statusAccepted}}, nil
}

// Decision is the body of a decision on a tool call.
type Decision struct {
	Decision  string `json:"decision" enum:"approve,approve-session,reject" doc:"approve-session also approves what tools the session calls from now on."`
	Arguments string `json:"arguments,omitempty" doc:"Arguments that replace those of the model: the text of a JSON object."`
	Reason    string `json:"reason,omitempty" maxLength:"10000" doc:"Shown to the model if the call is rejected."`
}

func (a *API) runRoutes(api huma.API) {
	const tag = "runs"
	huma.Register(api, a.operation("start-run", http.MethodPost, "/v1/sessions/{id}/runs", tag, "Start a run",
		"Says something to the session. Stream the run with GET …/events?after={seq-1}&until={run}.",
		http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge), a.startRun)
	huma.Register(api, a.operation("get-run", http.MethodGet, "/v1/sessions/{id}/runs/{run}", tag, "Get a run", "", http.StatusNotFound), a.getRun)
	huma.Register(api, a.operation("cancel-run", http.MethodPost, "/v1/sessions/{id}/runs/{run}/cancel", tag, "Cancel a run",
		"Stops what is under way and starts nothing new: requests to models and tools are closed, usually within milliseconds. To cancel a canceled run changes nothing.",
		http.StatusNotFound, http.StatusConflict), a.cancelRun)
	huma.Register(api, a.operation("cancel-active-run", http.MethodPost, "/v1/sessions/{id}/cancel", tag, "Cancel the active run", "",
		http.StatusNotFound, http.StatusConflict), a.cancelActive)
	huma.Register(api, a.operation("decide", http.MethodPost, "/v1/sessions/{id}/tool-calls/{call}/decision", tag, "Decide on a tool call",
		"The same decision again changes nothing; a contradiction, or a call that does not wait, is a conflict.",
		http.StatusNotFound, http.StatusConflict), a.decide)
	a.loopRoutes(api)
}

func (a *API) startRun(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Body NewRun
},
) (*settledOut, error) {
	q, err := a.runRequest(ctx, in.ref(ctx), in.Key, in.Body)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	c, run, err := q.command()
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	ans, err := a.request(ctx, c)
	ans.Run = cmp.Or(ans.Run, run)
	return a.settledV1(ctx, ans, q.ref, err)
}

// runRequest checks what a run is asked for.
func (a *API) runRequest(ctx context.Context, ref holdfast.SessionRef, key string, n NewRun) (q runRequest, err error) {
	q = runRequest{ref: ref, agentInFile: n.AgentName, mode: n.Mode, history: n.History, key: key}
	if q.messages, err = userMessages(n.Messages); err != nil {
		return q, err
	}
	if err := checkMode(q.mode); err != nil {
		return q, err
	}
	if err := a.exists(ctx, q.ref); err != nil {
		return q, err
	}
	name := n.Agent
	if name == "" {
		if name, err = a.sessionAgent(ctx, q.ref); err != nil {
			return q, err
		}
	}
	info, err := a.usableAgent(ctx, name)
	if err != nil {
		return q, err
	}
	q.agent = info.Name
	return q, nil
}

// sessionAgent is the agent of runs that name none: that of the newest run. The
// session's row says it as far as the archive goes, the log the rest, so that the
// answer does not take longer the longer the session is.
func (a *API) sessionAgent(ctx context.Context, ref holdfast.SessionRef) (string, error) {
	info, err := a.cfg.Store.Session(ctx, ref)
	if err != nil {
		info = events.SessionInfo{Session: ref} // not archived yet, or the archive is away: the log may have all
	}
	_, err = a.reader.Read(ctx, ref, info.Head.Seq, func(e events.Envelope) error { return info.Apply(&e) })
	if err != nil {
		return "", unavailable(fmt.Errorf("look for the agent of %s: %w", ref, err))
	}
	if info.Agent == "" {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "agent: missing, and the session has none yet")
	}
	return info.Agent, nil
}

func (a *API) getRun(ctx context.Context, in *struct {
	SessionPath
	Run string `path:"run" doc:"Id of the run."`
},
) (*struct{ Body RunDocument }, error) {
	v, err := a.view(ctx, in.ref(ctx), 0)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	r := v.run(in.Run)
	if r == nil {
		return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeNotFound, "session %s has no run %s", in.ID, in.Run))
	}
	return &struct{ Body RunDocument }{newRunDocument(*r)}, nil
}

// maxReason is the most characters of a reason.
const maxReason = 1000

// cutReason is a reason of another protocol, which sets it no limit.
func cutReason(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	n := 0
	for i := range s {
		if n++; n > maxReason {
			return s[:i]
		}
	}
	return s
}

// Cancellation is the body of a cancellation, which needs none.
type Cancellation struct {
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the log: the event run_canceled has it, and the run as cancel_reason."`
}

// reason is what the body gives, "" if there is none.
func (c *Cancellation) reason() string {
	if c == nil {
		return ""
	}
	return c.Reason
}

func (a *API) cancelRun(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Run  string        `path:"run" doc:"Id of the run."`
	Body *Cancellation `required:"false"`
},
) (*settledOut, error) {
	return a.simple(ctx, in.ref(ctx), events.KindCancel, in.Key, events.CancelBody{Run: in.Run, Reason: in.Body.reason()})
}

func (a *API) cancelActive(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Body *Cancellation `required:"false"`
},
) (*settledOut, error) {
	return a.simple(ctx, in.ref(ctx), events.KindCancel, in.Key, events.CancelBody{Reason: in.Body.reason()})
}

func (a *API) decide(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Call string `path:"call" doc:"Id of the tool call."`
	Body Decision
},
) (*settledOut, error) {
	if err := checkDecision("decision", in.Body.Decision); err != nil {
		return nil, a.respond(ctx, err)
	}
	if err := checkArguments(in.Body.Arguments); err != nil {
		return nil, a.respond(ctx, err)
	}
	return a.simple(ctx, in.ref(ctx), events.KindDecide, in.Key, events.DecideBody{
		ToolCallID: in.Call, Decision: in.Body.Decision, Arguments: in.Body.Arguments, Reason: in.Body.Reason,
	})
}

// simple sends a command to a session that exists.
func (a *API) simple(ctx context.Context, ref holdfast.SessionRef, kind, key string, body any) (*settledOut, error) {
	if err := a.exists(ctx, ref); err != nil {
		return nil, a.respond(ctx, err)
	}
	c, err := events.NewCommand(ref, kind, commandID(ref, kind, key), body)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	ans, err := a.request(ctx, c)
	return a.settledV1(ctx, ans, ref, err)
}

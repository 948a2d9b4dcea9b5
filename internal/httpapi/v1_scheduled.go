package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// NewMessage is the body of a message for now or for later.
type NewMessage struct {
	NewRun
	At    time.Time `json:"at,omitzero" doc:"When the run is to begin. A time that has passed is now. Not together with delay."`
	Delay string    `json:"delay,omitempty" maxLength:"40" doc:"After how long the run is to begin, such as 90s or 36h. Not together with at." example:"10m"`
}

// maxDelay is how far ahead a run can be scheduled.
const maxDelay = 5 * 366 * 24 * time.Hour

// due returns when the message is to be said, zero for now.
func (m *NewMessage) due(now time.Time) (time.Time, error) {
	at := m.At
	switch {
	case m.Delay != "" && !at.IsZero():
		return at, holdfast.Errorf(holdfast.CodeInvalid, "at and delay: give one of them")
	case m.Delay != "":
		d, err := time.ParseDuration(m.Delay)
		if err != nil || d < 0 {
			return at, holdfast.Errorf(holdfast.CodeInvalid, "delay %q: want a duration such as 90s, 10m or 36h", m.Delay)
		}
		at = now.Add(d)
	}
	if at.Sub(now) > maxDelay {
		return at, holdfast.Errorf(holdfast.CodeInvalid, "a run can be scheduled for the next five years, not for %s", at.UTC().Format(time.RFC3339))
	}
	return at, nil
}

// ScheduledRun is a run that is to begin later.
type ScheduledRun struct {
	Run       string             `json:"run" doc:"Id of the run that will be."`
	At        time.Time          `json:"at"`
	Agent     string             `json:"agent" doc:"The agent file."`
	AgentName string             `json:"agent_name,omitempty" doc:"The agent to start with; absent for the root."`
	Mode      string             `json:"mode,omitempty" doc:"What happens if another run is active then."`
	Messages  []holdfast.Message `json:"messages"`
	Seq       uint64             `json:"seq" doc:"The event that says so."`

	timer string
}

func (a *API) scheduledRoutes(api huma.API) {
	const tag = "runs"
	huma.Register(api, a.operation("send-message", http.MethodPost, "/v1/sessions/{id}/messages", tag, "Say something, now or later",
		"Without at and delay the same as to start a run. With one of them the run waits in the log and begins when its time has come, on whichever worker there is then: at most some 0.3 s late while everything is up, and at the latest when everything is up again.",
		http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests), a.sendMessage)
	huma.Register(api, a.operation("list-scheduled", http.MethodGet, "/v1/sessions/{id}/scheduled", tag, "List scheduled runs",
		"The runs of the session that are to begin later, in the order of their times.", http.StatusNotFound), a.listScheduled)
	del := a.operation("cancel-scheduled", http.MethodDelete, "/v1/sessions/{id}/scheduled/{run}", tag, "Take a scheduled run back",
		"A run that has begun meanwhile is a conflict; cancel it like any other. The same as to cancel the run.", http.StatusNotFound, http.StatusConflict)
	del.DefaultStatus = http.StatusOK
	huma.Register(api, del, a.cancelScheduled)
}

func (a *API) sendMessage(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Body NewMessage
},
) (*settledOut, error) {
	at, err := in.Body.due(time.Now())
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	q, err := a.runRequest(ctx, in.ref(ctx), in.Key, in.Body.NewRun)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	c, run, err := q.command()
	if err == nil && !at.IsZero() {
		c, run, err = q.later(at, in.Body.Delay)
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	ans, err := a.request(ctx, c)
	ans.Run = cmp.Or(ans.Run, run)
	return a.settledV1(ctx, ans, q.ref, err)
}

// later makes the command of a run that is to begin at a time. A delay counts
// from the first request with the same key: the time is then no part of what
// makes two requests the same.
func (q runRequest) later(at time.Time, delay string) (c events.Command, run string, err error) {
	run = holdfast.NewID()
	if q.key != "" {
		run = holdfast.DeriveID(q.ref.Tenant, q.ref.Session, "run-id", q.key)
	}
	body := events.ScheduleBody{At: at.UTC(), RunBody: events.RunBody{
		Run: run, Agent: q.agent, AgentInFile: q.agentInFile, Messages: q.messages, Mode: q.mode,
	}}
	if delay != "" {
		body.At, body.Delay = time.Time{}, delay
	}
	// The id is that of a run with the same key: now and later are not the same request.
	c, err = events.NewCommand(q.ref, events.KindSchedule, commandID(q.ref, "run", q.key), body)
	return c, run, err
}

func (a *API) listScheduled(ctx context.Context, in *struct{ SessionPath }) (*struct {
	Body struct {
		Runs []ScheduledRun `json:"runs"`
	}
}, error,
) {
	v, err := a.view(ctx, in.ref(ctx), 0)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	out := &struct {
		Body struct {
			Runs []ScheduledRun `json:"runs"`
		}
	}{}
	out.Body.Runs = append([]ScheduledRun{}, v.Scheduled...)
	slices.SortStableFunc(out.Body.Runs, func(a, b ScheduledRun) int { return a.At.Compare(b.At) })
	return out, nil
}

func (a *API) cancelScheduled(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Run string `path:"run" doc:"Id of the run."`
},
) (*settledOut, error) {
	v, err := a.view(ctx, in.ref(ctx), 0)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	r := v.run(in.Run)
	switch {
	case r == nil:
		return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeNotFound, "session %s has no scheduled run %s", in.ID, in.Run))
	case r.Status != runScheduled && r.Reason != "canceled":
		return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeConflict, "run %s is %s; cancel it as a run", in.Run, r.Status))
	}
	if r.Status == runFinished { // taken back before
		return &settledOut{http.StatusOK, Settled{Session: in.ID, Run: in.Run, Seq: r.LastSeq, Status: statusAccepted}}, nil
	}
	return a.simple(ctx, in.ref(ctx), events.KindCancel, in.Key, events.CancelBody{Run: in.Run})
}

// runScheduled is the status of a run that is to begin later.
const runScheduled = "scheduled"

// applyScheduled folds what says that a run is for later.
func (v *View) applyScheduled(e *events.Envelope, ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.RunScheduledEvent:
		v.Scheduled = append(v.Scheduled, ScheduledRun{
			Run: ev.Run, At: ev.At.UTC(), Agent: ev.Agent, AgentName: ev.AgentInFile, Mode: ev.Mode, Messages: ev.Messages, Seq: e.Seq, timer: ev.Timer,
		})
		v.Runs = append(v.Runs, RunView{Run: ev.Run, Agent: ev.Agent, AgentInFile: ev.AgentInFile, Status: runScheduled, FirstSeq: e.Seq, LastSeq: e.Seq})
	case *holdfast.TimerFiredEvent:
		v.Scheduled = slices.DeleteFunc(v.Scheduled, func(s ScheduledRun) bool { return s.timer == ev.Timer })
	case *holdfast.RunQueuedEvent:
		if r := v.run(ev.Run); r != nil && r.Status == runScheduled {
			r.Agent, r.AgentInFile, r.Status, r.LastSeq = ev.Agent, ev.AgentInFile, runQueued, e.Seq
		}
	case *holdfast.SessionCreatedEvent:
		v.Scheduled = nil
	}
}

package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

// maxSchedules is how many schedules a tenant can have.
const maxSchedules = 1000

// ScheduleBody is what somebody says of a schedule.
type ScheduleBody struct {
	Cron     string    `json:"cron,omitempty" maxLength:"200" doc:"When: minute, hour, day of the month, month, day of the week, as in crontab(5). Not together with every." example:"30 7 * * 1-5"`
	Timezone string    `json:"timezone,omitempty" maxLength:"100" doc:"The time zone of cron, a name of the IANA database. Default: UTC. Where its clocks change: a time that they jump over is the moment of the jump, and of a time that comes twice the first one counts; an expression whose hour is * follows the time as it passes." example:"Europe/Berlin"`
	Every    string    `json:"every,omitempty" maxLength:"40" doc:"Or: again and again after this duration, at least a second, counted from starts_at." example:"36h"`
	StartsAt time.Time `json:"starts_at,omitzero" doc:"Not before this time. Default: the creation. An interval fires at this time first; without it, after its duration."`

	Agent     string      `json:"agent,omitempty" maxLength:"1000" doc:"The agent file, with or without .yaml. Default: that of the session."`
	AgentName string      `json:"agent_name,omitempty" maxLength:"1000" doc:"The agent to start with. Default: the root of the file."`
	Messages  []MessageIn `json:"messages" minItems:"1" doc:"What the user says each time."`

	Session       string            `json:"session,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_-]+$" doc:"Where it is said. Without it, in a new session each time, made with the following four; its metadata have the labels schedule and scheduled_for beside the given ones."`
	Title         string            `json:"title,omitempty" maxLength:"1000" doc:"Title of the new sessions."`
	User          string            `json:"user,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_-]+$" doc:"On whose behalf the new sessions act."`
	ToolsApproved bool              `json:"tools_approved,omitempty" doc:"Tools of the new sessions run without asking."`
	Metadata      map[string]string `json:"metadata,omitempty" doc:"Labels of the new sessions. At most 62, 4 KiB each."`

	Overlap string `json:"overlap,omitempty" enum:"skip,enqueue" doc:"If the run before, or whatever runs in the given session, is not over: skip (the default) lets this time go by; enqueue has the run wait for its turn, or begin beside it in its own new session."`
	Missed  string `json:"missed,omitempty" enum:"skip,catch_up" doc:"If for more than a minute nothing could fire, as everything was down: catch_up (the default) fires once for all times that were missed; skip lets them go by."`
	Paused  bool   `json:"paused,omitempty" doc:"Nothing fires until it is resumed."`
}

// NewSchedule is the body of a creation.
type NewSchedule struct {
	ID string `json:"id,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_-]+$" doc:"Id of the schedule. Without it, a new one."`
	ScheduleBody
}

// ScheduleDoc is a schedule.
type ScheduleDoc struct {
	ID            string             `json:"id"`
	Cron          string             `json:"cron,omitempty"`
	Timezone      string             `json:"timezone,omitempty"`
	Every         string             `json:"every,omitempty"`
	StartsAt      time.Time          `json:"starts_at"`
	Agent         string             `json:"agent" doc:"The agent file."`
	AgentName     string             `json:"agent_name,omitempty"`
	Messages      []holdfast.Message `json:"messages"`
	Session       string             `json:"session,omitempty"`
	Title         string             `json:"title,omitempty"`
	User          string             `json:"user,omitempty"`
	ToolsApproved bool               `json:"tools_approved,omitempty"`
	Metadata      map[string]string  `json:"metadata,omitempty"`
	Overlap       string             `json:"overlap" enum:"skip,enqueue"`
	Missed        string             `json:"missed" enum:"skip,catch_up"`
	Paused        bool               `json:"paused"`
	Reason        string             `json:"reason,omitempty" doc:"Why it was paused, if nobody asked for it: its session was deleted, or it can no longer be read."`
	Revision      int64              `json:"revision" doc:"Counts the changes that somebody made."`
	CreatedAt     time.Time          `json:"created_at"`
	UpdatedAt     time.Time          `json:"updated_at"`
	NextAt        time.Time          `json:"next_at,omitzero" doc:"When it fires next; absent while it is paused or has no further time."`
	Last          *FiringDoc         `json:"last,omitempty" doc:"Its newest firing; absent before the first one."`
	Fired         int64              `json:"fired" doc:"How many runs it has started."`
}

// FiringDoc is what came of one time of a schedule.
type FiringDoc struct {
	At      time.Time `json:"at" doc:"The time of the schedule."`
	Began   time.Time `json:"began" doc:"When it fired."`
	Outcome string    `json:"outcome" enum:"started,skipped,missed,refused" doc:"started: a run was queued. skipped: the run before was not over. missed: nothing could fire when it was time. refused: the run could not be queued."`
	Session string    `json:"session,omitempty" doc:"The session of the newest run that the schedule started."`
	Run     string    `json:"run,omitempty" doc:"That run."`
	Detail  string    `json:"detail,omitempty" doc:"Why nothing was started."`
}

// SchedulePage is a page of a list.
type SchedulePage struct {
	Schedules []ScheduleDoc `json:"schedules" doc:"Newest first."`
	Next      string        `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
}

func newScheduleDoc(s *schedule.Schedule) ScheduleDoc {
	p := &s.Spec
	d := ScheduleDoc{
		ID: s.ID, Cron: p.Cron, Timezone: p.Timezone, Every: p.Every, StartsAt: p.StartsAt.UTC(), Agent: p.Agent, AgentName: p.AgentName, Messages: p.Messages,
		Session: p.Session, Title: p.Title, User: p.User, ToolsApproved: p.ToolsApproved, Metadata: p.Metadata, Overlap: p.Overlap, Missed: p.Missed,
		Paused: s.Paused, Reason: s.Reason, Revision: s.Revision, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, NextAt: s.Next, Fired: s.Fired,
	}
	if f := s.Last; !f.At.IsZero() {
		d.Last = &FiringDoc{At: f.At, Began: f.Began, Outcome: f.Outcome, Session: f.Session, Run: f.Run, Detail: f.Detail}
	}
	return d
}

// SchedulePath names a schedule.
type SchedulePath struct {
	ID string `path:"schedule" maxLength:"128" pattern:"^[A-Za-z0-9_-]+$" doc:"Id of the schedule."`
}

type scheduleOut struct {
	Status int
	Body   ScheduleDoc
}

func (a *API) scheduleRoutes(api huma.API) {
	const tag = "schedules"
	huma.Register(api, a.operation("create-schedule", http.MethodPost, "/v1/schedules", tag, "Say something again and again",
		"At each of its times a message is said to an agent, in a given session or in a new one. Each time fires once, on whichever process holds the schedule then: the session and the run have ids that are derived from the schedule and the time. "+
			"Answers 201, or 200 if the Idempotency-Key made the schedule before.",
		http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge), a.createSchedule)
	huma.Register(api, a.operation("list-schedules", http.MethodGet, "/v1/schedules", tag, "List schedules", ""), a.listSchedules)
	huma.Register(api, a.operation("get-schedule", http.MethodGet, "/v1/schedules/{schedule}", tag, "Get a schedule",
		"With when it fires next and what came of its newest firing. The sessions that it made are those with the label schedule: GET /v1/sessions?metadata=schedule:ID.", http.StatusNotFound), a.getSchedule)
	huma.Register(api, a.operation("update-schedule", http.MethodPut, "/v1/schedules/{schedule}", tag, "Replace a schedule",
		"What the body does not say is as in a new schedule, but that starts_at stays. A time that has passed does not fire any more.",
		http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge), a.updateSchedule)
	huma.Register(api, a.operation("pause-schedule", http.MethodPost, "/v1/schedules/{schedule}/pause", tag, "Pause a schedule",
		"Nothing fires until it is resumed. What has begun goes on. To pause a paused one changes nothing.", http.StatusNotFound, http.StatusConflict), a.pauseSchedule)
	huma.Register(api, a.operation("resume-schedule", http.MethodPost, "/v1/schedules/{schedule}/resume", tag, "Resume a schedule",
		"It fires at its next time; those that passed meanwhile are not missed.", http.StatusNotFound, http.StatusConflict), a.resumeSchedule)
	del := a.operation("delete-schedule", http.MethodDelete, "/v1/schedules/{schedule}", tag, "Delete a schedule", "What it has started stays.", http.StatusNotFound)
	del.DefaultStatus = http.StatusNoContent
	huma.Register(api, del, a.deleteSchedule)
}

func (a *API) schedules() (schedule.Store, error) {
	if a.cfg.Schedules == nil {
		return nil, holdfast.Errorf(holdfast.CodeNotOffered, "schedules are not offered in this deployment")
	}
	return a.cfg.Schedules, nil
}

// spec checks what somebody says of a schedule. started is what StartsAt is
// without one of its own.
func (a *API) scheduleSpec(ctx context.Context, b *ScheduleBody, started time.Time) (schedule.Spec, error) {
	s := schedule.Spec{
		Cron: b.Cron, Every: b.Every, Timezone: b.Timezone, StartsAt: b.StartsAt, AgentName: b.AgentName, Session: b.Session, Title: b.Title,
		User: b.User, ToolsApproved: b.ToolsApproved, Metadata: b.Metadata,
		Overlap: cmp.Or(b.Overlap, schedule.OverlapSkip), Missed: cmp.Or(b.Missed, schedule.MissedCatchUp),
	}
	if s.StartsAt.IsZero() {
		s.StartsAt = started
	}
	s.StartsAt = time.UnixMicro(s.StartsAt.UnixMicro()).UTC()
	var err error
	if s.Messages, err = userMessages(b.Messages); err != nil {
		return s, err
	}
	if err := s.Check(); err != nil {
		return s, err
	}
	if err := (NewSession{Metadata: b.Metadata}).check(); err != nil {
		return s, err
	}
	if len(b.Metadata) > maxLabels-2 {
		return s, holdfast.Errorf(holdfast.CodeInvalid, "metadata: more than %d members: the sessions of a schedule have two of their own", maxLabels-2)
	}
	name := b.Agent
	if s.Session != "" {
		ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: s.Session}
		if err := a.exists(ctx, ref); err != nil {
			return s, err
		}
		if name == "" {
			if name, err = a.sessionAgent(ctx, ref); err != nil {
				return s, err
			}
		}
	}
	if name == "" {
		return s, holdfast.Errorf(holdfast.CodeInvalid, "agent: missing")
	}
	info, err := a.usableAgent(ctx, name)
	if err != nil {
		return s, err
	}
	s.Agent = info.Name
	return s, a.commandFits(events.RunBody{Agent: s.Agent, AgentInFile: s.AgentName, Messages: s.Messages})
}

// commandFits refuses what would not fit into a command when its time comes.
func (a *API) commandFits(body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	// The log takes less in one event than a body may have.
	if most := min(a.cfg.MaxBody, events.MaxPayload); int64(len(b)) > most {
		return holdfast.Errorf(holdfast.CodeTooLarge, "the messages take %d bytes, at most %d are possible", len(b), most)
	}
	return nil
}

// microNow is the time as the stores keep it.
func microNow() time.Time { return time.UnixMicro(time.Now().UnixMicro()).UTC() }

func (a *API) createSchedule(ctx context.Context, in *struct {
	KeyHeader
	Body NewSchedule
},
) (*scheduleOut, error) {
	s, created, err := a.newSchedule(ctx, in.Key, &in.Body)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	st := http.StatusOK
	if created {
		st = http.StatusCreated
	}
	return &scheduleOut{st, newScheduleDoc(&s)}, nil
}

func (a *API) newSchedule(ctx context.Context, key string, n *NewSchedule) (s schedule.Schedule, created bool, err error) {
	store, err := a.schedules()
	if err != nil {
		return s, false, err
	}
	now := microNow()
	s = schedule.Schedule{Tenant: tenantOf(ctx), ID: n.ID, Revision: 1, CreatedAt: now, UpdatedAt: now, Paused: n.Paused}
	switch {
	case s.ID == "" && key == "":
		s.ID = holdfast.NewID()
	case s.ID == "":
		s.ID = holdfast.DeriveID(s.Tenant, "schedule", key)
	}
	if err := checkKey(key); err != nil {
		return s, false, err
	}
	if key != "" {
		was, err := store.Schedule(ctx, s.Tenant, s.ID)
		if err == nil {
			if s.Spec, err = a.scheduleSpec(ctx, &n.ScheduleBody, was.Spec.StartsAt); err != nil {
				return s, false, err
			}
			switch {
			case sameSpec(&s.Spec, &was.Spec):
				return was, false, nil
			case n.ID != "":
				// Whoever chose the id may never have used this key.
				return s, false, holdfast.Errorf(holdfast.CodeConflict, "there is a schedule %s already, and it says something else", n.ID)
			default:
				return s, false, holdfast.Errorf(holdfast.CodeKeyReused, "the Idempotency-Key was used before with another body, or what it made was changed")
			}
		}
		if holdfast.CodeOf(err) != holdfast.CodeNotFound {
			return s, false, unavailable(err)
		}
	}
	if s.Spec, err = a.scheduleSpec(ctx, &n.ScheduleBody, now); err != nil {
		return s, false, err
	}
	if !s.Paused {
		s.Next = s.Spec.Next(now)
	}
	return s, true, unavailable(store.PutSchedule(ctx, s, maxSchedules))
}

// sameSpec reports whether two specifications say the same.
func sameSpec(a, b *schedule.Spec) bool {
	x, errx := json.Marshal(a)
	y, erry := json.Marshal(b)
	return errx == nil && erry == nil && string(x) == string(y)
}

func (a *API) listSchedules(ctx context.Context, in *struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"The most schedules of the page. Default 100."`
	Cursor string `query:"cursor" doc:"Member next of the page before."`
},
) (*struct{ Body SchedulePage }, error) {
	store, err := a.schedules()
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	p, err := parsePageCursor(in.Cursor)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	limit := cmp.Or(in.Limit, defaultPage)
	list, err := store.Schedules(ctx, tenantOf(ctx), schedule.Page{Limit: limit, BeforeTime: p.BeforeTime, BeforeID: p.BeforeID})
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	page := SchedulePage{Schedules: make([]ScheduleDoc, len(list))}
	for i := range list {
		page.Schedules[i] = newScheduleDoc(&list[i])
	}
	if len(list) == limit {
		last := list[len(list)-1]
		page.Next = pageCursor(events.SessionInfo{CreatedAt: last.CreatedAt, Session: holdfast.SessionRef{Session: last.ID}})
	}
	return &struct{ Body SchedulePage }{page}, nil
}

func (a *API) getSchedule(ctx context.Context, in *SchedulePath) (*struct{ Body ScheduleDoc }, error) {
	store, err := a.schedules()
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	s, err := store.Schedule(ctx, tenantOf(ctx), in.ID)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	return &struct{ Body ScheduleDoc }{newScheduleDoc(&s)}, nil
}

// changeTries is how often a change is made anew when another one was quicker.
const changeTries = 5

// changeSchedule reads a schedule, lets change act on it and stores it. change
// returns false if everything is so already.
func (a *API) changeSchedule(ctx context.Context, id string, change func(s *schedule.Schedule) (bool, error)) (*struct{ Body ScheduleDoc }, error) {
	store, err := a.schedules()
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	for range changeTries {
		var s schedule.Schedule
		if s, err = store.Schedule(ctx, tenantOf(ctx), id); err != nil {
			break
		}
		var changed bool
		if changed, err = change(&s); err != nil {
			break
		}
		if changed {
			s.Revision, s.UpdatedAt, s.Reason, s.Next = s.Revision+1, microNow(), "", time.Time{}
			if !s.Paused {
				s.Next = s.Spec.Next(s.UpdatedAt)
			}
			err = store.ChangeSchedule(ctx, s)
		}
		if err == nil {
			return &struct{ Body ScheduleDoc }{newScheduleDoc(&s)}, nil
		}
		if holdfast.CodeOf(err) != holdfast.CodeStale {
			break
		}
	}
	if holdfast.CodeOf(err) == holdfast.CodeStale {
		err = holdfast.Errorf(holdfast.CodeConflict, "schedule %s is being changed by others; try again", id)
	}
	return nil, a.respond(ctx, unavailable(err))
}

func (a *API) updateSchedule(ctx context.Context, in *struct {
	SchedulePath
	Body ScheduleBody
},
) (*struct{ Body ScheduleDoc }, error) {
	return a.changeSchedule(ctx, in.ID, func(s *schedule.Schedule) (bool, error) {
		spec, err := a.scheduleSpec(ctx, &in.Body, s.Spec.StartsAt)
		s.Spec, s.Paused = spec, in.Body.Paused
		return true, err
	})
}

func (a *API) pauseSchedule(ctx context.Context, in *SchedulePath) (*struct{ Body ScheduleDoc }, error) {
	return a.changeSchedule(ctx, in.ID, func(s *schedule.Schedule) (bool, error) {
		was := s.Paused
		s.Paused = true
		return !was, nil
	})
}

func (a *API) resumeSchedule(ctx context.Context, in *SchedulePath) (*struct{ Body ScheduleDoc }, error) {
	return a.changeSchedule(ctx, in.ID, func(s *schedule.Schedule) (bool, error) {
		was := s.Paused
		s.Paused = false
		return was, nil
	})
}

func (a *API) deleteSchedule(ctx context.Context, in *SchedulePath) (*struct{}, error) {
	store, err := a.schedules()
	if err == nil {
		err = unavailable(store.DeleteSchedule(ctx, tenantOf(ctx), in.ID))
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return &struct{}{}, nil
}

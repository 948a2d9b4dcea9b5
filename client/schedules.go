package client

import (
	"context"
	"iter"
	"net/url"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// NewSchedule is a message that is said again and again. Either Cron or Every says
// when.
type NewSchedule struct {
	// ID is "" for one of the server's choice.
	ID string `json:"id,omitempty"`
	// Cron has five fields, as in crontab(5); Timezone is a name of the IANA database,
	// "" for UTC.
	Cron     string `json:"cron,omitempty"`
	Timezone string `json:"timezone,omitempty"`
	// Every is a duration such as 36h.
	Every    string    `json:"every,omitempty"`
	StartsAt time.Time `json:"starts_at,omitzero"`
	// Agent is the agent file, "" for that of Session.
	Agent     string    `json:"agent,omitempty"`
	AgentName string    `json:"agent_name,omitempty"`
	Messages  []Message `json:"messages"`
	// Session is where it is said, "" for a new session each time, which begins with
	// the four that follow.
	Session       string            `json:"session,omitempty"`
	Title         string            `json:"title,omitempty"`
	User          string            `json:"user,omitempty"`
	ToolsApproved bool              `json:"tools_approved,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	// Overlap is what happens if the run before is not over: "skip" (the default) or
	// "enqueue". Missed is what happens to times at which everything was down: one
	// firing for all with "catch_up" (the default), none with "skip".
	Overlap string `json:"overlap,omitempty"`
	Missed  string `json:"missed,omitempty"`
	Paused  bool   `json:"paused,omitempty"`
}

// Schedule is a schedule and what came of it.
type Schedule struct {
	ID            string             `json:"id"`
	Cron          string             `json:"cron,omitempty"`
	Timezone      string             `json:"timezone,omitempty"`
	Every         string             `json:"every,omitempty"`
	StartsAt      time.Time          `json:"starts_at"`
	Agent         string             `json:"agent"`
	AgentName     string             `json:"agent_name,omitempty"`
	Messages      []holdfast.Message `json:"messages"`
	Session       string             `json:"session,omitempty"`
	Title         string             `json:"title,omitempty"`
	User          string             `json:"user,omitempty"`
	ToolsApproved bool               `json:"tools_approved,omitempty"`
	Metadata      map[string]string  `json:"metadata,omitempty"`
	Overlap       string             `json:"overlap"`
	Missed        string             `json:"missed"`
	Paused        bool               `json:"paused"`
	// Reason is why it was paused, if nobody asked for it.
	Reason    string    `json:"reason,omitempty"`
	Revision  int64     `json:"revision"` // counts the changes that somebody made
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// NextAt is zero while it is paused and when it has no further time.
	NextAt time.Time `json:"next_at,omitzero"`
	// Last is its newest firing, nil before the first one.
	Last  *Firing `json:"last,omitempty"`
	Fired int64   `json:"fired"` // how many runs it has started
}

// Firing is what came of one time of a schedule.
type Firing struct {
	At    time.Time `json:"at"`    // the time of the schedule
	Began time.Time `json:"began"` // when it fired
	// Outcome is "started", "skipped", "missed" or "refused"; Detail is why nothing was
	// started.
	Outcome string `json:"outcome"`
	Session string `json:"session,omitempty"`
	Run     string `json:"run,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// CreateSchedule says something again and again.
func (c *Client) CreateSchedule(ctx context.Context, n NewSchedule) (*Schedule, error) {
	return c.schedule(ctx, "POST", path("v1", "schedules"), n)
}

// UpdateSchedule replaces a schedule. What n does not say is as in a new one, but
// that StartsAt stays.
func (c *Client) UpdateSchedule(ctx context.Context, id string, n NewSchedule) (*Schedule, error) {
	n.ID = ""
	return c.schedule(ctx, "PUT", path("v1", "schedules", id), n)
}

// GetSchedule returns a schedule.
func (c *Client) GetSchedule(ctx context.Context, id string) (*Schedule, error) {
	return c.schedule(ctx, "GET", path("v1", "schedules", id), nil)
}

// PauseSchedule lets nothing fire until ResumeSchedule. What has begun goes on.
func (c *Client) PauseSchedule(ctx context.Context, id string) (*Schedule, error) {
	return c.schedule(ctx, "POST", path("v1", "schedules", id, "pause"), nil)
}

// ResumeSchedule lets a schedule fire again, at its next time.
func (c *Client) ResumeSchedule(ctx context.Context, id string) (*Schedule, error) {
	return c.schedule(ctx, "POST", path("v1", "schedules", id, "resume"), nil)
}

// DeleteSchedule deletes a schedule. What it has started stays.
func (c *Client) DeleteSchedule(ctx context.Context, id string) error {
	return c.do(ctx, "DELETE", path("v1", "schedules", id), nil, nil, nil)
}

func (c *Client) schedule(ctx context.Context, method, path string, in any) (*Schedule, error) {
	var s Schedule
	err := c.do(ctx, method, path, nil, in, &s)
	return answer(&s, s.ID, "id", err)
}

// Schedules gives out the schedules, newest first. An error is the last thing that
// it gives out.
func (c *Client) Schedules(ctx context.Context) iter.Seq2[Schedule, error] {
	return func(yield func(Schedule, error) bool) {
		query := url.Values{"limit": {"1000"}}
		for {
			var p struct {
				Schedules []Schedule `json:"schedules"`
				Next      string     `json:"next"`
			}
			if err := c.do(ctx, "GET", path("v1", "schedules"), query, nil, &p); err != nil {
				yield(Schedule{}, err)
				return
			}
			for _, s := range p.Schedules {
				if !yield(s, nil) {
					return
				}
			}
			if p.Next == "" || len(p.Schedules) == 0 || p.Next == query.Get("cursor") {
				return
			}
			query.Set("cursor", p.Next)
		}
	}
}

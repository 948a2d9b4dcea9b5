package httpapi

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// UsageDoc is what model calls took. Members that rows are not told apart by are
// absent.
type UsageDoc struct {
	Day               string  `json:"day,omitempty" doc:"The day of the calls, in UTC." example:"2026-11-22"`
	Session           string  `json:"session,omitempty" doc:"Id of the session. The usage of a deleted session stays."`
	Agent             string  `json:"agent,omitempty" doc:"The agent file."`
	AgentName         string  `json:"agent_name,omitempty" doc:"The agent within its file."`
	Model             string  `json:"model,omitempty" doc:"provider/model."`
	Calls             int64   `json:"calls" doc:"How many model calls."`
	InputTokens       int64   `json:"input_tokens"`
	OutputTokens      int64   `json:"output_tokens"`
	CachedInputTokens int64   `json:"cached_input_tokens" doc:"Of the input tokens, those that the provider had cached."`
	ReasoningTokens   int64   `json:"reasoning_tokens" doc:"Of the output tokens, those of reasoning."`
	Cost              float64 `json:"cost" doc:"US dollars, as far as prices are known."`
}

// UsagePage is a page of usage.
type UsagePage struct {
	Usage []UsageDoc `json:"usage" doc:"Ordered by the members that they are told apart by."`
	Next  string     `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
}

func (a *API) usageRoutes(api huma.API) {
	huma.Register(api, a.operation("get-usage", http.MethodGet, "/v1/usage", "usage", "What model calls took",
		"Tokens and costs of all model calls of the tenant, counted per day as the calls end, a few milliseconds after their events. Each call counts once, those of sessions that were deleted and calls that were made for summaries too. "+
			"What a fork shares with another session counts there alone.", http.StatusNotImplemented), a.getUsage)
}

func (a *API) getUsage(ctx context.Context, in *struct {
	From      string `query:"from" maxLength:"10" doc:"The first day that counts, in UTC. Default: the first of all." example:"2026-11-01"`
	To        string `query:"to" maxLength:"10" doc:"The last day that counts, in UTC. Default: today." example:"2026-11-30"`
	Session   string `query:"session" maxLength:"128" doc:"Only this session."`
	Agent     string `query:"agent" maxLength:"1000" doc:"Only this agent file, with or without .yaml."`
	AgentName string `query:"agent_name" maxLength:"1000" doc:"Only this agent within its file."`
	Model     string `query:"model" maxLength:"1000" doc:"Only this model, as provider/model."`
	By        string `query:"by" maxLength:"100" doc:"What rows are told apart by and ordered by, separated by commas: day, session, agent, agent_name, model. Default: nothing, one row with the sum." example:"day,model"`
	Limit     int    `query:"limit" minimum:"1" maximum:"1000" doc:"The most rows of the page. Default 100."`
	Cursor    string `query:"cursor" doc:"Member next of the page before, with the same by."`
},
) (*struct{ Body UsagePage }, error) {
	if a.cfg.Usage == nil {
		return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: usage"))
	}
	q := events.UsageQuery{Tenant: tenantOf(ctx), Match: map[string]string{}, Limit: cmp.Or(in.Limit, defaultPage)}
	var err error
	if q.From, err = dayParam("from", in.From); err == nil {
		q.To, err = dayParam("to", in.To)
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	for column, v := range map[string]string{"session": in.Session, "agent": agentFileName(in.Agent), "agent_name": in.AgentName, "model": in.Model} {
		if v != "" {
			q.Match[column] = v
		}
	}
	if in.By != "" {
		q.By = strings.Split(in.By, ",")
	}
	if in.Cursor != "" {
		if q.After, err = parseUsageCursor(in.Cursor, q.By); err != nil {
			return nil, a.respond(ctx, err)
		}
	}
	a.fresh(ctx)
	rows, err := a.cfg.Usage.Usage(ctx, q)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	page := UsagePage{Usage: make([]UsageDoc, len(rows))}
	for i, r := range rows {
		page.Usage[i] = UsageDoc{
			Session: r.Session, Agent: r.Agent, AgentName: r.AgentName, Model: r.Model,
			Calls: r.Calls, InputTokens: r.InputTokens, OutputTokens: r.OutputTokens,
			CachedInputTokens: r.CachedInputTokens, ReasoningTokens: r.ReasoningTokens, Cost: r.Cost,
		}
		if !r.Day.IsZero() {
			page.Usage[i].Day = r.Day.Format(time.DateOnly)
		}
	}
	if len(rows) == q.Limit && len(q.By) > 0 {
		page.Next = usageCursor(q.By, rows[len(rows)-1].Columns(q.By))
	}
	return &struct{ Body UsagePage }{page}, nil
}

// dayParam reads a day; "" is none.
func dayParam(name, v string) (time.Time, error) {
	if v == "" {
		return time.Time{}, nil
	}
	day, err := time.Parse(time.DateOnly, v)
	if err != nil {
		return day, holdfast.Errorf(holdfast.CodeInvalid, "%s %q: want a day such as 2026-11-22", name, v)
	}
	return day, nil
}

// agentFileName is the name of an agent file as events have it, "" for "".
func agentFileName(name string) string {
	if name == "" {
		return ""
	}
	return strings.TrimSuffix(name, ".yaml") + ".yaml"
}

// usageCursor makes the cursor of the page behind a row: what it was told apart
// by, and the values.
func usageCursor(by, last []string) string {
	raw, err := json.Marshal(slices.Concat(by, last))
	if err != nil {
		panic("httpapi: strings cannot be encoded: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseUsageCursor(s string, by []string) ([]string, error) {
	bad := holdfast.Errorf(holdfast.CodeInvalid, "cursor: not one that a list of usage with the same by gave out")
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, bad
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil || len(by) == 0 || len(list) != 2*len(by) || !slices.Equal(list[:len(by)], by) {
		return nil, bad
	}
	return list[len(by):], nil
}

package httpapi

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/search"
)

// SearchHit is a message that was found.
type SearchHit struct {
	Session   string        `json:"session" doc:"Id of the session."`
	Title     string        `json:"title" doc:"Title of the session."`
	Seq       uint64        `json:"seq" doc:"The event that completed the message. GET /v1/sessions/{id}?at=SEQ is the session at that point."`
	CreatedAt time.Time     `json:"created_at" doc:"When that was."`
	Role      string        `json:"role" enum:"user,assistant"`
	AgentName string        `json:"agent_name" doc:"The agent that said it; empty for messages of the user."`
	Run       string        `json:"run" doc:"The run that the message belongs to."`
	Snippet   []SnippetPart `json:"snippet" doc:"The part of the message where the words are met first, in pieces. The text is what users and models said, without any markup of ours: show it as text."`
}

// SnippetPart is a piece of a snippet.
type SnippetPart struct {
	Text string `json:"text"`
	Hit  bool   `json:"hit,omitempty" doc:"The query looks for this."`
}

// SearchPage is a page of hits.
type SearchPage struct {
	Hits     []SearchHit `json:"hits" doc:"The newest message first."`
	Next     string      `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
	Indexing bool        `json:"indexing,omitempty" doc:"Sessions that are older than the index are still being added to it: there may be more."`
}

func (a *API) searchRoutes(api huma.API) {
	huma.Register(api, a.operation("search-messages", http.MethodGet, "/v1/search", "sessions", "Search what was said",
		"Finds messages of users and answers of agents, sub-agents' too, by their words: newest first, in all sessions or in one. Upper and lower case are the same; there are no stems and no stop words of any language. "+
			`"Words in quotes" follow each other, -word must not be there, "or" stands between alternatives, word* is the beginning of a word; all words must be in one message. `+
			"Chinese, Japanese, Korean, Thai and the like are found by any part of a text. Punctuation and emoji are not searched, and of a long message the first 16 KiB are. "+
			"Reasoning, tool calls and their results are not searched. Two searches of a tenant run at the same time; one that would wait longer than a second for its turn is refused with 429 (rate_limited). A message is found about half a second after it was said, one of a deleted session not any more.",
		http.StatusNotImplemented, http.StatusGatewayTimeout), a.search)
}

func (a *API) search(ctx context.Context, in *struct {
	Text    string `query:"q" required:"true" minLength:"1" maxLength:"1000" doc:"The words." example:"\"hotel in rome\" -hostel"`
	Session string `query:"session" maxLength:"128" doc:"Only this session."`
	Role    string `query:"role" enum:"user,assistant" doc:"Only what users said, or only what agents answered."`
	By      string `query:"by" enum:"message,session" doc:"session gives each session once, with its newest hit. Default: message, all hits."`
	Limit   int    `query:"limit" minimum:"1" maximum:"100" doc:"The most hits of the page. Default 20."`
	Cursor  string `query:"cursor" doc:"Member next of the page before, with the same search."`
},
) (*struct{ Body SearchPage }, error) {
	if a.cfg.Search == nil {
		return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: the search over messages"))
	}
	p := search.Page{Session: in.Session, Role: holdfast.Role(in.Role), BySession: in.By == "session", Limit: cmp.Or(in.Limit, 20)}
	var err error
	if p.Query, err = search.Parse(in.Text); err == nil {
		p.Before, err = parseSearchCursor(in.Cursor)
	}
	if err == nil && in.Session != "" {
		err = holdfast.ValidateID("session", in.Session)
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	tenantID := tenantOf(ctx)
	leave, err := a.searches.enter(ctx, tenantID)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	defer leave()
	found, err := a.cfg.Search.Search(ctx, tenantID, p)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	page := SearchPage{Hits: []SearchHit{}, Indexing: found.Indexing}
	if n := len(found.Hits); n == p.Limit {
		end := found.Hits[n-1]
		page.Next = searchCursor(search.Place{At: end.At, Session: end.Session, Seq: end.Seq})
	}
	// What was deleted a moment ago the archive may not know yet.
	found.Hits = slices.DeleteFunc(found.Hits, func(h search.Hit) bool {
		return a.recent.gone(holdfast.SessionRef{Tenant: tenantID, Session: h.Session})
	})
	for _, h := range found.Hits {
		hit := SearchHit{
			Session: h.Session, Title: h.Title, Seq: h.Seq, CreatedAt: h.At, Role: string(h.Role), AgentName: h.Agent, Run: h.Run, Snippet: []SnippetPart{},
		}
		for _, part := range p.Query.Snippet(h.Text) {
			hit.Snippet = append(hit.Snippet, SnippetPart(part))
		}
		page.Hits = append(page.Hits, hit)
	}
	return &struct{ Body SearchPage }{page}, nil
}

// searchCursor makes the cursor of the page behind a hit.
func searchCursor(p search.Place) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.At.UnixMicro(), 10) + ":" + strconv.FormatUint(p.Seq, 10) + ":" + p.Session))
}

// parseSearchCursor reads what searchCursor made; "" is the first page.
func parseSearchCursor(s string) (search.Place, error) {
	if s == "" {
		return search.Place{}, nil
	}
	bad := holdfast.Errorf(holdfast.CodeInvalid, "cursor: not one that a search gave out")
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return search.Place{}, bad
	}
	parts := strings.SplitN(string(raw), ":", 3)
	if len(parts) != 3 {
		return search.Place{}, bad
	}
	micros, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return search.Place{}, bad
	}
	// What a store can keep, so that a cursor that was made up is no failure of ours.
	at := time.UnixMicro(micros).UTC()
	seq, err := strconv.ParseUint(parts[1], 10, 63)
	if err != nil || at.Year() < 1 || at.Year() > 9999 || holdfast.ValidateID("session id", parts[2]) != nil {
		return search.Place{}, bad
	}
	return search.Place{At: at, Session: parts[2], Seq: seq}, nil
}

package httpapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/search"
)

func TestSearch(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{
		`{"id":"a","title":"Trip to Rome","agent":"demo","metadata":{"team":"blue","kind":"trip"}}`,
		`{"id":"b","title":"trip to Oslo","agent":"team","metadata":{"team":"red"}}`,
		`{"id":"c","title":"Taxes","agent":"demo"}`,
	} {
		w.mustCall("POST", "/v1/sessions", body, nil)
	}
	for _, id := range []string{"a", "b", "c"} {
		w.archived(id)
	}
	ids := func(query string) string {
		t.Helper()
		var page struct {
			Sessions []struct{ ID string }
			Next     string
		}
		w.mustCall("GET", "/v1/sessions?"+query, "", &page)
		out := []string{}
		for _, s := range page.Sessions {
			out = append(out, s.ID)
		}
		return strings.Join(out, " ") + map[bool]string{true: " …"}[page.Next != ""]
	}
	for query, want := range map[string]string{
		"q=trip":                                "b a",
		"q=ROME":                                "a",
		"q=nothing":                             "",
		"agent=demo":                            "c a",
		"agent=demo.yaml&q=t":                   "c a",
		"status=idle":                           "c b a",
		"status=running":                        "",
		"metadata=team:red":                     "b",
		"metadata=team:blue&metadata=kind:trip": "a",
		"metadata=team:blue&metadata=kind:tour": "",
		"q=trip&limit=1":                        "b …",
	} {
		if got := ids(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	// A page goes on within the search.
	var page struct{ Next string }
	w.mustCall("GET", "/v1/sessions?q=trip&limit=1", "", &page)
	if got := ids("q=trip&cursor=" + url.QueryEscape(page.Next)); got != "a" {
		t.Errorf("the second page: %q", got)
	}
	// What is deleted is gone at once, also from a search.
	release := w.faults.hold()
	w.mustCall("DELETE", "/v1/sessions/a", "", nil)
	if got := ids("q=trip"); got != "b" {
		t.Errorf("after the deletion: %q", got)
	}
	release()
	w.refusals(
		[5]string{"GET", "/v1/sessions?status=asleep", "", "400", "status"},
		[5]string{"GET", "/v1/sessions?metadata=team", "", "400", "metadata"},
		[5]string{"GET", "/v1/sessions?query=x", "", "400", "query"},
		[5]string{"GET", "/v1/sessions?q=" + strings.Repeat("x", 201), "", "400", "q"},
	)
}

func TestUsage(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Usage = c.Store.(storeFaults).f.Store.(events.UsageStore) })
	for _, id := range []string{"u1", "u2"} {
		w.mustCall("POST", "/v1/sessions", `{"id":"`+id+`"}`, nil)
		w.mustCall("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"hello"}]}`, nil)
		w.mustCall("GET", "/v1/sessions/"+id+"/events?until=idle&types=run_finished", "", nil)
		w.archived(id)
	}
	usage := func(query string) (page httpapi.UsagePage) {
		t.Helper()
		w.mustCall("GET", "/v1/usage"+query, "", &page)
		return page
	}
	today := time.Now().UTC().Format(time.DateOnly)
	if got := usage("").Usage; len(got) != 1 || got[0].Calls != 2 || got[0].InputTokens != 20 || got[0].OutputTokens != 6 || got[0].Day != "" {
		t.Errorf("the sum: %+v", got)
	}
	rows := usage("?by=session,agent,day&from=" + today).Usage
	if len(rows) != 2 || rows[0].Session != "u1" || rows[0].Agent != "demo.yaml" || rows[0].Calls != 1 || rows[1].Session != "u2" {
		t.Errorf("by session: %+v", rows)
	}
	first := usage("?by=session,agent&limit=1")
	second := usage("?by=session,agent&limit=1&cursor=" + first.Next)
	if len(first.Usage) != 1 || len(second.Usage) != 1 || second.Usage[0].Session != "u2" {
		t.Errorf("pages: %+v, %+v", first, second)
	}
	if last := usage("?by=session,agent&limit=1&cursor=" + second.Next); len(last.Usage) != 0 || last.Next != "" {
		t.Errorf("the last page: %+v", last)
	}
	if got := usage("?session=u1&agent=demo").Usage[0].Calls; got != 1 {
		t.Errorf("of one session: %d calls", got)
	}
	if got := usage("?to=2000-01-01").Usage[0].Calls; got != 0 {
		t.Errorf("of long ago: %d calls", got)
	}
	w.refusals(
		[5]string{"GET", "/v1/usage?from=yesterday", "", "400", "from"},
		[5]string{"GET", "/v1/usage?by=hour", "", "400", "hour"},
		[5]string{"GET", "/v1/usage?by=day,day", "", "400", "day"},
		[5]string{"GET", "/v1/usage?limit=0", "", "400", "limit"},
		[5]string{"GET", "/v1/usage?cursor=x&by=day", "", "400", "cursor"},
		[5]string{"GET", fmt.Sprintf("/v1/usage?cursor=%s&by=day", first.Next), "", "400", "cursor"},
		[5]string{"GET", "/v1/usage?tenant=other", "", "400", "tenant"},
	)
	without := newWorld(t)
	without.refusals([5]string{"GET", "/v1/usage", "", "501", "not_offered"})
}

func TestSearchMessages(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Search = c.Store.(storeFaults).f.Store.(search.Store) })
	index := search.New(search.Config{Index: w.store.(search.Store), Log: w.store})
	indexed := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			w.archived(id)
		}
		for range 3 { // the notes, then the walk
			if r, err := index.Round(t.Context()); err != nil || !r.Led {
				t.Fatalf("%+v, %v", r, err)
			}
		}
	}
	find := func(query string) (page httpapi.SearchPage) {
		t.Helper()
		w.mustCall("GET", "/v1/search?"+query, "", &page)
		return page
	}
	for id, text := range map[string]string{"s1": "hello <b>Rome</b> & around", "s2": "hello"} {
		w.mustCall("POST", "/v1/sessions", `{"id":"`+id+`","title":"T `+id+`"}`, nil)
		w.mustCall("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"`+text+`"}]}`, nil)
		w.mustCall("GET", "/v1/sessions/"+id+"/events?until=idle&types=run_finished", "", nil)
	}
	if got := find("q=rome"); !got.Indexing || len(got.Hits) != 0 {
		t.Errorf("before the index: %+v", got)
	}
	indexed("s1", "s2")
	got := find("q=rome")
	if got.Indexing || got.Next != "" || len(got.Hits) != 1 {
		t.Fatalf("%+v", got)
	}
	hit := got.Hits[0]
	want := []httpapi.SnippetPart{{Text: "hello <b>"}, {Text: "Rome", Hit: true}, {Text: "</b> & around"}}
	if hit.Session != "s1" || hit.Title == "" || hit.Role != "user" || !slices.Equal(hit.Snippet, want) || hit.CreatedAt.IsZero() {
		t.Errorf("the hit: %+v", hit)
	}
	// The session is there as it was then, and the message is the one that was found.
	var doc httpapi.SessionDocument
	w.mustCall("GET", fmt.Sprintf("/v1/sessions/s1?at=%d", hit.Seq), "", &doc)
	if n := len(doc.Messages); n == 0 || doc.Messages[n-1].Seq != hit.Seq || doc.Messages[n-1].Message.Content != "hello <b>Rome</b> & around" {
		t.Errorf("the session at %d: %+v", hit.Seq, doc.Messages)
	}
	// Every message of a document is found, at its seq, and nothing else.
	w.mustCall("GET", "/v1/sessions/s1", "", &doc)
	for _, m := range doc.Messages {
		if m.Message.Role != holdfast.RoleUser && m.Message.Role != holdfast.RoleAssistant {
			continue
		}
		hits := find("session=s1&role=" + string(m.Message.Role) + "&q=" + url.QueryEscape(`"`+m.Message.Content+`"`)).Hits
		if len(hits) != 1 || hits[0].Seq != m.Seq || hits[0].AgentName != m.AgentName || hits[0].Run != m.Run {
			t.Errorf("%q at %d: %+v", m.Message.Content, m.Seq, hits)
		}
	}
	// Pages, of messages and of sessions.
	for _, by := range []string{"message", "session"} {
		var seen []string
		cursor := ""
		for range 10 {
			page := find("q=hello&limit=1&by=" + by + "&cursor=" + cursor)
			for _, h := range page.Hits {
				seen = append(seen, h.Session)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		slices.Sort(seen)
		if distinct := slices.Compact(slices.Clone(seen)); len(distinct) != 2 || by == "session" && len(seen) != 2 {
			t.Errorf("by %s: %q", by, seen)
		}
	}
	// What is deleted is gone at once, also while the archive does not know it.
	release := w.faults.hold()
	w.mustCall("DELETE", "/v1/sessions/s1", "", nil)
	if got := find("q=rome"); len(got.Hits) != 0 {
		t.Errorf("after the deletion: %+v", got)
	}
	release()
	without := newWorld(t)
	without.refusals([5]string{"GET", "/v1/search?q=x", "", "501", "not_offered"})
}

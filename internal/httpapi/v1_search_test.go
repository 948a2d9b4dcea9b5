package httpapi_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
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

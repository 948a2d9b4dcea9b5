package app_test

import (
	"net/url"
	"path/filepath"
	"testing"
	"time"
)

// TestSearchOffAndOn: with the search turned off nothing is noted and the route says
// so; when it is on again, what was said meanwhile is found.
func TestSearchOffAndOn(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	say := func(base, text string) {
		t.Helper()
		var doc struct{ ID string }
		call(t, "POST", base+"/v1/sessions", `{"agent":"demo"}`, 201, &doc)
		call(t, "POST", base+"/v1/sessions/"+doc.ID+"/runs", `{"messages":[{"content":"`+text+`"}]}`, 200, nil)
		call(t, "GET", base+"/v1/sessions/"+doc.ID+"/events?until=idle&types=run_finished", "", 200, nil)
	}
	find := func(base, text string) (hits int, indexing bool) {
		t.Helper()
		var page struct {
			Hits     []struct{ Session string }
			Indexing bool
		}
		call(t, "GET", base+"/v1/search?role=user&q="+url.QueryEscape(text), "", 200, &page)
		return len(page.Hits), page.Indexing
	}
	found := func(base, text string) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range 3000 { // a minute
			if hits, indexing := find(base, text); hits == 1 && !indexing {
				return
			}
			<-tick.C
		}
		t.Fatalf("%q is not found", text)
	}
	base, stop := start(t, data)
	say(base, "first")
	found(base, "first")
	stop()

	base, stop = start(t, data, "HOLDFAST_SEARCH=false")
	call(t, "GET", base+"/v1/search?q=first", "", 501, nil)
	say(base, "second")
	stop()

	base, _ = start(t, data)
	found(base, "second")
	found(base, "first")
}

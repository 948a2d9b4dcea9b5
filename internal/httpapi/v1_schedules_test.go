package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/httpapi"
)

func TestScheduleRoutes(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.MaxBody = contractMaxBody })
	const (
		v1    = "/v1/schedules"
		say   = `"agent":"demo","messages":[{"content":"hello"}]`
		daily = `"cron":"30 7 * * *","timezone":"Europe/Berlin",` + say
	)
	w.mustCall("POST", "/v1/sessions", `{"id":"s"}`, nil)
	done := w.rows(
		row{"POST", v1, `{"id":"a",` + daily + `}`, 201, `"agent":"demo.yaml"`},
		row{"POST", v1, `{"id":"a",` + daily + `}`, 409, "conflict"},
		row{"POST#first", v1, `{"every":"1h","paused":true,` + say + `}`, 201, `"paused":true`},
		row{"POST#first", v1, `{"every":"1h","paused":true,` + say + `}`, 200, `"paused":true`},
		row{"POST#first", v1, `{"every":"2h",` + say + `}`, 422, "key_reused"},
		row{"POST", v1, `{"cron":"x",` + say + `}`, 400, "invalid"},
		row{"POST", v1, `{"at":"noon",` + say + `}`, 400, "invalid"},
		row{"POST", v1, `{"every":"1h","agent":"demo","messages":[]}`, 400, "invalid"},
		row{"POST", v1, `{"every":"1h","overlap":"cancel",` + say + `}`, 400, "invalid"},
		row{"POST", v1, `{"every":"1h","session":"nobody",` + say + `}`, 404, "not_found"},
		row{"POST", v1, `{"every":"1h","session":"s","messages":[{"content":"x"}]}`, 400, "invalid"}, // it has no agent yet
		row{"POST", v1, strings.Replace(`{"every":"1h",`+say+`}`, "demo", "nobody", 1), 404, "not_found"},
		row{"POST", v1, bigBody, 413, "too_large"},
		row{"POST", v1, `{"id":"b","every":"36h","session":"s","paused":true,` + say + `}`, 201, `"paused":true`},
		row{"GET", v1, "", 200, `"id":"b"`},
		row{"GET", v1 + "?limit=0", "", 400, "invalid"},
		row{"GET", v1 + "?cursor=x", "", 400, "invalid"},
		row{"GET", v1 + "/a", "", 200, `"timezone":"Europe/Berlin"`},
		row{"GET", v1 + "/nobody", "", 404, "not_found"},
		row{"GET", v1 + "/no.id", "", 400, "invalid"},
		row{"PUT", v1 + "/a", `{"every":"2h",` + say + `}`, 200, `"revision":2`},
		row{"PUT", v1 + "/a", `{"every":"soon",` + say + `}`, 400, "invalid"},
		row{"PUT", v1 + "/nobody", `{"every":"2h",` + say + `}`, 404, "not_found"},
		row{"PUT", v1 + "/a", bigBody, 413, "too_large"},
		row{"POST", v1 + "/a/pause", "", 200, `"paused":true`},
		row{"POST", v1 + "/no.id/pause", "", 400, "invalid"},
		row{"POST", v1 + "/nobody/pause", "", 404, "not_found"},
		row{"POST", v1 + "/a/resume", "", 200, `"paused":false`},
		row{"POST", v1 + "/no.id/resume", "", 400, "invalid"},
		row{"POST", v1 + "/nobody/resume", "", 404, "not_found"},
		row{"DELETE", v1 + "/b", "", 204, ""},
		row{"DELETE", v1 + "/b", "", 404, "not_found"},
		row{"DELETE", v1 + "/no.id", "", 400, "invalid"},
	)
	w.complete(v1, done)

	// A paused one has no next time, a resumed one has; neither counts what passed.
	var doc httpapi.ScheduleDoc
	w.mustCall("POST", v1+"/a/pause", "", &doc)
	if !doc.NextAt.IsZero() || doc.Revision != 5 {
		t.Errorf("paused: %+v", doc)
	}
	w.mustCall("POST", v1+"/a/pause", "", &doc)
	if doc.Revision != 5 {
		t.Errorf("paused twice: %+v", doc)
	}
	w.mustCall("POST", v1+"/a/resume", "", &doc)
	if in := time.Until(doc.NextAt); in <= 0 || in > 2*time.Hour || doc.Reason != "" || doc.Last != nil {
		t.Errorf("resumed: %+v", doc)
	}

	// The same request again is the same schedule, another one is refused.
	again := func(body string, want int) string {
		t.Helper()
		st, answer := w.call("POST", v1, body, "Idempotency-Key", "k")
		if st != want {
			t.Errorf("%s: %d %s", body, st, answer)
		}
		return answer
	}
	if first := again(`{`+daily+`}`, 201); first != again(`{`+daily+`}`, 200) {
		t.Error("the answers differ")
	}
	again(`{"every":"1h",`+say+`}`, 422)
	// An id that is taken is named, whatever the key.
	again(`{"id":"a","every":"2h",`+say+`}`, 200)
	if answer := again(`{"id":"a",`+daily+`}`, 409); !strings.Contains(answer, "there is a schedule a already") || strings.Contains(answer, "Idempotency-Key") {
		t.Errorf("an id that is taken: %s", answer)
	}

	for i := range 5 {
		w.mustCall("POST", v1, fmt.Sprintf(`{"id":"p%d","every":"1h",%s}`, i, say), nil)
	}
	var ids []string
	cursor := ""
	for {
		var page httpapi.SchedulePage
		w.mustCall("GET", v1+"?limit=3&cursor="+cursor, "", &page)
		for _, s := range page.Schedules {
			ids = append(ids, s.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(ids) != 8 || ids[0] != "p4" || ids[7] != "a" || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 8 {
		t.Errorf("page by page: %v", ids)
	}
}

package app_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// TestSchedules: a schedule says its message again and again in sessions of its
// own, lets times go by while the run before waits, says when and what, and goes
// on in the next process.
func TestSchedules(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	base, stop := start(t, data)
	type doc struct {
		Fired  int64
		NextAt time.Time `json:"next_at"`
		Last   struct {
			Outcome, Session, Run, Detail string
			At, Began                     time.Time
		}
	}
	read := func(id string) (d doc) {
		t.Helper()
		call(t, http.MethodGet, base+"/v1/schedules/"+id, "", http.StatusOK, &d)
		return d
	}
	until := func(what, id string, cond func(d doc) bool) doc {
		t.Helper()
		deadline := time.After(60 * time.Second)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			d := read(id)
			if cond(d) {
				return d
			}
			select {
			case <-deadline:
				t.Fatalf("waited a minute for %s: %+v", what, d)
			case <-tick.C:
			}
		}
	}
	call(t, http.MethodPost, base+"/v1/schedules", `{"id":"greet","every":"1s","agent":"demo","messages":[{"content":"hello"}]}`, http.StatusCreated, nil)
	call(t, http.MethodPost, base+"/v1/schedules", `{"id":"waits","every":"1s","agent":"demo","messages":[{"content":"remember the milk"}]}`, http.StatusCreated, nil)
	first := until("a first run", "greet", func(d doc) bool { return d.Fired > 0 })
	second := until("a second run in another session", "greet", func(d doc) bool {
		return d.Fired > 1 && d.Last.Outcome == "started" && d.Last.Session != first.Last.Session
	})
	if second.Last.Began.Before(second.Last.At) || !second.NextAt.After(second.Last.At) {
		t.Errorf("times: %+v", second)
	}
	// The run of the other one waits for an approval: nothing else begins.
	waiting := until("a time that goes by", "waits", func(d doc) bool { return d.Last.Outcome == "skipped" })
	if waiting.Fired != 1 || waiting.Last.Detail == "" {
		t.Errorf("while a run waits: %+v", waiting)
	}

	stop()
	base, _ = start(t, data)
	until("a run in the next process", "greet", func(d doc) bool { return d.Fired > second.Fired })
	call(t, http.MethodPost, base+"/v1/schedules/greet/pause", "", http.StatusOK, nil)
	paused := read("greet")
	if !paused.NextAt.IsZero() {
		t.Errorf("paused: %+v", paused)
	}
	// Every firing has one session with one run, and says which.
	var list struct {
		Sessions []struct {
			ID       string
			Metadata map[string]string
		}
	}
	until("all sessions in the list", "greet", func(d doc) bool {
		call(t, http.MethodGet, base+"/v1/sessions?metadata=schedule:greet&limit=1000", "", http.StatusOK, &list)
		return int64(len(list.Sessions)) >= d.Fired
	})
	times := map[string]bool{}
	for _, s := range list.Sessions {
		times[s.Metadata["scheduled_for"]] = true
		var session struct {
			Runs []struct{ Agent, Status string }
		}
		call(t, http.MethodGet, base+"/v1/sessions/"+s.ID, "", http.StatusOK, &session)
		if len(session.Runs) != 1 || session.Runs[0].Agent != "demo.yaml" {
			t.Errorf("session %s: %+v", s.ID, session)
		}
	}
	// A firing that was under way at the pause may not be noted yet.
	if n := int64(len(list.Sessions)); n < paused.Fired || int64(len(times)) != n {
		t.Errorf("%d firings, %d sessions, %d times", paused.Fired, n, len(times))
	}
	call(t, http.MethodDelete, base+"/v1/schedules/greet", "", http.StatusNoContent, nil)
}

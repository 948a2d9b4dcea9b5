package httpapi_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

// position opens a stream of JSON lines and returns the first line.
func (w *world) position(id, query string) string {
	w.t.Helper()
	resp := w.open(w.t.Context(), http.MethodGet, "/v1/sessions/"+id+"/events?"+query, "", "Accept", "application/x-ndjson")
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %d %q %v", query, resp.StatusCode, line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// Every stream begins with where the session stands, whatever of it is recorded.
func TestStreamPosition(t *testing.T) {
	for _, recorded := range []bool{true, false} {
		t.Run(fmt.Sprintf("recorded=%v", recorded), func(t *testing.T) {
			w := newWorld(t, func(c *httpapi.Config) {
				if recorded {
					c.FeedLinger = time.Millisecond // feeds begin anew, from the row
				}
			})
			if !recorded {
				defer w.faults.hold()()
			}
			ref := holdfast.SessionRef{Tenant: "default", Session: "s"}
			if _, err := events.Create(t.Context(), w.bus, w.store, ref, &holdfast.SessionCreatedEvent{}); err != nil {
				t.Fatal(err)
			}
			tail, err := events.ReadTail(t.Context(), w.bus, w.store, ref)
			if err != nil {
				t.Fatal(err)
			}
			log, _, err := events.Claim(t.Context(), w.bus, w.store, ref, tail, "w", "command")
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close(t.Context()) //nolint:errcheck // the test is over
			if !recorded {
				live := w.open(t.Context(), http.MethodGet, "/v1/sessions/s/events", "") // keeps the feed
				defer live.Body.Close()
			}
			for i, step := range []struct {
				event holdfast.Event
				want  string
			}{
				{&holdfast.RunQueuedEvent{Run: "r", Agent: "demo"}, `"status":"queued"`},
				{&holdfast.RunStartedEvent{Run: "r", Agent: "demo"}, `"status":"running","run":"r"`},
				{&holdfast.AgentChoiceEvent{AgentContext: root, Content: "x"}, `"status":"running","run":"r"`},
				{&holdfast.ToolCallConfirmationEvent{AgentContext: root, ToolCall: holdfast.NewToolCall("c", "touch", "{}")}, `"status":"running","run":"r"`},
				{&holdfast.SessionParkedEvent{Waiting: events.WaitingApproval}, `"status":"waiting","waiting":"approval","run":"r"`},
				{&holdfast.SessionClaimedEvent{Worker: "w", Reason: "command"}, `"status":"waiting","waiting":"approval","run":"r"`},
				{&holdfast.ToolCallDecidedEvent{ToolCallID: "c", Decision: "approve"}, `"status":"running","run":"r"`},
				{&holdfast.RunFinishedEvent{Run: "r", Reason: "stop"}, `"status":"idle"`},
				{&holdfast.SessionParkedEvent{Waiting: events.WaitingIdle}, `"status":"idle"`},
			} {
				if _, err := log.Add(t.Context(), "r", step.event); err != nil {
					t.Fatal(err)
				}
				if err := log.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				if recorded {
					w.archived("s")
				}
				head := i + 3
				want := fmt.Sprintf(`{"type":"stream_position","session":"s","after":2,"head":%d,%s}`, head, step.want)
				if got := w.position("s", "wait=false&after=2"); got != want {
					t.Errorf("what there is begins with\n%s, want\n%s", got, want)
				}
				// What is live may be a moment behind.
				w.until("a stream that begins with "+want, func() bool { return w.position("s", "after=2") == want })
			}
		})
	}
}

// A fork does not go on with what its origin has under way, and a store that is
// away keeps nobody from a stream.
func TestStreamPositionElsewhere(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	run := w.startRun(id, "gate")
	path := "/v1/sessions/" + id + "/events"
	at := 0
	w.until("the run to be at the gate", func() bool {
		log := w.stored(id)
		at = len(log)
		return log[at-1].Type == holdfast.TypeTokenUsage
	})
	w.archived(id)
	w.mustCall("POST", "/v1/sessions/"+id+"/forks", `{"id":"fork"}`, nil)
	if got := w.position("fork", "wait=false"); !strings.Contains(got, `"status":"idle"`) || strings.Contains(got, run) {
		t.Errorf("a fork begins with %s", got)
	}
	for query, want := range map[string]string{
		"wait=false":  fmt.Sprintf(`"head":%d,"status":"running","run":%q}`, at, run),
		"wait=20ms":   fmt.Sprintf(`"head":%d,"status":"running","run":%q}`, at, run),
		"until=idle":  fmt.Sprintf(`"head":%d,"status":"running","run":%q}`, at, run),
		"types=error": fmt.Sprintf(`"head":%d,"status":"running","run":%q}`, at, run),
	} {
		if got := w.position(id, fmt.Sprintf("%s&after=%d", query, at)); !strings.HasSuffix(got, want) {
			t.Errorf("%s begins with %s, want %s", query, got, want)
		}
	}
	w.faults.set(func() { w.faults.storeDown = true })
	if got, want := w.position(id, fmt.Sprintf("wait=false&after=%d", at)), fmt.Sprintf(`{"type":"stream_position","session":%q,"after":%d,"head":%d}`, id, at, at); got != want {
		t.Errorf("without the store a stream begins with %s, want %s", got, want)
	}
	w.faults.set(func() { w.faults.storeDown = false })

	// As a server-sent event it has a name and no id: Last-Event-ID stays what it was.
	first := fmt.Sprintf("event: position\ndata: {\"type\":\"stream_position\",\"session\":%q,\"after\":%d,\"head\":%d,\"status\":\"running\",\"run\":%q}\n\n", id, at-1, at, run)
	if _, body := w.call("GET", path+"?wait=false", "", "Last-Event-ID", fmt.Sprint(at-1)); !strings.HasPrefix(body, first+fmt.Sprintf("id: %d\n", at)) {
		t.Errorf("the stream begins with %.300s, want %s", body, first)
	}
	if _, body := w.call("GET", path+"?wait=false&position=false", ""); !strings.HasPrefix(body, "id: 1\n") {
		t.Errorf("without the position a stream begins with %.200s", body)
	}
	w.owner.gate <- struct{}{}
	w.mustCall("GET", path+"?until=idle", "", nil)
}

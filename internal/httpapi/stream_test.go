package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

// sse is one event as a client of a stream sees it.
type sse struct {
	Type string
	Seq  uint64
	Run  string
	Raw  string
}

// readEvents reads a stream as existing clients do: with a scanner that gives up
// at a line of 64 KiB. It returns at the end of the stream or when stop says so.
func readEvents(t testing.TB, r io.Reader, stop func(sse) bool) []sse {
	t.Helper()
	var all []sse
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if !ok {
			continue
		}
		e := sse{Raw: data}
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatalf("an event is no JSON: %v in %.200s", err, data)
		}
		if e.Type == "stream_position" {
			continue // no event of the log
		}
		all = append(all, e)
		if stop != nil && stop(e) {
			return all
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("the stream broke off: %v", err)
	}
	return all
}

func ofType(typ string) func(sse) bool { return func(e sse) bool { return e.Type == typ } }

// gapless checks that events are numbered from first without a gap.
func gapless(t testing.TB, all []sse, first uint64) {
	t.Helper()
	for i, e := range all {
		if e.Seq != first+uint64(i) {
			t.Fatalf("event %d of the stream has seq %d, want %d", i, e.Seq, first+uint64(i))
		}
	}
}

func (w *world) startRun(id, text string) string {
	w.t.Helper()
	var r struct{ Run string }
	w.mustCall("POST", "/v1/sessions/"+id+"/runs", fmt.Sprintf(`{"agent":"demo","messages":[{"content":%q}]}`, text), &r)
	return r.Run
}

func TestLegacyLinesStayShort(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	resp := w.open(t.Context(), "POST", "/api/sessions/"+id+"/agent/demo", `[{"role":"user","content":"big"}]`)
	defer resp.Body.Close()
	all := readEvents(t, resp.Body, nil)
	if last := all[len(all)-1]; last.Type != "session_title" {
		t.Fatalf("the stream ends with %s", last.Type)
	}
	text, pieces := "", 0
	for _, e := range all {
		if len(e.Raw)+len("data: \n") >= 64<<10 {
			t.Errorf("a line of %s has %d bytes", e.Type, len(e.Raw))
		}
		var m struct {
			Content    string
			Response   string
			ToolCallID string            `json:"tool_call_id"`
			ToolCall   holdfast.ToolCall `json:"tool_call"`
			Result     holdfast.ToolCallOutcome
		}
		if err := json.Unmarshal([]byte(e.Raw), &m); err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case "agent_choice":
			text += m.Content
			pieces++
		case "tool_call":
			if !json.Valid([]byte(m.ToolCall.Function.Arguments)) || !strings.Contains(m.ToolCall.Function.Arguments, "/v1/sessions/"+id+"/events/") {
				t.Errorf("cut arguments: %.200s", m.ToolCall.Function.Arguments)
			}
		case "tool_call_response":
			if !strings.HasPrefix(m.Response, "ö<\nö<") || m.ToolCallID != "call_1" || m.Result.Output == "" {
				t.Errorf("cut response: %.100s", m.Response)
			}
			_, path, ok := strings.Cut(m.Response, "the whole: GET ")
			if !ok {
				t.Fatalf("no marker in %q", m.Response[len(m.Response)-200:])
			}
			_, whole := w.call("GET", strings.TrimSuffix(path, "]"), "")
			if want := strings.Repeat("ö<\n", bigSize/4); whole != want {
				t.Errorf("the whole output has %d bytes, want %d", len(whole), len(want))
			}
		}
	}
	if want := strings.Repeat("ö<\n", bigSize/4); text != want {
		t.Errorf("the text in %d pieces has %d bytes, want %d", pieces, len(text), len(want))
	}
}

func TestPartialToolCallsAddUp(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	resp := w.open(t.Context(), "POST", "/api/sessions/"+id+"/agent/demo", `[{"role":"user","content":"write"}]`)
	defer resp.Body.Close()
	all := readEvents(t, resp.Body, ofType("tool_call_confirmation"))
	before, total, count := "", 0, 0
	for _, e := range all {
		if e.Type != "partial_tool_call" {
			continue
		}
		var m struct {
			ToolCall holdfast.ToolCall `json:"tool_call"`
		}
		if err := json.Unmarshal([]byte(e.Raw), &m); err != nil {
			t.Fatal(err)
		}
		args := m.ToolCall.Function.Arguments
		if m.ToolCall.Function.Name != "touch" || m.ToolCall.Type != "function" || !strings.HasPrefix(args, before) || len(args) <= len(before) {
			t.Fatalf("partial call %+v does not continue %q", m.ToolCall, before)
		}
		before = args
		total += len(args)
		count++
	}
	if total > 12*8000 || count < 20 {
		t.Errorf("%d partial calls with %d bytes in all", count, total)
	}
	if last := all[len(all)-1]; !strings.Contains(last.Raw, "00000998") {
		t.Error("the confirmation does not have the arguments whole")
	}
}

func TestRunGoesOnWithoutItsClient(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	ctx, leave := context.WithCancel(t.Context())
	resp := w.open(ctx, "POST", "/api/sessions/"+id+"/agent/demo", `[{"role":"user","content":"gate"}]`)
	readEvents(t, resp.Body, ofType("token_usage"))
	leave()
	resp.Body.Close()
	w.until("the stream to end", func() bool { return w.api.LiveFeeds() <= 1 })
	w.owner.gate <- struct{}{}
	w.until("the run to finish", func() bool {
		log := w.stored(id)
		return log[len(log)-1].Type == holdfast.TypeSessionParked
	})
	_, doc := w.call("GET", "/api/sessions/"+id, "")
	if !strings.Contains(doc, "After.") {
		t.Errorf("the document misses what came after the client had left: %s", doc)
	}
}

func TestResumeFromAnyEvent(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	w.startRun(id, "hello")
	_, body := w.call("GET", "/v1/sessions/"+id+"/events?until=idle", "")
	all := readEvents(t, strings.NewReader(body), nil)
	gapless(t, all, 1)
	for after := range len(all) + 1 {
		_, body := w.call("GET", "/v1/sessions/"+id+"/events?until=idle&after=0", "", "Last-Event-ID", fmt.Sprint(after))
		rest := readEvents(t, strings.NewReader(body), nil)
		gapless(t, rest, uint64(after)+1)
		if len(rest) != len(all)-after {
			t.Fatalf("after %d: %d events, want %d", after, len(rest), len(all)-after)
		}
	}
}

// A stream that waits for a run that has finished ends.
func TestUntilAnOldRun(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	run := w.startRun(id, "hello")
	_, body := w.call("GET", "/v1/sessions/"+id+"/events?until="+run, "")
	all := readEvents(t, strings.NewReader(body), nil)
	if last := all[len(all)-1]; last.Type != "run_finished" {
		t.Fatalf("the stream ends with %s", last.Type)
	}
	for _, after := range []int{len(all), len(all) + 1} {
		_, body = w.call("GET", fmt.Sprintf("/v1/sessions/%s/events?until=%s&after=%d", id, run, after), "")
		if rest := readEvents(t, strings.NewReader(body), nil); len(rest) != len(all)+1-after {
			t.Errorf("behind the run: %v", rest)
		}
	}
}

// A live frame that is lost, with others behind it or without, comes from the log.
func TestLostLiveFrames(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.FeedCheck = 100 * time.Millisecond })
	id := w.newSession()
	w.startRun(id, "gate")
	resp := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events?until=idle", "")
	defer resp.Body.Close()
	first := readEvents(t, resp.Body, ofType("token_usage"))
	w.faults.set(func() { w.faults.dropLive = true })
	w.owner.gate <- struct{}{}
	rest := readEvents(t, resp.Body, nil) // the check after silence finds them
	gapless(t, append(first, rest...), 1)

	w.faults.set(func() { w.faults.dropLive = false })
	after := rest[len(rest)-1].Seq
	resp = w.open(t.Context(), "GET", fmt.Sprintf("/v1/sessions/%s/events?after=%d", id, after), "")
	defer resp.Body.Close()
	w.faults.set(func() { w.faults.dropLive = true })
	run := w.startRun(id, "gate")
	w.until("the run to be at the gate", func() bool { return strings.Contains(fmt.Sprint(w.stored(id)), run) })
	w.faults.set(func() { w.faults.dropLive = false })
	w.owner.gate <- struct{}{}
	gapless(t, readEvents(t, resp.Body, ofType("session_parked")), after+1)
}

// Streams outlive an outage of the bus and the store.
func TestStreamOutlivesOutage(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.FeedCheck, c.FeedBuffer = 50*time.Millisecond, 1 })
	id := w.newSession()
	w.startRun(id, "gate")
	resp := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events?until=idle", "")
	defer resp.Body.Close()
	first := readEvents(t, resp.Body, ofType("token_usage"))
	w.faults.set(func() { w.faults.busDown, w.faults.storeDown, w.faults.dropLive = true, true, true })
	w.owner.gate <- struct{}{}
	w.until("the run to finish", func() bool {
		log := w.stored(id)
		return log[len(log)-1].Type == holdfast.TypeSessionParked
	})
	for _, req := range [][3]string{
		{"GET", "/v1/sessions/" + id, ""},
		{"GET", "/api/sessions/" + id, ""},
		{"GET", "/api/sessions", ""},
		{"POST", "/api/sessions", "null"},
		{"GET", "/v1/sessions/another/events", ""},
		{"POST", "/api/sessions/" + id + "/agent/demo", `[{"content":"x"}]`},
		{"POST", "/v1/sessions/" + id + "/runs", `{"agent":"demo","messages":[{"content":"x"}]}`},
	} {
		resp := w.open(t.Context(), req[0], req[1], req[2])
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), `"code":"unavailable"`) || strings.Contains(string(body), errDown.Error()) {
			t.Errorf("%s %s in an outage: %d %s", req[0], req[1], resp.StatusCode, body)
		}
	}
	if st, body := w.call("GET", "/readyz", ""); st != 503 || !strings.Contains(body, `"store":"unreachable"`) {
		t.Errorf("/readyz in an outage: %d %s", st, body)
	}
	w.faults.set(func() { w.faults.busDown, w.faults.storeDown, w.faults.dropLive = false, false, false })
	gapless(t, append(first, readEvents(t, resp.Body, nil)...), 1)
	if st, body := w.call("GET", "/readyz", ""); st != 200 {
		t.Errorf("/readyz afterwards: %d %s", st, body)
	}
}

// A command whose answer does not come in time is stored all the same, and the
// answer says so.
func TestOwnerDoesNotAnswerInTime(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	w.faults.set(func() { w.faults.mute = true })
	resp := w.open(t.Context(), "POST", "/api/sessions/"+id+"/agent/demo", `[{"role":"user","content":"hello"}]`)
	all := readEvents(t, resp.Body, nil)
	resp.Body.Close()
	if len(all) == 0 || all[0].Type != "user_message" || all[len(all)-1].Type != "session_title" {
		t.Fatalf("the legacy stream: %v", all)
	}
	// The same once more has nothing new to say: it finds the run that had it.
	resp = w.open(t.Context(), "POST", "/api/sessions/"+id+"/agent/demo", `[{"role":"user","content":"hello"}]`)
	again := readEvents(t, resp.Body, nil)
	resp.Body.Close()
	if len(again) != len(all) || again[0] != all[0] {
		t.Errorf("the run that the request joined: %v", again)
	}
	// A refusal that comes late is an event.
	resp = w.open(t.Context(), "POST", "/api/sessions/"+id+"/agent/demo/nobody", `[{"role":"user","content":"x"}]`)
	refused := readEvents(t, resp.Body, nil)
	resp.Body.Close()
	if len(refused) != 1 || refused[0].Type != "error" || !strings.Contains(refused[0].Raw, `"code":"not_found"`) {
		t.Errorf("the late refusal: %v", refused)
	}
	st, body := w.call("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"more"}]}`)
	if st != http.StatusAccepted || !strings.Contains(body, `"status":"pending"`) {
		t.Errorf("/v1: %d %s", st, body)
	}
	st, body = w.call("DELETE", "/api/sessions/"+id, "")
	if st != http.StatusAccepted {
		t.Errorf("DELETE: %d %s", st, body)
	}
}

func TestListShowsWhatThisProcessDid(t *testing.T) {
	w := newWorld(t)
	old := w.newSession()
	w.archived(old)
	release := w.faults.hold()
	defer release()
	id := w.newSession()
	list := func() string { _, b := w.call("GET", "/api/sessions", ""); return b }
	if got := list(); !strings.Contains(got, id) || strings.Index(got, id) > strings.Index(got, old) {
		t.Errorf("the new session is not first in the list: %s", got)
	}
	w.mustCall("DELETE", "/api/sessions/"+old, "", nil)
	if got := list(); strings.Contains(got, old) {
		t.Errorf("the deleted session is in the list: %s", got)
	}
	var page struct {
		Sessions []struct{ ID string }
		Next     string
	}
	for range 3 {
		w.newSession()
	}
	seen := map[string]int{}
	for path := "/v1/sessions?limit=2"; ; path = "/v1/sessions?limit=2&cursor=" + page.Next {
		page.Next, page.Sessions = "", nil
		w.mustCall("GET", path, "", &page)
		for _, s := range page.Sessions {
			seen[s.ID]++
		}
		if page.Next == "" {
			break
		}
	}
	if len(seen) != 4 {
		t.Errorf("the pages of a list of 4: %v", seen)
	}
	release()
	w.archived(id)
	if got := list(); strings.Count(got, id) != 1 {
		t.Errorf("the session is not once in the list: %s", got)
	}
}

// A client that does not read is cut, and nobody waits for it.
func TestSlowClientIsCut(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.WriteTimeout, c.FeedLinger = 300*time.Millisecond, time.Millisecond })
	id := w.newSession()
	for range 30 {
		w.startRun(id, "big")
	}
	conn, err := net.Dial("tcp", w.srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// It asks and never reads.
	fmt.Fprintf(conn, "GET /v1/sessions/%s/events HTTP/1.1\r\nHost: x\r\n\r\n", id)
	w.until("all runs to finish", func() bool {
		finished := 0
		for _, e := range w.stored(id) {
			if e.Type == holdfast.TypeRunFinished {
				finished++
			}
		}
		return finished == 30
	})
	resp := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events?wait=false", "")
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil || n < 10<<20 {
		t.Fatalf("another reader got %d bytes: %v", n, err)
	}
	w.until("the slow client to be cut", func() bool { return w.api.LiveFeeds() == 0 })
}

// Many readers of one session, beginning anywhere, all see every event once.
func TestManyReaders(t *testing.T) {
	const readers = 200
	w := newWorld(t)
	id := w.newSession()
	w.startRun(id, "gate")
	w.until("the gate", func() bool { return len(w.stored(id)) >= 11 })
	var wg sync.WaitGroup
	ready := make(chan struct{}, readers)
	for i := range readers {
		wg.Go(func() {
			after := uint64(i % 10)
			resp := w.open(t.Context(), "GET", fmt.Sprintf("/v1/sessions/%s/events?until=idle&after=%d", id, after), "")
			defer resp.Body.Close()
			first := readEvents(t, resp.Body, func(e sse) bool { return e.Seq == 11 })
			ready <- struct{}{}
			gapless(t, append(first, readEvents(t, resp.Body, nil)...), after+1)
		})
	}
	for range readers {
		<-ready
	}
	if n := w.api.LiveFeeds(); n != 1 {
		t.Errorf("%d feeds for one session", n)
	}
	w.owner.gate <- struct{}{}
	wg.Wait()
}

func TestIdleFeedsEnd(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.FeedLinger = 20 * time.Millisecond })
	for range 5 {
		id := w.newSession()
		w.startRun(id, "hello")
		w.call("GET", "/v1/sessions/"+id+"/events?until=idle", "")
	}
	w.until("the feeds to end", func() bool { return w.api.LiveFeeds() == 0 })
}

func TestHeartbeat(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Heartbeat = 20 * time.Millisecond })
	id := w.newSession()
	for accept, want := range map[string]string{"text/event-stream": ": alive\n", "application/x-ndjson": "\n"} {
		resp := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events?after=1&position=false", "", "Accept", accept)
		r := bufio.NewReader(resp.Body)
		if line, err := r.ReadString('\n'); err != nil || line != want {
			t.Errorf("%s: %q, %v; want a heartbeat", accept, line, err)
		}
		resp.Body.Close()
	}
}

// Streams end when the process stops, so that it can.
func TestCloseEndsStreams(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	resp := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events", "")
	defer resp.Body.Close()
	readEvents(t, resp.Body, ofType("session_created"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := w.srv.Config.Shutdown(ctx); err != nil {
		t.Fatalf("shutdown waits for a stream: %v", err)
	}
	readEvents(t, resp.Body, nil)
}

// A session that is deleted ends its streams.
func TestDeletionEndsStreams(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	resp := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events", "")
	defer resp.Body.Close()
	legacy := w.open(t.Context(), "POST", "/api/sessions/"+id+"/agent/demo", `[{"content":"gate"}]`)
	defer legacy.Body.Close()
	readEvents(t, legacy.Body, ofType("token_usage"))
	w.mustCall("DELETE", "/v1/sessions/"+id, "", nil)
	all := readEvents(t, resp.Body, nil)
	if last := all[len(all)-1]; last.Type != "session_deleted" {
		t.Errorf("the stream ends with %s", last.Type)
	}
	readEvents(t, legacy.Body, nil)
}

// Another process of the API streams the same events.
func TestAnotherProcess(t *testing.T) {
	w := newWorld(t)
	other, err := httpapi.New(httpapi.Config{Bus: w.bus, Store: w.store, Commands: w.bus, Agents: testLibrary(nil)})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(other)
	t.Cleanup(func() { other.Close(); srv.Close() })
	id := w.newSession()
	w.startRun(id, "gate")
	get := func(base string) (*http.Response, []sse) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", base+"/v1/sessions/"+id+"/events?until=idle", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp, readEvents(t, resp.Body, ofType("token_usage"))
	}
	r1, e1 := get(w.srv.URL)
	defer r1.Body.Close()
	r2, e2 := get(srv.URL)
	defer r2.Body.Close()
	w.owner.gate <- struct{}{}
	e1, e2 = append(e1, readEvents(t, r1.Body, nil)...), append(e2, readEvents(t, r2.Body, nil)...)
	gapless(t, e1, 1)
	if fmt.Sprint(e1) != fmt.Sprint(e2) {
		t.Error("two processes streamed different events")
	}
}

var _ events.Bus = (*faults)(nil)

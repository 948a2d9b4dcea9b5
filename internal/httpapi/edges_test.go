package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

// TestTricklingBodies: whoever sends a body by and by is refused when its time is
// over, and holds no place for imports any more.
func TestTricklingBodies(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.BodyTime = 300 * time.Millisecond })
	for _, path := range []string{"/v1/sessions/import", "/v1/agents", "/v1/sessions/import"} {
		conn, err := net.Dial("tcp", w.srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		answered := make(chan struct{})
		trickled := make(chan struct{})
		go func() { // never a pause that would be too long for itself
			defer close(trickled)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-answered:
					return
				case <-tick.C:
					if _, err := conn.Write([]byte(" ")); err != nil {
						return
					}
				}
			}
		}()
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		close(answered)
		<-trickled
		wantRefused(t, "a body that trickles", path, resp, string(body), "timeout", 408)
	}
	w.refusals([5]string{"POST", "/v1/sessions/import", "x", "400", "invalid"})
}

// slowReader is a body whose sender has taken too long.
type slowReader struct{}

func (slowReader) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// TestLateBodies: every mount says in its own form that the body did not come.
func TestLateBodies(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	for _, path := range []string{"/api/sessions/" + id + "/agent/demo", "/v1/responses", "/v1/sessions/" + id + "/messages"} {
		req := httptest.NewRequestWithContext(t.Context(), "POST", path, slowReader{})
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		w.api.ServeHTTP(rec, req)
		if rec.Code != http.StatusRequestTimeout || !strings.Contains(rec.Body.String(), `"code":"timeout"`) {
			t.Errorf("%s: %d %s; want 408 and timeout", path, rec.Code, rec.Body)
		}
	}
}

// TestBatchOfDeletions: a thousand ids are one request, and what somebody else has
// deleted is deleted.
func TestBatchOfDeletions(t *testing.T) {
	w := newWorld(t)
	var ids, unknown []string
	for range 40 {
		ids = append(ids, w.newSession())
	}
	w.mustCall("DELETE", "/api/sessions/"+ids[7], "", nil)
	for len(unknown) < 60 {
		unknown = append(unknown, fmt.Sprintf("nobody-%d", len(unknown)))
	}
	request := func(ids []string) string {
		t.Helper()
		b, err := json.Marshal(map[string]any{"session_ids": ids})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	type outcome struct {
		Deleted int      `json:"deleted_count"`
		Failed  int      `json:"failed_count"`
		IDs     []string `json:"failed_ids"`
	}
	// The same request twice at once: what one of them deletes is deleted for both.
	outcomes := make(chan outcome)
	for range 2 {
		go func() {
			var o outcome
			st, body := w.call("POST", "/api/sessions/batch/delete", request(append(slices.Clone(ids), unknown...)))
			if err := json.Unmarshal([]byte(body), &o); err != nil || st != 200 {
				t.Errorf("%d %s", st, body)
			}
			outcomes <- o
		}()
	}
	for range 2 {
		if o := <-outcomes; o.Deleted != len(ids) || o.Failed != len(unknown) || !slices.Equal(o.IDs, unknown) {
			t.Errorf("%d deleted, %d failed: %v", o.Deleted, o.Failed, o.IDs[:min(3, len(o.IDs))])
		}
	}
	for _, id := range ids {
		if st, _ := w.call("GET", "/api/sessions/"+id, ""); st != 404 {
			t.Errorf("%s: %d", id, st)
		}
	}
	many := func(n int) string {
		list := slices.Clone(ids)
		for len(list) < n {
			list = append(list, fmt.Sprintf("nobody-%d", len(list)))
		}
		return request(list)
	}
	if st, body := w.call("POST", "/api/sessions/batch/delete", many(1000)); st != 200 || !strings.Contains(body, `"deleted_count":40,"failed_count":960`) {
		t.Errorf("%d %.200s", st, body)
	}
	if st, body := w.call("POST", "/api/sessions/batch/delete", request([]string{ids[0], ids[0], "nobody", "no.id"})); st != 200 || !strings.Contains(body, `"deleted_count":2`) {
		t.Errorf("%d %s", st, body)
	}
	if st, _ := w.call("POST", "/api/sessions/batch/delete", many(1001)); st != 400 {
		t.Errorf("one too many: %d", st)
	}
}

// TestStreamFromTheMiddleOfACall: of a call whose first piece the stream does not
// have it gives no arguments that only look whole, and of all others what the whole
// stream gives.
func TestStreamFromTheMiddleOfACall(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	resp := w.open(t.Context(), "POST", "/api/sessions/"+id+"/agent/demo", `[{"role":"user","content":"write"}]`)
	readEvents(t, resp.Body, ofType("tool_call_confirmation"))
	resp.Body.Close()
	var pieces []uint64
	for _, e := range w.stored(id) {
		if e.Type == holdfast.TypePartialToolCall {
			pieces = append(pieces, e.Seq)
		}
	}
	if len(pieces) < 20 {
		t.Fatalf("the call has %d pieces", len(pieces))
	}
	partial := func(since uint64) (n int) {
		t.Helper()
		resp := w.open(t.Context(), "GET", fmt.Sprintf("/api/sessions/%s/events?since=%d", id, since), "")
		defer resp.Body.Close()
		for _, e := range readEvents(t, resp.Body, ofType("tool_call_confirmation")) {
			if e.Type != holdfast.TypePartialToolCall {
				continue
			}
			var m struct {
				ToolCall holdfast.ToolCall `json:"tool_call"`
			}
			if err := json.Unmarshal([]byte(e.Raw), &m); err != nil {
				t.Fatal(err)
			}
			if n++; m.ToolCall.Function.Name != "touch" || !strings.HasPrefix(m.ToolCall.Function.Arguments, "{") {
				t.Errorf("since %d: %.100s", since, e.Raw)
			}
		}
		return n
	}
	if n := partial(pieces[0] - 1); n < 20 {
		t.Errorf("from the first piece: %d", n)
	}
	if n := partial(pieces[10]); n != 0 {
		t.Errorf("from the middle: %d", n)
	}
}

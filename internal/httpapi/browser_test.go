package httpapi_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

func TestCORS(t *testing.T) {
	const app, evil = "https://app.example.com", "https://evil.example"
	w := newWorld(t, func(c *httpapi.Config) { c.CORSOrigins = []string{app} })
	ask := func(method, origin string, header ...string) *http.Response {
		t.Helper()
		resp := w.open(t.Context(), method, "/v1/sessions", "", append(header, "Origin", origin, "Sec-Fetch-Site", "cross-site")...)
		resp.Body.Close()
		return resp
	}
	pre := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"}
	r := ask("OPTIONS", app, pre...)
	if r.StatusCode != 204 || r.Header.Get("Access-Control-Allow-Origin") != app || !strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), "Idempotency-Key") ||
		!strings.Contains(r.Header.Get("Access-Control-Allow-Methods"), "PATCH") || r.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("preflight: %d %v", r.StatusCode, r.Header)
	}
	if r = ask("POST", app); r.StatusCode != 201 || r.Header.Get("Access-Control-Allow-Origin") != app || !strings.Contains(r.Header.Get("Access-Control-Expose-Headers"), "X-Request-Id") {
		t.Errorf("request of the page: %d %v", r.StatusCode, r.Header)
	}
	if r = ask("OPTIONS", evil, pre...); r.StatusCode == 204 || r.Header.Get("Access-Control-Allow-Origin") != "" || r.Header.Get("Vary") != "Origin" {
		t.Errorf("preflight of another page: %d %v", r.StatusCode, r.Header)
	}
	if r = ask("POST", evil); r.StatusCode != 403 || r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("request of another page: %d %v", r.StatusCode, r.Header)
	}
	// Without a configuration no page gets in.
	w = newWorld(t)
	if r = ask("POST", app); r.StatusCode != 403 {
		t.Errorf("nothing configured: %d", r.StatusCode)
	}
}

// Long answers are packed for those who accept it; streams never are.
func TestCompression(t *testing.T) {
	w := newWorld(t)
	gz := []string{"Accept-Encoding", "gzip"}
	resp := w.open(t.Context(), "GET", "/v1/openapi.json", "", gz...)
	defer resp.Body.Close()
	z, err := gzip.NewReader(resp.Body)
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(resp.Header.Get("Vary"), "Accept-Encoding") {
		t.Fatalf("%v, headers %v", err, resp.Header)
	}
	if text, err := io.ReadAll(z); err != nil || !json.Valid(text) {
		t.Errorf("unpacked: %v", err)
	}
	id := w.newSession()
	for _, c := range [][2]string{
		{"GET", "/v1/sessions/" + id + "/events?wait=false"},
		{"POST", "/api/sessions/" + id + "/agent/demo"},
		{"GET", "/api/ping"},
	} {
		body := ""
		if c[0] == "POST" {
			body = `[{"role":"user","content":"hello"}]`
		}
		resp := w.open(t.Context(), c[0], c[1], body, gz...)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s %s: %d, headers %v", c[0], c[1], resp.StatusCode, resp.Header)
		}
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") && resp.Header.Get("X-Accel-Buffering") != "no" {
			t.Errorf("%s %s may be buffered by a proxy", c[0], c[1])
		}
		resp.Body.Close()
	}
}

// The document of a long session is the same from the cache as from the log, at
// its end and before it, and is gone with the session.
func TestViewCache(t *testing.T) {
	w := newWorld(t)
	other, err := httpapi.New(httpapi.Config{Bus: w.bus, Store: w.store, Commands: w.bus, Agents: testLibrary(nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	id := w.newSession()
	for i := range 8 {
		if st, body := w.call("POST", "/api/sessions/"+id+"/agent/demo", fmt.Sprintf(`[{"role":"user","content":"hello %d"}]`, i)); st != 200 {
			t.Fatal(body)
		}
		n := len(w.stored(id))
		for _, path := range []string{"/v1/sessions/" + id, fmt.Sprintf("/v1/sessions/%s?at=%d", id, n/2), fmt.Sprintf("/v1/sessions/%s?at=%d", id, n)} {
			_, first := w.call("GET", path, "")
			_, second := w.call("GET", path, "")
			rec := httptest.NewRecorder()
			other.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
			fresh := rec.Body.String()
			if first != second || first != fresh {
				t.Fatalf("%s:\n%s\n%s\n%s", path, first, second, fresh)
			}
		}
	}
	if st, body := w.call("GET", "/v1/sessions/"+id+"?at=100000", ""); st != 410 {
		t.Errorf("beyond the end: %d %s", st, body)
	}
	w.mustCall("DELETE", "/api/sessions/"+id, "", nil)
	if st, body := w.call("GET", "/v1/sessions/"+id, ""); st != 404 {
		t.Errorf("deleted: %d %s", st, body)
	}
}

// More sessions than fit a page are all in the legacy list.
func TestLegacyListWhole(t *testing.T) {
	w := newWorld(t)
	const n = 1003
	// They are put into the archive directly, as a recorder would.
	batch := events.Batch{Stream: "elsewhere", To: 1}
	for i := range n {
		ref := holdfast.SessionRef{Tenant: "default", Session: fmt.Sprintf("s%04d", i)}
		batch.Sessions = append(batch.Sessions, events.SessionEvents{Session: ref, Events: []events.Envelope{{
			Seq: 1, Time: time.Unix(int64(i), 0), Type: holdfast.TypeSessionCreated, V: 1, Payload: []byte(`{}`),
		}}})
	}
	if err := w.store.Record(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	var list []struct{ ID string }
	w.mustCall("GET", "/api/sessions", "", &list)
	if len(list) != n || list[0].ID != "s1002" || list[n-1].ID != "s0000" {
		t.Fatalf("%d sessions", len(list))
	}
	resp := w.open(t.Context(), "GET", "/api/sessions?limit=2", "")
	resp.Body.Close()
	w.mustCall("GET", "/api/sessions?limit=2&cursor="+resp.Header.Get("Holdfast-Next"), "", &list)
	if len(list) != 2 || list[0].ID != "s1000" {
		t.Errorf("second page %+v", list)
	}
	for _, bad := range []string{"limit=0", "limit=x", "limit=1001", "cursor=x"} {
		if st, body := w.call("GET", "/api/sessions?"+bad, ""); st != 400 {
			t.Errorf("%s: %d %s", bad, st, body)
		}
	}
}

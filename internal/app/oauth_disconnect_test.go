package app_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDisconnect: a connection ends here whatever its server does; the request may
// be repeated until the server was told.
func TestDisconnect(t *testing.T) {
	p := newProtected(t, false)
	base, log, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p)
	session, need, before := pay(t, base)
	browse(t, browser(t), need.URL)
	follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	var list struct {
		Connections []struct {
			ID string `json:"id"`
		} `json:"connections"`
	}
	connections := func() int {
		list.Connections = nil
		call(t, http.MethodGet, base+"/v1/connections", "", http.StatusOK, &list)
		return len(list.Connections)
	}
	if n := connections(); n != 1 {
		t.Fatalf("%d connections", n)
	}
	at := base + "/v1/connections/" + list.Connections[0].ID
	status := func(s int) { p.mu.Lock(); p.revocation = s; p.mu.Unlock() }
	for _, s := range []int{503, 429} {
		status(s)
		if said := call(t, http.MethodDelete, at, "", http.StatusServiceUnavailable, nil); !strings.Contains(said, "repeat") {
			t.Errorf("while the server is away: %s", said)
		}
		if n := connections(); n != 0 {
			t.Fatalf("the server's answer %d keeps the connection", s)
		}
	}
	status(0)
	call(t, http.MethodDelete, at, "", http.StatusNoContent, nil)
	if want := []string{canaryRefresh + "1", canaryAccess + "1"}; !slices.Equal(p.revoked, want) {
		t.Errorf("revoked %q, want %q", p.revoked, want)
	}
	call(t, http.MethodDelete, at, "", http.StatusNotFound, nil)

	// A server that refuses was told.
	session, need, before = pay(t, base)
	browse(t, browser(t), need.URL)
	follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	status(400)
	call(t, http.MethodDelete, at, "", http.StatusNoContent, nil)
	call(t, http.MethodDelete, at, "", http.StatusNotFound, nil)
	if text := log.String(); strings.Contains(text, canaryRefresh) || strings.Contains(text, canaryAccess) {
		t.Error("a token is in the log")
	}
}

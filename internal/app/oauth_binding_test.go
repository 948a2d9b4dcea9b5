package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// payFor is pay for a user, as who the header says.
func payFor(t *testing.T, base, user string, header ...string) (session string, need required, all []event) {
	t.Helper()
	var s document
	call(t, http.MethodPost, base+"/v1/sessions", fmt.Sprintf(`{"tools_approved":true,"agent":"payer","user":%q}`, user), http.StatusCreated, &s, header...)
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/runs", `{"messages":[{"role":"user","content":"bob"}]}`, http.StatusOK, nil, header...)
	all = follow(t, base, s.ID, 0, "session_parked", header...)
	find(t, all, "authorization_required", &need)
	return s.ID, need, all
}

// open is GET without following where it leads.
func open(t *testing.T, c *http.Client, at string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	quiet := *c
	quiet.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := quiet.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

// TestVouch: where a tenant has an application, the browser ends there, and nothing
// is done with the answer until the application has said that its user is the
// session's.
func TestVouch(t *testing.T) {
	p := newProtected(t, false)
	base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p, "HOLDFAST_OAUTH_RETURN_URLS=other=https://other.example/,default=https://app.example/done?keep=1")
	session, need, before := payFor(t, base, "ann")
	stranger := browser(t) // whoever opens it: the application is asked who it was
	resp := open(t, stranger, begin(t, stranger, need.URL))
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.StatusCode != http.StatusSeeOther || to.Host != "app.example" {
		t.Fatalf("the browser is sent to %q, HTTP %d, %v", resp.Header.Get("Location"), resp.StatusCode, err)
	}
	q := to.Query()
	if q.Get("keep") != "1" || q.Get("session_id") != session || q.Get("flow_id") != need.Flow || strings.Contains(to.String(), canaryCode) {
		t.Fatalf("the application gets %s", to)
	}
	word := func(change func(map[string]string)) string {
		body := map[string]string{"user": "ann", "random": q.Get("random"), "connection": q.Get("connection"), "verifier": q.Get("verifier")}
		if change != nil {
			change(body)
		}
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	other, otherNeed, _ := payFor(t, base, "bea") // another user's flow
	at := func(session, flow string) string {
		return base + "/v1/sessions/" + session + "/authorizations/" + flow + "/vouch"
	}
	for name, c := range map[string]struct {
		at, body string
		status   int
	}{
		"no user":              {at(session, need.Flow), word(func(m map[string]string) { delete(m, "user") }), http.StatusForbidden},
		"another user":         {at(session, need.Flow), word(func(m map[string]string) { m["user"] = "bea" }), http.StatusForbidden},
		"no verifier":          {at(session, need.Flow), word(func(m map[string]string) { m["verifier"] = "" }), http.StatusForbidden},
		"a wrong verifier":     {at(session, need.Flow), word(func(m map[string]string) { m["verifier"] = strings.Repeat("A", 43) }), http.StatusForbidden},
		"another random":       {at(session, need.Flow), word(func(m map[string]string) { m["random"] = "AAAAAAAAAAAAAAAAAAAAAA" }), http.StatusForbidden},
		"another connection":   {at(session, need.Flow), word(func(m map[string]string) { m["connection"] = "x" }), http.StatusForbidden},
		"another's session":    {at(other, need.Flow), word(nil), http.StatusForbidden},
		"another's flow":       {at(session, otherNeed.Flow), word(nil), http.StatusForbidden},
		"both of another":      {at(other, otherNeed.Flow), word(func(m map[string]string) { m["user"] = "bea" }), http.StatusForbidden},
		"a session that isn't": {at("nobody", need.Flow), word(nil), http.StatusForbidden},
	} {
		call(t, http.MethodPost, c.at, c.body, c.status, nil)
		if p.tokens != 0 || len(p.calls) != 0 {
			t.Fatalf("%s: %d token requests, effects %v", name, p.tokens, p.calls)
		}
	}
	call(t, http.MethodPost, at(session, need.Flow), word(nil), http.StatusOK, nil)
	follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	if p.tokens != 1 || len(p.calls) != 1 {
		t.Fatalf("%d token requests, effects %v", p.tokens, p.calls)
	}
	call(t, http.MethodPost, at(session, need.Flow), word(nil), http.StatusConflict, nil)
}

// TestStartAsksForAKey: with API keys a start URL opens only for the tenant's own
// people, and other tenants get nowhere with it.
func TestStartAsksForAKey(t *testing.T) {
	const mine, theirs = "acme-key-0123456789", "evil-key-0123456789"
	p := newProtected(t, false)
	base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p, "HOLDFAST_API_KEYS=acme:"+mine+",evil:"+theirs)
	key := []string{"Authorization", "Bearer " + mine}
	session, need, before := payFor(t, base, "ann", key...)
	if !strings.Contains(need.URL, "/oauth/start/acme/") {
		t.Fatalf("the start URL is %s", need.URL)
	}
	for name, header := range map[string][]string{
		"no key": nil, "another tenant's": {"Authorization", "Bearer " + theirs}, "a wrong one": {"Authorization", "Bearer " + mine + "x"},
	} {
		if resp := open(t, browser(t), need.URL, header...); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Location") != "" || len(resp.Cookies()) > 0 {
			t.Errorf("%s: HTTP %d to %q", name, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if resp := open(t, browser(t), strings.Replace(need.URL, "/acme/", "/evil/", 1), "Authorization", "Bearer "+theirs); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the flow as another tenant's: HTTP %d", resp.StatusCode)
	}
	// Nor does the API let another tenant decide, vouch, or see.
	for path, body := range map[string]string{
		"/v1/sessions/" + session + "/authorizations/" + need.Flow: `{"decision":"decline"}`,
		"/api/" + session + "/resumeStartOauth":                    `{"confirmation":false}`,
	} {
		call(t, http.MethodPost, base+path, body, http.StatusNotFound, nil, "Authorization", "Bearer "+theirs)
	}
	c := browser(t)
	resp := open(t, c, need.URL, key...)
	answer := open(t, c, resp.Header.Get("Location")).Header.Get("Location")
	if done := open(t, c, answer).Header.Get("Location"); done != "/oauth/done/success" {
		t.Errorf("the one who may ends at %q", done)
	}
	follow(t, base, session, before[len(before)-1].Seq, "run_finished", key...)
	if list := call(t, http.MethodGet, base+"/v1/connections", "", http.StatusOK, nil, "Authorization", "Bearer "+theirs); strings.Contains(list, p.URL) {
		t.Errorf("another tenant sees %s", list)
	}
	if p.tokens != 1 || len(p.calls) != 1 {
		t.Errorf("%d token requests, effects %v", p.tokens, p.calls)
	}
}

// TestTwoUsersTwoGrants: users of one tenant and one server do not get each other's
// tokens; the same user is not asked again.
func TestTwoUsersTwoGrants(t *testing.T) {
	p := newProtected(t, false)
	var seen []string
	p.odd = map[string]oddHandler{atMCP: func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
		if isCall(r) {
			p.mu.Lock()
			seen = append(seen, r.Header.Get("Authorization"))
			p.mu.Unlock()
		}
		usual(w, r)
	}}
	base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p)
	for _, user := range []string{"ann", "bea", "cy"} {
		session, need, before := payFor(t, base, user)
		browse(t, browser(t), need.URL)
		follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	}
	var s document
	call(t, http.MethodPost, base+"/v1/sessions", `{"tools_approved":true,"agent":"payer","user":"ann"}`, http.StatusCreated, &s)
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/runs", `{"messages":[{"role":"user","content":"bob"}]}`, http.StatusOK, nil)
	for _, e := range follow(t, base, s.ID, 0, "run_finished") {
		if e.Type == "authorization_required" {
			t.Error("ann is asked again")
		}
	}
	bearer := "Bearer " + canaryAccess
	want := []string{"", bearer + "1", "", bearer + "2", "", bearer + "3", bearer + "1"}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("the calls came with %q, want %q", seen, want)
	}
	var list struct {
		Connections []struct{ User string } `json:"connections"`
	}
	call(t, http.MethodGet, base+"/v1/connections?user=bea", "", http.StatusOK, &list)
	if len(list.Connections) != 1 || list.Connections[0].User != "bea" {
		t.Errorf("bea's connections: %+v", list)
	}
}

// TestSessionDeletedWhileItWaits: nobody is left to use the answer.
func TestSessionDeletedWhileItWaits(t *testing.T) {
	p := newProtected(t, false)
	base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p)
	session, need, _ := pay(t, base)
	c := browser(t)
	answer := begin(t, c, need.URL)
	call(t, http.MethodDelete, base+"/v1/sessions/"+session, "", http.StatusOK, nil)
	for range 2 {
		if page, _, _ := browse(t, c, answer); !strings.Contains(page, "no longer valid") {
			t.Errorf("the answer of a deleted session ends at\n%s", page)
		}
	}
	if p.tokens != 0 || len(p.calls) != 0 {
		t.Errorf("%d token requests, effects %v", p.tokens, p.calls)
	}
	if list := call(t, http.MethodGet, base+"/v1/connections", "", http.StatusOK, nil); strings.Contains(list, p.URL) {
		t.Errorf("connections: %s", list)
	}
}

package oauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/oauthtest"
)

func TestAuthorizationRequest(t *testing.T) {
	w := newWorld(t)
	f, at, err := w.start(oauth.Demand{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"tenant": "7", "response_type": "code", "client_id": "client-1", "redirect_uri": redirectURI, "state": "a state",
		"code_challenge_method": "S256", "resource": w.resource.URL + "/mcp", "scope": "read write",
	} {
		if len(q[name]) != 1 || q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q[name], want)
		}
	}
	if q.Has("prompt") || len(q.Get("code_challenge")) != 43 || strings.Contains(at, f.Verifier.Reveal()) {
		t.Errorf("URL %s", at)
	}
	if g, _, err := w.start(oauth.Demand{}); err != nil || g.Verifier == f.Verifier {
		t.Errorf("two flows with one verifier, %v", err)
	}

	w.serverMeta["authorization_endpoint"] = w.issuer.URL + "/authorize?client_id=evil"
	_, _, err = w.start(oauth.Demand{})
	wantError(t, err, "client_id of its own")
}

func TestScopes(t *testing.T) {
	offline := func(w *world) { w.serverMeta["scopes_supported"] = []string{"offline_access"} }
	for name, c := range map[string]struct {
		change func(w *world)
		demand oauth.Demand
		want   string
	}{
		"of the resource":      {want: "read write"},
		"of the challenge":     {demand: oauth.Demand{Scopes: []string{"x"}}, want: "x"},
		"of the connection":    {change: func(w *world) { w.conn.Scopes = []string{"y"} }, want: "y"},
		"none":                 {change: func(w *world) { delete(w.resourceMeta, "scopes_supported") }, want: ""},
		"none, offline":        {change: func(w *world) { delete(w.resourceMeta, "scopes_supported"); offline(w) }, want: ""},
		"offline":              {change: offline, want: "read write offline_access"},
		"offline not listed":   {demand: oauth.Demand{Scopes: []string{"x", "offline_access"}}, want: "x"},
		"step up":              {demand: oauth.Demand{Scopes: []string{"admin", "read"}, Held: []string{"read", "write"}, Issuer: "own"}, want: "read write admin"},
		"step up, unsaid":      {demand: oauth.Demand{Held: []string{"old"}, Issuer: "own"}, want: "old read write"},
		"held elsewhere":       {demand: oauth.Demand{Scopes: []string{"admin"}, Held: []string{"read"}, Issuer: "https://other"}, want: "admin"},
		"what no scope can be": {demand: oauth.Demand{Scopes: []string{"a b", `"`, "c\n", "d", "d"}}, want: "d"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.change != nil {
				c.change(w)
			}
			if c.demand.Issuer == "own" {
				c.demand.Issuer = w.issuer.URL
			}
			f, at, err := w.start(c.demand)
			if err != nil || strings.Join(f.Scopes, " ") != c.want {
				t.Errorf("S10: %q, want %q, %v", f.Scopes, c.want, err)
			}
			if u, err := url.Parse(at); err != nil || u.Query().Has("scope") != (c.want != "") || u.Query().Has("prompt") != strings.Contains(c.want, "offline") {
				t.Errorf("URL %s, %v", at, err)
			}
		})
	}
}

// The issuer is the attacker's, the page that the user sees an honest server's.
func TestMixUp(t *testing.T) {
	w := newWorld(t)
	w.serverMeta["authorization_endpoint"] = "https://honest.example/authorize"
	delete(w.serverMeta, "authorization_response_iss_parameter_supported")
	_, _, err := w.start(oauth.Demand{})
	wantError(t, err, "another site")
	if _, err := oauth.GetAuthorizationURL(t.Context(), &oauth.OAuthHandler{
		Client: w.client, ServerURL: w.conn.ServerURL, ClientID: "x", RedirectURI: redirectURI,
	}, "s", "c"); err == nil {
		t.Error("GetAuthorizationURL goes there")
	}
	// Promising iss does not help: the honest server names itself.
	w.serverMeta["authorization_response_iss_parameter_supported"] = true
	f, _, err := w.start(oauth.Demand{})
	if err != nil {
		t.Fatal(err)
	}
	honest := "https://honest.example"
	for _, iss := range []*string{nil, &honest} {
		_, err = w.client.Finish(t.Context(), f, oauth.Response{State: "a state", Code: "canary-code", Issuer: iss})
		var re *oauth.ResponseError
		if !errors.As(err, &re) || w.count("POST /token") != 0 {
			t.Errorf("the code went out: %v", err)
		}
	}
	delete(w.serverMeta, "authorization_response_iss_parameter_supported")
	w.conn.Clients = []oauth.Registration{{Issuer: w.issuer.URL, ClientID: "vouched"}}
	if _, _, err := w.start(oauth.Demand{}); err != nil {
		t.Errorf("whoever configured the client vouched for it: %v", err)
	}
}

func TestResponse(t *testing.T) {
	const issuer = "https://as.example"
	s := func(v string) *string { return &v }
	for name, c := range map[string]struct {
		promised bool
		r        oauth.Response
		want     string // of the error
	}{
		"promised, present":   {true, oauth.Response{State: "s", Code: "c", Issuer: s(issuer)}, ""},
		"promised, absent":    {true, oauth.Response{State: "s", Code: "c"}, "promised"},
		"promised, wrong":     {true, oauth.Response{State: "s", Code: "c", Issuer: s("https://evil.example")}, "another issuer"},
		"promised, slash":     {true, oauth.Response{State: "s", Code: "c", Issuer: s(issuer + "/")}, "another issuer"},
		"promised, case":      {true, oauth.Response{State: "s", Code: "c", Issuer: s("https://AS.example")}, "another issuer"},
		"promised, port":      {true, oauth.Response{State: "s", Code: "c", Issuer: s(issuer + ":443")}, "another issuer"},
		"promised, empty":     {true, oauth.Response{State: "s", Code: "c", Issuer: s("")}, "another issuer"},
		"unpromised, absent":  {false, oauth.Response{State: "s", Code: "c"}, ""},
		"unpromised, present": {false, oauth.Response{State: "s", Code: "c", Issuer: s(issuer)}, ""},
		"unpromised, wrong":   {false, oauth.Response{State: "s", Code: "c", Issuer: s("https://evil.example")}, "another issuer"},
		"error":               {true, oauth.Response{State: "s", Error: "access_denied", Issuer: s(issuer)}, "did not authorize: access_denied"},
		"error, unnamed":      {true, oauth.Response{State: "s", Error: "canary-x", ErrorDescription: "canary-y"}, "promised"},
		"error, wrong":        {false, oauth.Response{State: "s", Error: "access_denied", Issuer: s("https://evil.example")}, "another issuer"},
		"error in its words":  {true, oauth.Response{State: "s", Error: "canary-x", ErrorDescription: "canary-y", Issuer: s(issuer)}, "did not authorize: "},
		"wrong state":         {true, oauth.Response{State: "t", Code: "c", Issuer: s(issuer)}, "state"},
		"no state":            {true, oauth.Response{Code: "c", Issuer: s(issuer)}, "state"},
		"no code":             {true, oauth.Response{State: "s", Issuer: s(issuer)}, "no code"},
		"code and error":      {true, oauth.Response{State: "s", Code: "c", Error: "access_denied", Issuer: s(issuer)}, "access_denied"},
		"code that is none":   {true, oauth.Response{State: "s", Code: "c\r\n", Issuer: s(issuer)}, "no code"},
	} {
		f := oauth.Flow{State: "s", Issuer: issuer, IssuerInResponse: c.promised}
		err := f.Check(c.r)
		if c.want == "" {
			if err != nil {
				t.Errorf("M13 %s: %v", name, err)
			}
			continue
		}
		wantError(t, err, c.want)
		if holdfast.CodeOf(err) != holdfast.CodeForbidden {
			t.Errorf("%s: code %s", name, holdfast.CodeOf(err))
		}
	}
	if (&oauth.Flow{Issuer: issuer}).Check(oauth.Response{Code: "c"}) == nil {
		t.Error("a flow without state takes any response")
	}
}

func TestExchange(t *testing.T) {
	const ok = `{"access_token":"a","token_type":"Bearer"}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		code   holdfast.Code
	}{
		"least":                 {answer: text(200, "application/json", ok)},
		"kind of type, content": {answer: text(200, "text/plain", `{"access_token":"a","token_type":"bEARER","expires_in":"60","scope":""}`)},
		"members of null":       {answer: text(200, "application/json", `{"access_token":"a","token_type":"Bearer","refresh_token":null,"scope":null,"error":null}`)},
		"no type":               {text(200, "application/json", `{"access_token":"a"}`), "type of the token", ""},
		"another type":          {text(200, "application/json", `{"access_token":"canary-a","token_type":"mac"}`), "not known", ""},
		"unbound DPoP":          {text(200, "application/json", `{"access_token":"canary-a","token_type":"DPoP"}`), "not known", ""},
		"no token":              {text(200, "application/json", `{"token_type":"Bearer"}`), "no access token", ""},
		"names in another case": {text(200, "application/json", `{"Access_Token":"canary-a","token_type":"Bearer"}`), "no access token", ""},
		"line break in token":   {text(200, "application/json", `{"access_token":"canary-a\r\nX: y","token_type":"Bearer"}`), "characters", ""},
		"huge token":            {text(200, "application/json", `{"access_token":"`+strings.Repeat("a", 40000)+`","token_type":"Bearer"}`), "too long", ""},
		"wrong types":           {text(200, "application/json", `{"access_token":{"a":"canary-a"},"token_type":"Bearer"}`), "wrong type", ""},
		"negative life":         {answer: text(200, "application/json", `{"access_token":"a","token_type":"Bearer","expires_in":-1}`)},
		"life in words":         {answer: text(200, "application/json", `{"access_token":"a","token_type":"Bearer","expires_in":"never"}`)},
		"life of no number":     {answer: text(200, "application/json", `{"access_token":"a","token_type":"Bearer","expires_in":{"s":1}}`)},
		"endless life":          {answer: text(200, "application/json", `{"access_token":"a","token_type":"Bearer","expires_in":1e300}`)},
		"scopes as a list":      {answer: text(200, "application/json", `{"access_token":"a","token_type":"Bearer","scope":["read","write"]}`)},
		"form":                  {answer: text(200, "application/x-www-form-urlencoded; charset=utf-8", `access_token=a&token_type=bearer&scope=read%20write&expires_in=60`)},
		"JSON called a form":    {answer: text(200, "application/x-www-form-urlencoded", ok)},
		"form called JSON":      {text(200, "application/json", `access_token=canary-a&token_type=bearer`), "no JSON", ""},
		"form with two tokens":  {text(200, "application/x-www-form-urlencoded", `access_token=canary-a&access_token=canary-b&token_type=bearer`), "no JSON", ""},
		"two tokens":            {text(200, "application/json", `{"access_token":"canary-a","access_token":"canary-b","token_type":"Bearer"}`), "no JSON", ""},
		"the same twice":        {answer: text(200, "application/json", `{"token_type":"Bearer","access_token":"a","token_type":"Bearer"}`)},
		"busy with 400":         {text(400, "application/json", `{"error":"temporarily_unavailable"}`), "cannot be used", holdfast.CodeUnavailable},
		"busy with 200":         {text(200, "application/json", `{"error":"server_error"}`), "cannot be used", holdfast.CodeUnavailable},
		"no content":            {text(204, "", ""), "not 200", ""},
		"forbidden page":        {text(403, "text/html", `<html>canary-a`), "known code", ""},
		"bomb":                  {bomb, "more than", ""},
		"page":                  {text(200, "text/html", `<html>canary-a`), "no JSON", ""},
		"more than one object":  {text(200, "application/json", ok+ok), "no JSON", ""},
		"array":                 {text(200, "application/json", `[`+ok+`]`), "no JSON", ""},
		"error":                 {text(400, "application/json", `{"error":"invalid_grant","error_description":"canary-code"}`), "invalid_grant", holdfast.CodeForbidden},
		"error in its words":    {text(400, "application/json", `{"error":"canary-x"}`), "known code", holdfast.CodeForbidden},
		"error with 200":        {text(200, "application/json", `{"error":"invalid_grant"}`), "invalid_grant", holdfast.CodeForbidden},
		"created":               {text(201, "application/json", ok), "not 200", ""},
		"redirect":              {redirect("/token2"), "redirects", ""},
		"busy":                  {text(503, "text/html", "canary"), "cannot be used", holdfast.CodeUnavailable},
		"too many":              {text(429, "application/json", `{"error":"slow_down"}`), "cannot be used", holdfast.CodeUnavailable},
		"endless":               {endless, "more than", ""},
		"silent":                {silent, "in time", holdfast.CodeUnavailable},
		"deep":                  {text(200, "application/json", `{"x":`+strings.Repeat("[", 100000)), "no JSON", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f, _, err := w.start(oauth.Demand{})
			if err != nil {
				t.Fatal(err)
			}
			if name == "silent" {
				w.use(short)
			}
			w.odd["/token"] = c.answer
			g, err := w.client.Finish(t.Context(), f, oauth.Response{State: "a state", Code: "canary-code", Issuer: &f.Issuer})
			if c.want == "" {
				if err != nil || g.AccessToken != "a" || g.TokenType != "Bearer" || g.RefreshToken != "" || strings.Join(g.Scopes, " ") != "read write" {
					t.Errorf("%+v, %v", g, err)
				}
				return
			}
			wantError(t, err, c.want)
			if l := leaks(holdfast.PublicMessage(err)); l != nil {
				t.Errorf("the tenant reads %v", l)
			}
			if c.code != "" && holdfast.CodeOf(err) != c.code {
				t.Errorf("code %s", holdfast.CodeOf(err))
			}
			if w.count("POST /token") != 1 || w.count("POST /token2") != 0 {
				t.Errorf("the code was sent more than once: %q", w.asked)
			}
		})
	}
}

// What the flow recorded counts, whatever the metadata say by then.
func TestEndpointsAreThoseOfTheFlow(t *testing.T) {
	w := newWorld(t)
	f, at, err := w.start(oauth.Demand{})
	if err != nil {
		t.Fatal(err)
	}
	back, err := oauthtest.Browse(t.Context(), at, redirectURI)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := f.MarshalSecret()
	if err != nil {
		t.Fatal(err)
	}
	var g oauth.Flow
	if err := g.UnmarshalSecret(stored); err != nil {
		t.Fatal(err)
	}
	w.serverMeta["token_endpoint"] = w.resource.URL + "/steal"
	if _, err := w.client.Finish(t.Context(), g, response(back.Query())); err != nil {
		t.Error(err)
	}
	if n := w.count("POST /steal"); n != 0 {
		t.Error("the code went to an endpoint that came later")
	}
	form := w.forms[0]
	if form.Get("resource") != w.resource.URL+"/mcp" || form.Get("redirect_uri") != redirectURI || form.Has("client_secret") || form.Has("scope") {
		t.Errorf("M9: the form %v", form)
	}
	if user, pass, ok := (&http.Request{Header: w.headers[0]}).BasicAuth(); !ok || user != "client-1" || pass != "canary-client-secret" {
		t.Errorf("the client did not say who it is")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	w := newWorld(t)
	w.authorized()
	g, _ := w.grant()
	f, _, err := w.start(oauth.Demand{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprintf("%v %+v %#v", g, g, g), fmt.Sprintf("%v %+v %#v", f, f, &f), w.logs.String()} {
		if l := leaks(s); l != nil {
			t.Errorf("secrets in %q: %v", s, l)
		}
		if strings.Contains(s, f.Verifier.Reveal()) {
			t.Error("the verifier prints")
		}
	}
	for _, v := range []any{g, &f} {
		if b, err := jsonOf(v); err != nil || leaks(b) != nil {
			t.Errorf("JSON %s, %v", b, err)
		}
	}
	b, err := g.MarshalSecret()
	var back oauth.Grant
	if err != nil || back.UnmarshalSecret(b) != nil || back.AccessToken != g.AccessToken || back.Registration.ClientSecret != g.Registration.ClientSecret {
		t.Errorf("the sealed form loses something: %+v, %v", back, err)
	}
	if err := back.UnmarshalSecret([]byte(`{"access_token": 1, "canary-x`)); err == nil || leaks(err.Error()) != nil {
		t.Errorf("error %v", err)
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	w.authorized()
	g, _ := w.grant()
	if err := w.client.Revoke(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	hints := []string{w.forms[1].Get("token_type_hint"), w.forms[2].Get("token_type_hint")}
	if !slices.Equal(hints, []string{"refresh_token", "access_token"}) || w.forms[1].Get("token") != g.RefreshToken.Reveal() {
		t.Errorf("forms %v", w.forms)
	}
	w.odd["/revoke"] = text(503, "text/plain", "")
	wantError(t, w.client.Revoke(t.Context(), g), "cannot be used")
	g.RevocationEndpoint = ""
	if err := w.client.Revoke(t.Context(), g); err != nil {
		t.Error(err)
	}
}

// The three steps of the documented function, and its last resort.
func TestGetAuthorizationURL(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world)
		want   func(w *world) string
	}{
		"metadata of the resource": {func(*world) {}, func(w *world) string { return w.issuer.URL + "/authorize?tenant=7&" }},
		"metadata of the server": {func(w *world) {
			w.resourceMeta = nil
			w.serverMeta["issuer"] = w.resource.URL
		}, func(w *world) string { return w.issuer.URL + "/authorize?tenant=7&" }},
		"OpenID configuration": {func(w *world) {
			w.serverMeta["issuer"] = w.resource.URL
			meta := w.serverMeta
			w.resourceMeta, w.serverMeta = nil, nil
			w.odd["mcp:/.well-known/openid-configuration"] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, meta) }
		}, func(w *world) string { return w.issuer.URL + "/authorize?tenant=7&" }},
		"nothing": {func(w *world) { w.resourceMeta, w.serverMeta = nil, nil }, func(w *world) string { return w.resource.URL + "/authorize?" }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.change(w)
			at, err := oauth.GetAuthorizationURL(t.Context(), &oauth.OAuthHandler{
				Client: w.client, ServerURL: w.conn.ServerURL, ClientID: "mine", RedirectURI: redirectURI,
			}, "the state", "the challenge")
			if err != nil || !strings.HasPrefix(at, c.want(w)) {
				t.Fatalf("%s, %v", at, err)
			}
			u, _ := url.Parse(at)
			if q := u.Query(); q.Get("state") != "the state" || q.Get("code_challenge") != "the challenge" || q.Get("client_id") != "mine" {
				t.Errorf("URL %s", at)
			}
		})
	}
}

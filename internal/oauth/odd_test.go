package oauth_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth"
)

// What servers answer to a refresh, and what becomes of the grant: it works on, it
// is kept for later, or its user is asked.
func TestOddRefreshes(t *testing.T) {
	const (
		works = "works" // with new tokens
		later = "later" // an error that passes; nobody is asked and nothing is lost
		asks  = "asks"  // the user is asked; the refresh token is not used again
	)
	ok := func(more string) string {
		return `{"access_token":"canary-fresh","token_type":"Bearer"` + more + `}`
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		// refresh is the token that is kept after "works"; "" is the one from before.
		refresh string
		scopes  string // after "works"
	}{
		"no new refresh token":    {answer: text(200, "application/json", ok("")), want: works, scopes: "read write"},
		"empty refresh token":     {answer: text(200, "application/json", ok(`,"refresh_token":""`)), want: works, scopes: "read write"},
		"rotated":                 {answer: text(200, "application/json", ok(`,"refresh_token":"canary-next"`)), want: works, refresh: "canary-next", scopes: "read write"},
		"other scopes":            {answer: text(200, "application/json", ok(`,"scope":"read extra"`)), want: works, scopes: "read extra"},
		"no life":                 {answer: text(200, "application/json", ok(`,"expires_in":0`)), want: works, scopes: "read write"},
		"negative life":           {answer: text(200, "application/json", ok(`,"expires_in":-100`)), want: works, scopes: "read write"},
		"upper case":              {answer: text(200, "application/json", strings.Replace(ok(""), "Bearer", "BEARER", 1)), want: works, scopes: "read write"},
		"form":                    {answer: text(200, "application/x-www-form-urlencoded", "access_token=canary-fresh&token_type=bearer"), want: works, scopes: "read write"},
		"busy":                    {answer: text(503, "text/html", "<h1>canary"), want: later},
		"too many":                {answer: text(429, "application/json", `{"error":"slow_down"}`), want: later},
		"busy with 400":           {answer: text(400, "application/json", `{"error":"temporarily_unavailable"}`), want: later},
		"its error":               {answer: text(500, "application/json", `{"error":"server_error"}`), want: later},
		"silent":                  {answer: silent, want: later},
		"one byte at a time":      {answer: drip, want: later},
		"the connection is cut":   {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, want: later},
		"revoked":                 {answer: text(400, "application/json", `{"error":"invalid_grant"}`), want: asks},
		"revoked, as its error":   {answer: text(500, "application/json", `{"error":"invalid_grant"}`), want: asks},
		"revoked, status 200":     {answer: text(200, "application/json", `{"error":"bad_refresh_token"}`), want: asks},
		"unknown client":          {answer: text(401, "application/json", `{"error":"invalid_client"}`), want: asks},
		"another kind of token":   {answer: text(200, "application/json", `{"access_token":"canary-fresh","token_type":"mac"}`), want: asks},
		"page":                    {answer: text(404, "text/html", "<h1>canary"), want: asks},
		"redirect":                {answer: redirect("https://evil.example/token"), want: asks},
		"a token with line break": {answer: text(200, "application/json", `{"access_token":"canary\r\nX: y","token_type":"Bearer"}`), want: asks},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.use(short)
			w.authorized()
			before, _ := w.grant()
			w.mu.Lock()
			clear(w.access)
			w.access["canary-fresh"] = true
			w.mu.Unlock()
			w.odd["/token"] = c.answer
			_, err := w.call(w.transport())
			if err != nil {
				if l := leaks(err.Error() + holdfast.PublicMessage(err)); l != nil {
					t.Errorf("the error has secrets in it: %v", l)
				}
			}
			after, _ := w.grant()
			var required *oauth.OAuthAuthorizationRequiredError
			switch c.want {
			case works:
				keep := before.RefreshToken
				if c.refresh != "" {
					keep = oauth.Secret(c.refresh)
				}
				if err != nil || after.AccessToken != "canary-fresh" || after.RefreshToken != keep || strings.Join(after.Scopes, " ") != c.scopes {
					t.Errorf("%v; the right refresh token is kept: %t; scopes %q", err, after.RefreshToken == keep, after.Scopes)
				}
			case later:
				if holdfast.CodeOf(err) != holdfast.CodeUnavailable || after.RefreshToken != before.RefreshToken {
					t.Errorf("error %v with code %s; the refresh token is kept: %t", err, holdfast.CodeOf(err), after.RefreshToken == before.RefreshToken)
				}
			case asks:
				if !errors.As(err, &required) || after.RefreshToken != "" {
					t.Errorf("error %v; the refresh token is dropped: %t", err, after.RefreshToken == "")
				}
			}
			if n := w.count("POST /token"); n != 2 {
				t.Errorf("%d token requests, want that of the code and one refresh", n)
			}
		})
	}
}

// A token without a known end is used until it is refused; one that has ended by
// its server's word and cannot be refreshed is tried all the same.
func TestLifetimes(t *testing.T) {
	for name, c := range map[string]struct {
		life    string
		refresh bool
		tokens  int // requests at the token endpoint for three calls
	}{
		"unknown":              {`null`, true, 1},
		"an hour in words":     {`"3600"`, true, 1},
		"zero":                 {`0`, true, 4}, // refreshed each time, and never a loop
		"zero, not refreshed":  {`0`, false, 1},
		"more than a lifetime": {`1e18`, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := 0
			w.odd["/token"] = func(rw http.ResponseWriter, _ *http.Request) {
				n++
				token := "canary-life-" + strconv.Itoa(n)
				w.mu.Lock()
				w.access[token] = true
				w.mu.Unlock()
				body := `{"access_token":"` + token + `","token_type":"Bearer","expires_in":` + c.life
				if c.refresh {
					body += `,"refresh_token":"canary-again"`
				}
				text(200, "application/json", body+"}")(rw, nil)
			}
			w.authorized()
			rt := w.transport()
			for range 3 {
				if _, err := w.call(rt); err != nil {
					t.Fatal(err)
				}
			}
			if got := w.count("POST /token"); got != c.tokens {
				t.Errorf("%d token requests, want %d", got, c.tokens)
			}
		})
	}
}

// What a server answers instead of serving, and what becomes of the request.
func TestOddRefusals(t *testing.T) {
	type header = http.Header
	answer := func(status int, h header) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			for k, v := range h {
				rw.Header()[k] = v
			}
			rw.WriteHeader(status)
		}
	}
	bearer := func(values ...string) header { return header{"Www-Authenticate": values} }
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		status int    // of the demand; 0 is none
		scopes string // of the demand
		passes int    // status of an answer that goes to the caller
		fails  string // of the error
	}{
		"401 bare":                    {answer: answer(401, nil), status: 401},
		"401, header without value":   {answer: answer(401, bearer("")), status: 401},
		"401, header that is none":    {answer: answer(401, bearer(`"`, "=,=")), status: 401},
		"401, 1000 headers":           {answer: answer(401, bearer(strings.Split(strings.Repeat("Basic realm=x,", 1000)+"Bearer scope=s", ",")...)), status: 401},
		"401, token68 before":         {answer: answer(401, bearer(`Negotiate YII==, Bearer scope="a b"`)), status: 401, scopes: "a b"},
		"401, the fuller challenge":   {answer: answer(401, bearer(`Bearer realm="x"`, `bearer scope="a"`)), status: 401, scopes: "a"},
		"401, scopes that are none":   {answer: answer(401, bearer(`Bearer scope="a \"b c\\ d"`)), status: 401, scopes: "a d"},
		"403 insufficient_scope":      {answer: answer(403, bearer(`Bearer error="insufficient_scope", scope="x"`)), status: 403, scopes: "x"},
		"403 in upper case":           {answer: answer(403, bearer(`BEARER ERROR=insufficient_scope , SCOPE = x`)), status: 403, scopes: "x"},
		"403 without scope":           {answer: answer(403, bearer(`Bearer error="insufficient_scope"`)), status: 403},
		"403, second challenge":       {answer: answer(403, bearer(`Basic realm="x", Bearer scope="y", error="insufficient_scope"`)), status: 403, scopes: "y"},
		"403 bare":                    {answer: answer(403, nil), passes: 403},
		"403 in a description":        {answer: answer(403, bearer(`Bearer error="x", error_description="insufficient_scope"`)), passes: 403},
		"403 of another scheme":       {answer: answer(403, bearer(`Basic error="insufficient_scope"`)), passes: 403},
		"400 with a challenge":        {answer: answer(400, bearer(`Bearer error="invalid_request"`)), passes: 400},
		"404":                         {answer: answer(404, nil), passes: 404},
		"429":                         {answer: answer(429, header{"Retry-After": {"1"}}), passes: 429},
		"503":                         {answer: answer(503, nil), passes: 503},
		"redirect to another origin":  {answer: redirect("https://evil.example/mcp"), fails: "redirects"},
		"redirect to the same origin": {answer: redirect("/mcp/"), fails: "redirects"},
		"redirect to a log in page":   {answer: answer(302, header{"Location": {"/login"}}), fails: "redirects"},
		"redirect to nowhere":         {answer: answer(307, nil), fails: "redirects"},
		"401 with a body without end": {answer: func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(401); endless(rw, r) }, status: 401},
		"403 with a body without end": {answer: func(rw http.ResponseWriter, r *http.Request) {
			answer(403, bearer(`Bearer error=insufficient_scope`))(rw, nil)
			endless(rw, r)
		}, status: 403},
		"401, body that does not come": {answer: func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(401)
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
		}, status: 401},
		"an interim answer before that": {answer: func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(103); rw.WriteHeader(401) }, status: 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.odd["mcp:/mcp"] = c.answer
			status, _, err := call(t.Context(), w.transport(), w.conn.ServerURL, toolCall)
			switch {
			case c.status != 0:
				if d := demanded(t, err); d.Status != c.status || strings.Join(d.Scopes, " ") != c.scopes {
					t.Errorf("demand %+v", d)
				}
			case c.fails != "":
				wantError(t, err, c.fails)
				if strings.Contains(err.Error(), "evil") {
					t.Errorf("the error repeats the address: %v", err)
				}
			case err != nil || status != c.passes:
				t.Errorf("HTTP %d, %v", status, err)
			}
			if n := w.count("POST /mcp"); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

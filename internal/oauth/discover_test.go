package oauth_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth"
)

func TestChallenges(t *testing.T) {
	type c = oauth.Challenge
	p := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for name, tc := range map[string]struct {
		in   []string
		want []c
	}{
		"bare":              {[]string{"Bearer"}, []c{{"bearer", "", p()}}},
		"usual":             {[]string{`Bearer realm="x", scope="a b"`}, []c{{"bearer", "", p("realm", "x", "scope", "a b")}}},
		"any case":          {[]string{`BEARER Resource_Metadata="https://h/x"`}, []c{{"bearer", "", p("resource_metadata", "https://h/x")}}},
		"quoted comma":      {[]string{`Bearer error_description="a, Basic b=\"c\", d", scope="s"`}, []c{{"bearer", "", p("error_description", `a, Basic b="c", d`, "scope", "s")}}},
		"two in one":        {[]string{`Basic realm="r", Bearer scope="s"`}, []c{{"basic", "", p("realm", "r")}, {"bearer", "", p("scope", "s")}}},
		"two in one, bare":  {[]string{`Negotiate, Bearer scope="s"`}, []c{{"negotiate", "", p()}, {"bearer", "", p("scope", "s")}}},
		"token68":           {[]string{`Negotiate YWJj==, Bearer`}, []c{{"negotiate", "YWJj==", p()}, {"bearer", "", p()}}},
		"two headers":       {[]string{`Basic realm="r"`, `DPoP algs="ES256"`}, []c{{"basic", "", p("realm", "r")}, {"dpop", "", p("algs", "ES256")}}},
		"unquoted":          {[]string{`Bearer scope=a,error=invalid_token`}, []c{{"bearer", "", p("scope", "a", "error", "invalid_token")}}},
		"unquoted URL":      {[]string{`Bearer resource_metadata=https://h/x?y=z, scope=s`}, []c{{"bearer", "", p("resource_metadata", "https://h/x?y=z", "scope", "s")}}},
		"spaces around =":   {[]string{`Bearer scope = "s" , realm="r"`}, []c{{"bearer", "", p("scope", "s", "realm", "r")}}},
		"empty elements":    {[]string{`, , Bearer ,, scope="s",, Basic realm="r",`}, []c{{"bearer", "", p("scope", "s")}, {"basic", "", p("realm", "r")}}},
		"twice":             {[]string{`Bearer scope="a", scope="b"`}, []c{{"bearer", "", p("scope", "a")}}},
		"unterminated":      {[]string{`Bearer scope="a", realm="r`}, []c{{"bearer", "", p("scope", "a")}}},
		"unterminated next": {[]string{`Bearer scope="a`, `Basic realm="r"`}, []c{{"bearer", "", p()}, {"basic", "", p("realm", "r")}}},
		"nothing":           {[]string{"", "=", `"x"`}, nil},
		"token68 first":     {[]string{`NTLM TlRMTVNT/+A=, Bearer scope="s"`}, []c{{"ntlm", "TlRMTVNT/+A=", p()}, {"bearer", "", p("scope", "s")}}},
		"token68, one pad":  {[]string{`Negotiate YWI=,Bearer`}, []c{{"negotiate", "YWI=", p()}, {"bearer", "", p()}}},
		"quoted pairs":      {[]string{`Bearer realm="\"a\\b\c\"", scope="s"`}, []c{{"bearer", "", p("realm", `"a\bc"`, "scope", "s")}}},
		"empty quotes":      {[]string{`Bearer realm="",scope=""`}, []c{{"bearer", "", p("realm", "", "scope", "")}}},
		"tabs":              {[]string{"Bearer\trealm\t=\t\"x\"\t,\tscope=s"}, []c{{"bearer", "", p("realm", "x", "scope", "s")}}},
		"many spaces":       {[]string{`   Bearer    realm="x"   ,   scope="s"   `}, []c{{"bearer", "", p("realm", "x", "scope", "s")}}},
		"schemes of tokens": {[]string{`x!#$%&'*+-.^_|~1 a=b, Bearer`}, []c{{"x!#$%&'*+-.^_|~1", "", p("a", "b")}, {"bearer", "", p()}}},
		"three in one":      {[]string{`Digest realm="a, Bearer x=\"y\"", qop="auth,auth-int", nonce=abc, Basic realm=r , bearer resource_metadata="https://h/p?a=1,2"`}, []c{{"digest", "", p("realm", `a, Bearer x="y"`, "qop", "auth,auth-int", "nonce", "abc")}, {"basic", "", p("realm", "r")}, {"bearer", "", p("resource_metadata", "https://h/p?a=1,2")}}},
		"bytes above ASCII": {[]string{"Bearer realm=\"caf\xc3\xa9 \xff\", scope=s"}, []c{{"bearer", "", p("realm", "caf\xc3\xa9 \xff", "scope", "s")}}},
		"no comma between":  {[]string{`Bearer realm="x" resource_metadata="https://h/x" scope=s, Basic`}, []c{{"bearer", "", p("realm", "x", "resource_metadata", "https://h/x", "scope", "s")}, {"basic", "", p()}}},
		"no comma, next":    {[]string{`Bearer realm="x" Basic realm="y"`}, []c{{"bearer", "", p("realm", "x")}}},
		"no value":          {[]string{`Bearer realm=, error= , scope="s"`}, []c{{"bearer", "", p("realm", "", "error", "", "scope", "s")}}},
		"empty headers":     {[]string{"", "Bearer", " , "}, []c{{"bearer", "", p()}}},
		"huge":              {[]string{"Bearer scope=" + strings.Repeat("x", 1<<20)}, nil},
	} {
		if got := oauth.ParseChallenges(tc.in); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func FuzzChallenges(f *testing.F) {
	for _, s := range []string{`Bearer a="b", c=d, Basic`, `Negotiate a==, x`, `a b=c "`, "\\", `Bearer a=" \"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := oauth.ParseChallenges([]string{s, s}); len(got) > 16 {
			t.Errorf("%d challenges", len(got))
		}
	})
}

func TestCanonicalURL(t *testing.T) {
	for in, want := range map[string]string{
		"HTTPS://H.Example:443/Mcp#x": "https://h.example/Mcp", "http://h:80/": "http://h", "https://h": "https://h",
		"https://h/a/?q=1": "https://h/a/?q=1", "https://[2001:DB8::1]:8443/x": "https://[2001:db8::1]:8443/x",
		"ftp://h": "", "h/x": "", "https://u:p@h": "", "https://": "", "javascript:alert(1)": "",
	} {
		if got, err := oauth.CanonicalURL(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

// Whatever the metadata say, what is found is complete or it is an error.
func TestDiscovery(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world)
		want   string // of the error; "" is success
		code   holdfast.Code
		asks   string // a request that must have been made
	}{
		"usual": {},
		"M1 named metadata, another origin": {change: func(w *world) {
			meta := w.resourceMeta
			w.resourceMeta = nil
			w.odd["/elsewhere"] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, meta) }
			w.challenge = func() string {
				return `Basic realm="a, b", bearer error="x", Resource_Metadata="` + w.issuer.URL + `/elsewhere"`
			}
		}, asks: "GET /elsewhere"},
		"M1 named metadata that are not there": {change: func(w *world) {
			w.challenge = func() string { return `Bearer resource_metadata="` + w.issuer.URL + `/nowhere"` }
		}, asks: "GET /nowhere"},
		"M1 named metadata that must not be asked": {change: func(w *world) {
			w.challenge = func() string { return `Bearer resource_metadata="file:///etc/passwd"` }
		}},
		"M1 the root's metadata": {change: func(w *world) {
			meta := document{"resource": w.resource.URL, "authorization_servers": []string{w.issuer.URL}}
			w.resourceMeta = nil
			w.odd["mcp:/.well-known/oauth-protected-resource"] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, meta) }
		}, asks: "GET /.well-known/oauth-protected-resource/mcp"},
		"M1 the other place is broken": {change: func(w *world) {
			meta := document{"resource": w.resource.URL, "authorization_servers": []string{w.issuer.URL}}
			w.odd["mcp:/.well-known/oauth-protected-resource/mcp"] = text(500, "text/html", "<h1>Internal error")
			w.odd["mcp:/.well-known/oauth-protected-resource"] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, meta) }
		}},
		"M1 both places are broken": {change: func(w *world) {
			w.odd["mcp:/.well-known/oauth-protected-resource/mcp"] = text(502, "text/html", "")
		}, want: "cannot be used", code: holdfast.CodeUnavailable},
		"M1 a path alone": {change: func(w *world) {
			meta := w.resourceMeta
			w.resourceMeta = nil
			w.odd["mcp:/some/where"] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, meta) }
			w.challenge = func() string { return `Bearer resource_metadata="/some/where"` }
		}, asks: "GET /some/where"},
		"M1 a host alone": {change: func(w *world) {
			w.challenge = func() string { return `Bearer resource_metadata="//evil.example/x"` }
		}},
		"M1 plain http elsewhere": {change: func(w *world) {
			w.challenge = func() string { return `Bearer resource_metadata="http://evil.example/x"` }
		}},
		"no challenge":   {change: func(w *world) { w.challenge = func() string { return "" } }},
		"only Basic":     {change: func(w *world) { w.challenge = func() string { return `Basic realm="x"` } }},
		"DPoP or Bearer": {change: func(w *world) { w.challenge = func() string { return `DPoP algs="ES256", Bearer` } }},
		"DPoP alone":     {change: func(w *world) { w.challenge = func() string { return `DPoP algs="ES256"` } }, want: "bound to a key"},
		"lists as strings": {change: func(w *world) {
			w.resourceMeta["authorization_servers"], w.resourceMeta["scopes_supported"] = w.issuer.URL, "read write"
			w.serverMeta["code_challenge_methods_supported"], w.serverMeta["response_types_supported"] = "S256", "code"
		}},
		"a list of numbers": {change: func(w *world) { w.serverMeta["scopes_supported"] = []int{1} }, want: "wrong type"},
		"a switch in words": {change: func(w *world) { w.serverMeta["authorization_response_iss_parameter_supported"] = "true" }, want: "wrong type"},
		"another type of content": {change: func(w *world) {
			b, _ := jsonOf(w.serverMeta)
			w.odd["/.well-known/oauth-authorization-server"] = text(200, "text/plain", "\xef\xbb\xbf"+b)
		}},
		"no content": {change: func(w *world) {
			w.odd["/.well-known/oauth-authorization-server"] = text(204, "", "")
		}, want: "has no metadata"},
		"an issuer twice": {change: func(w *world) {
			b, _ := jsonOf(w.serverMeta)
			w.odd["/.well-known/oauth-authorization-server"] = text(200, "application/json", `{"issuer":"https://evil.example",`+b[1:])
		}, want: "has no metadata"},
		"a token endpoint twice": {change: func(w *world) {
			b, _ := jsonOf(w.serverMeta)
			w.odd["/.well-known/oauth-authorization-server"] = text(200, "application/json", strings.TrimSuffix(b, "}")+`,"token_endpoint":"https://evil.example/token"}`)
		}, want: "has no metadata"},
		"bomb":               {change: func(w *world) { w.odd["/.well-known/oauth-authorization-server"] = bomb }, want: "more than"},
		"one byte at a time": {change: func(w *world) { w.use(short); w.odd["/.well-known/oauth-authorization-server"] = drip }, want: "in time", code: holdfast.CodeUnavailable},
		"a redirect to a mirror": {change: func(w *world) {
			w.odd["/.well-known/oauth-authorization-server"] = redirect("/mirror")
			w.odd["/mirror"] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, w.serverMeta) }
		}},
		"a redirect to a page": {change: func(w *world) {
			w.odd["mcp:/.well-known/oauth-protected-resource/mcp"] = redirect(w.issuer.URL + "/login")
			w.odd["/login"] = text(200, "text/html", "<html>Log in")
		}, want: "does not register", asks: "POST /register"}, // no metadata: an old server
		"M2 another host":      {change: func(w *world) { w.resourceMeta["resource"] = "https://evil.example/mcp" }, want: "another resource"},
		"M2 a sibling":         {change: func(w *world) { w.resourceMeta["resource"] = w.resource.URL + "/mc" }, want: "another resource"},
		"M2 below":             {change: func(w *world) { w.resourceMeta["resource"] = w.resource.URL + "/mcp/x" }, want: "another resource"},
		"M2 a user":            {change: func(w *world) { w.resourceMeta["resource"] = strings.Replace(w.resource.URL, "//", "//x@", 1) }, want: "another resource"},
		"M2 none":              {change: func(w *world) { delete(w.resourceMeta, "resource") }, want: "another resource"},
		"M2 a wrong type":      {change: func(w *world) { w.resourceMeta["resource"] = 1 }, want: "wrong type"},
		"M2 above, with slash": {change: func(w *world) { w.resourceMeta["resource"] = w.resource.URL + "/" }},
		"M3 OpenID only": {change: func(w *world) {
			w.odd["/.well-known/oauth-authorization-server"] = text(200, "text/html", "<html>the app</html>")
			w.odd["/.well-known/openid-configuration"] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, w.serverMeta) }
		}},
		"M3 path, inserted":        {change: pathIssuer("/.well-known/oauth-authorization-server/a/b")},
		"M3 path, OpenID inserted": {change: pathIssuer("/.well-known/openid-configuration/a/b"), asks: "GET /.well-known/oauth-authorization-server/a/b"},
		"M3 path, OpenID appended": {change: pathIssuer("/a/b/.well-known/openid-configuration"), asks: "GET /.well-known/openid-configuration/a/b"},
		"M3 path, not at the root": {change: pathIssuer("/.well-known/nothing"), want: "has no metadata"},
		"M4 a slash more":          {change: func(w *world) { w.serverMeta["issuer"] = w.issuer.URL + "/" }, want: "another issuer"},
		"M4 upper case":            {change: func(w *world) { w.serverMeta["issuer"] = strings.ToUpper(w.issuer.URL) }, want: "another issuer"},
		"M4 none":                  {change: func(w *world) { delete(w.serverMeta, "issuer") }, want: "another issuer"},
		"M4 only in another case": {change: func(w *world) {
			delete(w.serverMeta, "issuer")
			w.serverMeta["Issuer"] = w.issuer.URL
		}, want: "another issuer"},
		"second issuer": {change: func(w *world) {
			w.resourceMeta["authorization_servers"] = []string{"https://127.0.0.1:1/gone", w.issuer.URL}
		}},
		"issuer with a query":   {change: func(w *world) { w.resourceMeta["authorization_servers"] = []string{w.issuer.URL + "?x"} }, want: "query"},
		"issuer by plain http":  {change: func(w *world) { w.resourceMeta["authorization_servers"] = []string{"http://as.example"} }, want: "not https"},
		"M12 javascript":        {change: func(w *world) { w.serverMeta["authorization_endpoint"] = "javascript:alert(1)" }, want: "authorization_endpoint"},
		"M12 plain http":        {change: func(w *world) { w.serverMeta["token_endpoint"] = "http://as.example/token" }, want: "token_endpoint is not https"},
		"M12 fragment":          {change: func(w *world) { w.serverMeta["authorization_endpoint"] = w.issuer.URL + "/a#b" }, want: "fragment"},
		"M12 password":          {change: func(w *world) { w.serverMeta["registration_endpoint"] = "https://u:p@as.example/r" }, want: "password"},
		"no token endpoint":     {change: func(w *world) { delete(w.serverMeta, "token_endpoint") }, want: "token_endpoint"},
		"M8 no PKCE":            {change: func(w *world) { delete(w.serverMeta, "code_challenge_methods_supported") }, want: "PKCE"},
		"M8 plain PKCE":         {change: func(w *world) { w.serverMeta["code_challenge_methods_supported"] = []string{"plain", "s256"} }, want: "PKCE"},
		"no code flow":          {change: func(w *world) { w.serverMeta["response_types_supported"] = []string{"token"} }, want: "no authorization codes"},
		"no authorization":      {change: func(w *world) { delete(w.serverMeta, "authorization_endpoint") }, want: "no authorization endpoint"},
		"old: metadata at root": {change: func(w *world) { w.resourceMeta = nil; w.serverMeta["issuer"] = w.resource.URL }},
		"old: issuer elsewhere": {change: func(w *world) { w.resourceMeta = nil }, want: "another issuer"},
		"old: no metadata": {change: func(w *world) {
			w.resourceMeta, w.serverMeta = nil, nil
			w.odd["mcp:/register"] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 201, document{"client_id": "x"}) }
		}, asks: "POST /register"},
		"old: forbidden by policy": {change: func(w *world) { w.resourceMeta = nil; w.use(oauth.Options{RequireMetadata: true}) }, want: "does not say which"},
		"busy": {change: func(w *world) {
			w.odd["/.well-known/oauth-authorization-server"] = text(503, "text/plain", "")
			w.odd["/.well-known/openid-configuration"] = text(503, "text/plain", "")
		}, want: "cannot be used", code: holdfast.CodeUnavailable},
		"endless": {change: func(w *world) {
			w.odd["mcp:/.well-known/oauth-protected-resource/mcp"] = endless
		}, want: "more than"},
		"silent": {change: func(w *world) {
			w.use(short)
			w.odd["mcp:/.well-known/oauth-protected-resource/mcp"] = silent
		}, want: "in time", code: holdfast.CodeUnavailable},
		"redirects for ever": {change: func(w *world) {
			w.odd["mcp:/.well-known/oauth-protected-resource/mcp"] = redirect("/.well-known/oauth-protected-resource/mcp")
		}, want: "too often", code: holdfast.CodeForbidden},
		"redirect to plain http": {change: func(w *world) {
			w.odd["mcp:/.well-known/oauth-protected-resource/mcp"] = redirect("http://192.0.2.1/")
		}, want: "not https"},
		"deep": {change: func(w *world) {
			w.odd["mcp:/.well-known/oauth-protected-resource/mcp"] = text(200, "application/json", `{"resource":`+strings.Repeat("[", 100000))
		}, want: "does not register", asks: "POST /register"}, // it is none, so the server is taken for an old one
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if c.change != nil {
				c.change(w)
			}
			_, err := w.call(w.transport())
			_, at, err := w.start(demanded(t, err))
			if c.asks != "" && w.count(c.asks) == 0 {
				t.Errorf("%s was not asked, but %q", c.asks, w.asked)
			}
			if c.want == "" {
				if err != nil || at == "" {
					t.Error(err)
				}
				return
			}
			wantError(t, err, c.want)
			if want := c.code; want != "" && holdfast.CodeOf(err) != want {
				t.Errorf("code %s, want %s", holdfast.CodeOf(err), want)
			}
			if c.asks == "" && w.count("POST /register") > 0 {
				t.Error("a client was registered all the same")
			}
		})
	}
}

// pathIssuer makes the issuer one with a path, whose metadata are at one place
// only.
func pathIssuer(at string) func(*world) {
	return func(w *world) {
		id := w.issuer.URL + "/a/b"
		w.serverMeta["issuer"], w.resourceMeta["authorization_servers"] = id, []string{id}
		meta := w.serverMeta
		w.serverMeta = nil
		w.odd[at] = func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, meta) }
	}
}

func TestRegistration(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"public":               {answer: text(201, "application/json", `{"client_id":"x"}`)},
		"200":                  {answer: text(200, "application/json", `{"client_id":"x","client_secret":"canary-s","token_endpoint_auth_method":"client_secret_post"}`)},
		"no id":                {text(201, "application/json", `{}`), "no client id"},
		"no secret":            {text(201, "application/json", `{"client_id":"x","token_endpoint_auth_method":"client_secret_basic"}`), "no client secret"},
		"a method of its own":  {text(201, "application/json", `{"client_id":"x","token_endpoint_auth_method":"tls_client_auth"}`), "was not asked for"},
		"another redirect URI": {text(201, "application/json", `{"client_id":"x","redirect_uris":["https://evil.example"]}`), "another redirect URI"},
		"line break in the id": {text(201, "application/json", `{"client_id":"x\r\ny"}`), "no client id"},
		"page":                 {text(201, "text/html", `<html>`), "no JSON"},
		"refused":              {text(400, "application/json", `{"error":"invalid_redirect_uri","error_description":"canary-x"}`), "invalid_redirect_uri"},
		"refused in its words": {text(400, "application/json", `{"error":"canary-x"}`), "no reason"},
		"busy":                 {text(503, "text/plain", ""), "cannot be used"},
		"no content":           {text(204, "", ""), "no reason"},
		"accepted for later":   {text(202, "application/json", `{"client_id":"x"}`), "no reason"},
		"needs a token":        {text(401, "application/json", `{"error":"invalid_token"}`), "by hand"},
		"other grants":         {text(201, "application/json", `{"client_id":"x","grant_types":["client_credentials"]}`), "something else"},
		"other responses":      {text(201, "application/json", `{"client_id":"x","response_types":["token"]}`), "something else"},
		"no refresh":           {answer: text(201, "application/json", `{"client_id":"x","grant_types":["authorization_code"],"response_types":["code"]}`)},
		"more than was asked":  {answer: text(201, "application/json", `{"client_id":"x","client_secret":"canary-s","client_secret_expires_at":0,"registration_access_token":"canary-r","registration_client_uri":"https://as.example/r","scope":"a b","contacts":null,"redirect_uris":["https://other.example","`+redirectURI+`"]}`)},
		"expiry in words":      {answer: text(201, "application/json", `{"client_id":"x","client_secret":"canary-s","client_secret_expires_at":"never"}`)},
		"a number for an id":   {text(201, "application/json", `{"client_id":7}`), "wrong type"},
		"two ids":              {text(201, "application/json", `{"client_id":"x","client_id":"y"}`), "no JSON"},
		"bomb":                 {bomb, "more than"},
		"endless":              {endless, "more than"},
		"redirect":             {redirect("https://evil.example"), "307"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.odd["/register"] = c.answer
			f, _, err := w.start(oauth.Demand{})
			if c.want != "" {
				wantError(t, err, c.want)
				return
			}
			if err != nil || f.Registration.ClientID != "x" {
				t.Errorf("%+v, %v", f.Registration, err)
			}
		})
	}
}

func TestRegistrationRequest(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		if _, _, err := w.start(oauth.Demand{}); err != nil {
			t.Fatal(err)
		}
	}
	want := document{
		"client_name": "Holdfast", "redirect_uris": []any{redirectURI}, "grant_types": []any{"authorization_code", "refresh_token"},
		"response_types": []any{"code"}, "token_endpoint_auth_method": "client_secret_basic", "application_type": "native",
	}
	if len(w.register) != 1 || !reflect.DeepEqual(w.register[0], want) {
		t.Errorf("M7: %v, want once %v", w.register, want)
	}
	if _, _, err := w.client.Start(t.Context(), oauth.StartRequest{Connection: w.conn, RedirectURI: "https://h.example/cb/2", State: "s"}); err != nil {
		t.Fatal(err)
	}
	if len(w.register) != 2 || w.register[1]["application_type"] != "web" {
		t.Errorf("another redirect URI: %v", w.register)
	}
	if _, _, err := w.client.Start(t.Context(), oauth.StartRequest{Connection: w.conn, RedirectURI: redirectURI, State: "s", RegisterAnew: true}); err != nil || len(w.register) != 3 {
		t.Errorf("anew: %v, %v", w.register, err)
	}
}

// M5: what one issuer gave is not shown to another, and a client without issuer
// belongs to the first that it met.
func TestServerMigration(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	for name, conn := range map[string][]oauth.Registration{
		"dynamic": nil, "configured": {{ClientID: "mine", ClientSecret: "canary-mine"}},
	} {
		t.Run(name, func(t *testing.T) {
			w.conn.Clients, w.conn.Name = conn, name
			w.resourceMeta["authorization_servers"] = []string{w.issuer.URL}
			w.authorized()
			w.resourceMeta["authorization_servers"] = []string{other.issuer.URL}
			f, _, err := w.start(oauth.Demand{Held: []string{"admin"}, Issuer: w.issuer.URL})
			if err != nil {
				t.Fatal(err)
			}
			if f.Registration.ClientID != "client-1" || len(other.register) != 1 || f.Registration.Issuer != other.issuer.URL {
				t.Errorf("%+v", f.Registration)
			}
			if strings.Join(f.Scopes, " ") != "read write" {
				t.Errorf("scopes of the old server went along: %q", f.Scopes)
			}
		})
	}
}

func TestClientDocument(t *testing.T) {
	w := newWorld(t)
	w.serverMeta["client_id_metadata_document_supported"] = true
	const at = "https://h.example/clients/1"
	f, _, err := w.client.Start(t.Context(), oauth.StartRequest{Connection: w.conn, RedirectURI: redirectURI, State: "s", DocumentURL: at})
	if err != nil || f.Registration.ClientID != at || f.Registration.Method != oauth.AuthNone || len(w.register) != 0 {
		t.Errorf("%+v, %v", f.Registration, err)
	}
	b, err := json.Marshal(w.client.Document(at, redirectURI))
	if err != nil || !strings.Contains(string(b), `"client_id":"`+at+`"`) || !strings.Contains(string(b), `"redirect_uris":["`+redirectURI+`"]`) {
		t.Errorf("M6: %s, %v", b, err)
	}
	for _, bad := range []string{"http://h.example/x", "https://h.example/", "https://h.example/x#y"} {
		if _, _, err := w.client.Start(t.Context(), oauth.StartRequest{Connection: w.conn, RedirectURI: redirectURI, State: "s", DocumentURL: bad}); err == nil {
			t.Errorf("%s was taken for a client id", bad)
		}
	}
}

func TestNoWayToRegister(t *testing.T) {
	w := newWorld(t)
	delete(w.serverMeta, "registration_endpoint")
	_, _, err := w.start(oauth.Demand{})
	if holdfast.CodeOf(err) != holdfast.CodeNotOffered {
		t.Errorf("error %v", err)
	}
	var he *holdfast.Error
	if !errors.As(err, &he) || !strings.Contains(he.Message, "client id") {
		t.Errorf("the human is not told what to do: %v", err)
	}
}

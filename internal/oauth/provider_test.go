package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/oauthtest"
)

// A certified authorization server from registration to revocation: PKCE,
// resource indicators, iss, rotation with its detection of reuse, step-up.
func TestOIDCProvider(t *testing.T) {
	issuer := oauthtest.Provider(t)
	w := newWorld(t)
	w.resourceMeta["authorization_servers"], w.resourceMeta["scopes_supported"] = []string{issuer}, []string{"read"}
	type claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Scope    string `json:"scope"`
		Expires  int64  `json:"exp"`
	}
	var last claims
	demandedScope, refuseAll := "read", false
	w.odd["mcp:/mcp"] = func(rw http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		parts := strings.Split(token, ".")
		last = claims{}
		if len(parts) == 3 {
			b, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err == nil {
				_ = json.Unmarshal(b, &last)
			}
		}
		switch {
		case refuseAll || last.Audience != w.conn.ServerURL || last.Issuer != issuer || time.Now().Unix() >= last.Expires:
			rw.Header().Set("WWW-Authenticate", `Bearer scope="read"`)
			rw.WriteHeader(http.StatusUnauthorized)
		case !slices.Contains(strings.Fields(last.Scope), demandedScope):
			rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+demandedScope+`"`)
			rw.WriteHeader(http.StatusForbidden)
		}
	}
	rt := w.transport()
	ask := func() error { _, err := w.call(rt); return err }

	d := demanded(t, ask())
	f, at, err := w.start(d)
	if err != nil {
		t.Fatal(err)
	}
	if !f.IssuerInResponse || f.Resource != w.conn.ServerURL || !slices.Equal(f.Scopes, []string{"read", "offline_access"}) {
		t.Errorf("flow %+v", f)
	}
	back, err := oauthtest.Browse(t.Context(), at, redirectURI)
	if err != nil {
		t.Fatal(err)
	}
	if back.Query().Get("iss") != issuer {
		t.Errorf("the response is %s", back.Redacted())
	}
	if _, err := w.client.Finish(t.Context(), f, response(back.Query())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Finish(t.Context(), f, response(back.Query())); err == nil {
		t.Error("the code worked twice")
	}
	// Using a code twice ended what it gave, as it should; so once more.
	if err := authorize(t.Context(), w.client, w.conn, d); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}

	old, _ := w.grant()
	w.change(func(g *oauth.Grant) { g.Expires = time.Now() })
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	fresh, _ := w.grant()
	if fresh.RefreshToken == old.RefreshToken || fresh.AccessToken == old.AccessToken {
		t.Error("nothing was rotated")
	}

	demandedScope = "admin"
	d = demanded(t, ask())
	if d.Status != http.StatusForbidden {
		t.Errorf("demand %+v", d)
	}
	if err := authorize(t.Context(), w.client, w.conn, d); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil || !slices.Contains(strings.Fields(last.Scope), "read") {
		t.Errorf("after the step up: scopes %q, %v", last.Scope, err)
	}

	g, _ := w.grant()
	if err := w.client.Revoke(t.Context(), g); err != nil {
		t.Error(err)
	}
	w.change(func(g *oauth.Grant) { g.Expires = time.Now() })
	refuseAll = true // its JWTs cannot be taken back
	d = demanded(t, ask())
	if d.Status != http.StatusUnauthorized {
		t.Errorf("demand %+v", d)
	}
	if g, _ := w.grant(); g.RefreshToken != "" {
		t.Error("a refresh token that was revoked is kept")
	}
}

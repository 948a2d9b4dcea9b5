// Command fosite is an authorization server made of Ory Fosite, as servers were
// before MCP said how they are found: no metadata, and /authorize, /token and
// /register at the root. It insists on PKCE with S256, rotates refresh tokens, and
// takes back all that came of one that is used twice. Its one user agrees to
// everything. It prints its address on the first line; /introspect says what a token
// is worth. It is a module of its own, so that what it needs is no part of Holdfast.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
	"golang.org/x/crypto/bcrypt"
)

func main() {
	log.SetFlags(0)
	store := storage.NewMemoryStore()
	key := make([]byte, 32)
	rand.Read(key) // never fails
	config := &fosite.Config{
		GlobalSecret: key, EnforcePKCE: true, AccessTokenLifespan: time.Minute, RefreshTokenScopes: []string{},
		TokenURL: "/token", ScopeStrategy: fosite.ExactScopeStrategy,
	}
	provider := compose.Compose(config, store, compose.NewOAuth2HMACStrategy(config),
		compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2RefreshTokenGrantFactory, compose.OAuth2PKCEFactory, compose.OAuth2TokenIntrospectionFactory)
	session := func() *fosite.DefaultSession { return &fosite.DefaultSession{Username: "user", Subject: "user"} }

	mux := http.NewServeMux()
	mux.HandleFunc("POST /register", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			RedirectURIs  []string `json:"redirect_uris"`
			GrantTypes    []string `json:"grant_types"`
			ResponseTypes []string `json:"response_types"`
			Method        string   `json:"token_endpoint_auth_method"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.RedirectURIs) == 0 {
			http.Error(w, `{"error":"invalid_client_metadata"}`, http.StatusBadRequest)
			return
		}
		secret := rand.Text()
		hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		client := &fosite.DefaultClient{
			ID: rand.Text(), Secret: hash, RedirectURIs: in.RedirectURIs, GrantTypes: in.GrantTypes, ResponseTypes: in.ResponseTypes,
			Public: in.Method == "none", Scopes: []string{"pay"},
		}
		store.Clients[client.ID] = client
		out := map[string]any{"client_id": client.ID, "redirect_uris": in.RedirectURIs}
		if !client.Public {
			out["client_secret"], out["client_secret_expires_at"] = secret, 0
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(out) // a client that is gone asks again
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		req, err := provider.NewAuthorizeRequest(ctx, r)
		if err != nil {
			provider.WriteAuthorizeError(ctx, w, req, err)
			return
		}
		for _, s := range req.GetRequestedScopes() {
			req.GrantScope(s)
		}
		answer, err := provider.NewAuthorizeResponse(ctx, req, session())
		if err != nil {
			provider.WriteAuthorizeError(ctx, w, req, err)
			return
		}
		provider.WriteAuthorizeResponse(ctx, w, req, answer)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		req, err := provider.NewAccessRequest(ctx, r, session())
		if err != nil {
			provider.WriteAccessError(ctx, w, req, err)
			return
		}
		answer, err := provider.NewAccessResponse(ctx, req)
		if err != nil {
			provider.WriteAccessError(ctx, w, req, err)
			return
		}
		provider.WriteAccessResponse(ctx, w, req, answer)
	})
	mux.HandleFunc("GET /introspect", func(w http.ResponseWriter, r *http.Request) {
		use, req, err := provider.IntrospectToken(r.Context(), r.URL.Query().Get("token"), fosite.AccessToken, session())
		if err != nil || use != fosite.AccessToken || !slices.Contains([]string{"user"}, req.GetSession().GetSubject()) {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", ln.Addr())
	log.Fatal(http.Serve(ln, mux))
}

package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/oauthtest"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// suiteClient is set in the environment of this test binary when the official
// suite runs it as the client under test.
const suiteClient = "HOLDFAST_TEST_SUITE_CLIENT"

const (
	redirectURI = "http://127.0.0.1:39999/oauth/callback/test"
	// suiteDocument is the client id that the suite expects of clients with a
	// metadata document.
	suiteDocument = "https://conformance-test.local/client-metadata.json"
)

// quickly are the scenarios that always run; HOLDFAST_CONFORMANCE=all runs all of
// them, which takes a minute.
var quickly = []string{
	"auth/scope-step-up", "auth/authorization-server-migration", "auth/pre-registration", "auth/enterprise-managed-authorization",
	"auth/dpop-nonce", "auth/2025-03-26-oauth-metadata-backcompat",
}

func TestConformance(t *testing.T) {
	all := os.Getenv("HOLDFAST_CONFORMANCE") == "all"
	for _, s := range oauthtest.AuthScenarios() {
		if !all && (s.Revision == "2025-11-25" || !slices.Contains(quickly, s.Name)) {
			continue
		}
		t.Run(s.Revision+"/"+s.Name, func(t *testing.T) {
			t.Parallel()
			checks, output, err := oauthtest.RunScenario(t, s, os.Args[0], suiteClient+"=1")
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			if oauthtest.Passed(checks) {
				return
			}
			for _, c := range checks {
				if c.Status != "SUCCESS" && c.Status != "INFO" {
					t.Errorf("%s %s: %s %s %s", c.Status, c.ID, c.Description, c.ErrorMessage, c.Details)
				}
			}
			t.Fatalf("the scenario failed:\n%s", output)
		})
	}
}

// suiteContext is what the suite tells a client beforehand.
type suiteContext struct {
	ClientID         string `json:"client_id"`
	ClientSecret     string `json:"client_secret"`
	PrivateKey       string `json:"private_key_pem"`
	Algorithm        string `json:"signing_algorithm"`
	IDPClientID      string `json:"idp_client_id"`
	IDPIDToken       string `json:"idp_id_token"`
	IDPIssuer        string `json:"idp_issuer"`
	IDPTokenEndpoint string `json:"idp_token_endpoint"`
	WorkloadJWT      string `json:"valid_jwt"`
}

func runSuiteClient() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := useServer(ctx, os.Args[len(os.Args)-1], os.Getenv("MCP_CONFORMANCE_SCENARIO")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// useServer lists the tools of a server and calls each, and does with a browser
// what a human would whenever the server asks.
func useServer(ctx context.Context, serverURL, scenario string) error {
	var sc suiteContext
	if raw := os.Getenv("MCP_CONFORMANCE_CONTEXT"); raw != "" {
		if err := json.Unmarshal([]byte(raw), &sc); err != nil {
			return err
		}
	}
	own := oauth.Registration{
		ClientID: sc.ClientID, ClientSecret: oauth.Secret(sc.ClientSecret), PrivateKey: oauth.Secret(sc.PrivateKey), Algorithm: sc.Algorithm,
	}
	store := &oauth.MemoryStore{}
	conn := oauth.Connection{Tenant: "t", User: "u", Name: "suite", ServerURL: serverURL, Grants: store, Registrations: store}
	switch scenario {
	case "auth/client-credentials-jwt", "auth/client-credentials-basic":
		conn.Machine = oauth.ClientCredentials{Client: own}
	case "auth/enterprise-managed-authorization":
		conn.Machine = oauth.EnterpriseManaged{
			Client: own, IDPClient: oauth.Registration{ClientID: sc.IDPClientID}, IDPTokenEndpoint: sc.IDPTokenEndpoint, IDPIssuer: sc.IDPIssuer,
			Subject: func(context.Context) (oauth.Secret, error) { return oauth.Secret(sc.IDPIDToken), nil },
		}
	case "auth/wif-jwt-bearer":
		conn.Machine = oauth.WorkloadIdentity{
			Client: own, Assertion: func(context.Context, string) (oauth.Secret, error) { return oauth.Secret(sc.WorkloadJWT), nil },
		}
	case "auth/pre-registration":
		conn.Clients = []oauth.Registration{own}
	}
	c, err := oauth.NewClient(oauth.Options{Transport: &http.Transport{}})
	if err != nil {
		return err
	}
	rt, err := c.RoundTripper(conn)
	if err != nil {
		return err
	}
	ts, err := mcptool.New(mcptool.Config{Name: "suite", URL: serverURL}, mcptool.Options{RoundTripper: rt})
	if err != nil {
		return err
	}
	defer ts.Close()
	var defs []tool.Definition
	if err := authorized(ctx, c, conn, func() (err error) { defs, err = ts.Tools(ctx); return err }); err != nil {
		return err
	}
	for _, d := range defs {
		err := authorized(ctx, c, conn, func() error {
			res, err := ts.Call(ctx, tooltest.Call(tool.Call{Name: d.Name, Arguments: "{}"}))
			if err == nil && res.IsError {
				err = errors.New(res.Output)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// authorized does something until no human is needed for it any more.
func authorized(ctx context.Context, c *oauth.Client, conn oauth.Connection, do func() error) error {
	for range 10 {
		err := do()
		var required *oauth.OAuthAuthorizationRequiredError
		if !errors.As(err, &required) {
			return err
		}
		if err := authorize(ctx, c, conn, required.Demand); err != nil {
			return err
		}
	}
	return errors.New("the human was asked ten times")
}

// authorize is one flow from the demand to the stored grant.
func authorize(ctx context.Context, c *oauth.Client, conn oauth.Connection, d oauth.Demand) error {
	flow, at, err := c.Start(ctx, oauth.StartRequest{
		Connection: conn, Demand: d, RedirectURI: redirectURI, State: "a state", DocumentURL: suiteDocument,
	})
	if err != nil {
		return err
	}
	back, err := oauthtest.Browse(ctx, at, redirectURI)
	if err != nil {
		return err
	}
	g, err := c.Finish(ctx, flow, response(back.Query()))
	if err != nil {
		return err
	}
	key, err := conn.Key()
	if err != nil {
		return err
	}
	return oauth.StoreGrant(ctx, conn.Grants, key, g)
}

func response(q url.Values) oauth.Response {
	r := oauth.Response{State: q.Get("state"), Code: oauth.Secret(q.Get("code")), Error: q.Get("error")}
	if q.Has("iss") {
		iss := q.Get("iss")
		r.Issuer = &iss
	}
	return r
}

package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// product is a deployment that is running.
type product struct {
	api string // address
	// echo is the address of a model that calls a tool with what it was told of
	// another one.
	echo string
	// parked, if not nil, is called with the worker that asked for an authorization
	// before the user opens the URL.
	parked func(worker string) error
	// deliver are the addresses of callback services that each get the answer of the
	// authorization server so many times; none is that the browser alone brings it.
	deliver []string
	times   int

	agents  atomic.Int64
	flows   atomic.Int64 // authorizations that users were asked for
	kills   atomic.Int64
	answers atomic.Int64 // deliveries of answers
}

// longest is how long one scenario may take.
const longest = 90 * time.Second

// request makes a request to the API.
func (p *product) request(ctx context.Context, method, path, kind string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, p.api+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: HTTP %d: %s", method, path, resp.StatusCode, said)
	}
	if into != nil {
		return json.Unmarshal(said, into)
	}
	return nil
}

func (p *product) send(ctx context.Context, method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return p.request(ctx, method, path, "application/json", raw, into)
}

// carryOut is one scenario: the tenant stores what the server needs, a session runs
// the agent, and a user answers. What the run comes to is for the suite to judge.
func (p *product) carryOut(ctx context.Context, scenario string, o order) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var c suiteContext
	if len(o.Context) > 0 {
		if err := json.Unmarshal(o.Context, &c); err != nil {
			return fmt.Errorf("the suite's context: %w", err)
		}
	}
	name := fmt.Sprintf("suite_%d", p.agents.Add(1))
	if err := p.configure(ctx, name, scenario, o.Server, c); err != nil {
		return err
	}
	agent, err := json.Marshal(p.agent(scenario, o.Server, name, c))
	if err != nil {
		return err
	}
	// JSON is YAML.
	if err := p.request(ctx, http.MethodPut, "/v1/agents/"+name, "application/yaml", agent, nil); err != nil {
		return err
	}
	var s struct {
		ID string `json:"id"`
	}
	if err := p.send(ctx, http.MethodPost, "/v1/sessions", map[string]any{"agent": name, "tools_approved": true}, &s); err != nil {
		return err
	}
	run := map[string]any{"messages": []map[string]string{{"role": "user", "content": "go"}}}
	if err := p.send(ctx, http.MethodPost, "/v1/sessions/"+s.ID+"/runs", run, nil); err != nil {
		return err
	}
	return p.attend(ctx, s.ID)
}

// configure stores what the tenant knows of the server beforehand.
func (p *product) configure(ctx context.Context, name, scenario, server string, c suiteContext) error {
	client := map[string]any{"server_url": server, "client_id": c.ClientID}
	for k, v := range map[string]string{"client_secret": c.ClientSecret, "private_key": c.PrivateKey, "algorithm": c.Algorithm} {
		if v != "" {
			client[k] = v
		}
	}
	secret := ""
	switch scenario {
	default:
		return nil
	case "auth/pre-registration":
	case "auth/basic-cimd":
		client["client_id"], client["token_endpoint_auth_method"] = suiteDocument, "none"
	case "auth/client-credentials-jwt", "auth/client-credentials-basic":
		client["grant"] = "client_credentials"
	case "auth/enterprise-managed-authorization":
		client["grant"], client["assertion_secret"], secret = "enterprise_managed", name+"_token", c.IDPIDToken
		client["identity_provider"] = map[string]string{"issuer": c.IDPIssuer, "token_endpoint": c.IDPTokenEndpoint, "client_id": c.IDPClientID}
	case "auth/wif-jwt-bearer":
		client["grant"], client["assertion_secret"], secret = "workload_identity", name+"_token", c.WorkloadJWT
	}
	if secret != "" {
		if err := p.send(ctx, http.MethodPut, "/v1/secrets/"+name+"_token", map[string]string{"value": secret}, nil); err != nil {
			return err
		}
	}
	return p.send(ctx, http.MethodPut, "/v1/oauth-clients/"+name, client, nil)
}

// agent is the agent file. Its toolset has a name of its own: the suite's servers
// come back at ports that others had, and a grant belongs to a name and a URL.
func (p *product) agent(scenario, server, name string, c suiteContext) map[string]any {
	model := map[string]any{"provider": "scripted", "model": name}
	if scenario == preservation {
		// A server of the tenant's own: providers that are hosted refuse alternatives at the
		// root of a schema, so they get them merged.
		model = map[string]any{"provider": "ollama", "model": name, "base_url": p.echo, "token_key": "ECHO_KEY", "provider_opts": map[string]any{"api_type": "openai_chatcompletions"}}
	} else {
		turns := []map[string]any{}
		if list := calls(scenario, c); len(list) > 0 {
			turns = append(turns, map[string]any{"when": map[string]any{"turn": 0}, "call": list}, map[string]any{"when": map[string]any{"turn": 1}, "say": "done"})
		} else {
			turns = append(turns, map[string]any{"say": "done"})
		}
		model["provider_opts"] = map[string]any{"script": map[string]any{"title": scenario, "turns": turns}}
	}
	return map[string]any{
		"version": "2",
		"agents": map[string]any{"root": map[string]any{
			"model": "m", "description": "d", "instruction": "i",
			"toolsets": []map[string]any{{"type": "mcp", "name": name, "remote": map[string]any{"url": server}}},
		}},
		"models": map[string]any{"m": model},
	}
}

// event has what attend looks at.
type event struct {
	Type         string `json:"type"`
	ID           string `json:"id"`
	Worker       string `json:"worker"`
	Waiting      string `json:"waiting"`
	Confirmation string `json:"confirmation"`
	URL          string `json:"authorization_url"`
	Flow         string `json:"flow_id"`
}

// attend is the user of a session until its run has ended: opens what is to be
// authorized and answers what is asked.
func (p *product) attend(ctx context.Context, session string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.api+"/v1/sessions/"+session+"/events", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	worker, said := "", []string(nil)
	var open *event
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		said = append(said, text)
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return err
		}
		switch e.Type {
		case "session_claimed":
			worker = e.Worker
		case "authorization_required":
			if open = nil; e.Confirmation == "pending" {
				open = &e
			}
		case "elicitation_request":
			if err := p.send(ctx, http.MethodPost, "/v1/sessions/"+session+"/inputs/"+e.ID, map[string]any{"action": "accept", "content": map[string]any{}}, nil); err != nil {
				return err
			}
		case "session_parked":
			if e.Waiting != "authorization" || open == nil {
				continue
			}
			if p.parked != nil {
				if err := p.parked(worker); err != nil {
					return err
				}
				p.kills.Add(1)
			}
			p.flows.Add(1)
			if err := p.authorize(ctx, open.URL); err != nil {
				return fmt.Errorf("the user: %w\n%s", err, strings.Join(said, "\n"))
			}
			open = nil
		case "run_finished":
			return nil
		}
	}
	return errors.Join(fmt.Errorf("the run did not end:\n%s", strings.Join(said, "\n")), lines.Err())
}

// authorize opens the URL in a new browser and follows it to the page at the end.
func (p *product) authorize(ctx context.Context, at string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	answer := ""
	browser := &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if strings.HasPrefix(req.URL.Path, "/oauth/callback/") {
			answer = req.URL.RequestURI()
			if len(p.deliver) > 0 {
				return http.ErrUseLastResponse
			}
		}
		if len(via) > 10 {
			return errors.New("redirected too often")
		}
		return nil
	}}
	defer browser.CloseIdleConnections()
	open := func(at string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := browser.Do(req)
		if err != nil {
			return err
		}
		page, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read to its end
		if err == nil && resp.StatusCode >= 400 {
			err = fmt.Errorf("the page at the end: HTTP %d\n%.300s", resp.StatusCode, page)
		}
		return err
	}
	if err := open(at); err != nil {
		return err
	}
	if answer == "" {
		return errors.New("the authorization server never sent the browser back")
	}
	if len(p.deliver) == 0 {
		p.answers.Add(1)
		return nil
	}
	errs := make([]error, p.times)
	var all sync.WaitGroup
	for i := range p.times {
		all.Go(func() {
			p.answers.Add(1)
			errs[i] = open(p.deliver[i%len(p.deliver)] + answer)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

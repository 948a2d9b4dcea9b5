package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// modelTimeout is how long a request may take for which the server asks a model
// or another server.
const modelTimeout = 5 * time.Minute

// Agent is an agent file in a list.
type Agent struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Multi       bool   `json:"multi"` // several agents
	// Problem is why the file cannot be used, "" if it can.
	Problem string `json:"problem"`
	// Version numbers what was stored under the name; 0 is a file of the deployment,
	// which cannot be changed by request.
	Version int64 `json:"version"`
}

// GetAgents returns the agent files by name.
func (c *Client) GetAgents(ctx context.Context) ([]Agent, error) {
	var all []Agent
	query := url.Values{}
	for {
		var page struct {
			Agents []Agent `json:"agents"`
			Next   string  `json:"next"`
		}
		if err := c.do(ctx, "GET", path("v1", "agents"), query, nil, &page); err != nil {
			return nil, err
		}
		if page.Agents == nil {
			return nil, errors.New("GET /v1/agents: the answer is no list of agents")
		}
		all = append(all, page.Agents...)
		if page.Next == "" || len(page.Agents) == 0 || page.Next == query.Get("cursor") {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// GetAgent returns an agent file in the newest schema as JSON, its agents as an
// object by name. See [Client.GetAgentFile] for the file itself.
func (c *Client) GetAgent(ctx context.Context, name string) (json.RawMessage, error) {
	var doc json.RawMessage
	if err := c.do(ctx, "GET", path("api", "agents", name), nil, nil, &doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// AgentFile is an agent file with its text.
type AgentFile struct {
	Agent
	// ETag names the version's content.
	ETag   string `json:"etag"`
	Source string `json:"source"`
	// Problems are all that is wrong with it.
	Problems []AgentProblem `json:"problems"`
}

// AgentProblem is a mistake in an agent file.
type AgentProblem struct {
	Line    int    `json:"line"` // from 1; 0 if the problem is not at one place
	Column  int    `json:"column"`
	Key     string `json:"key"` // such as agents.root.toolsets[0].type
	Message string `json:"message"`
}

// GetAgentFile returns an agent file as it is stored; NAME@3 is its third version.
func (c *Client) GetAgentFile(ctx context.Context, name string) (*AgentFile, error) {
	var f AgentFile
	err := c.do(ctx, "GET", path("v1", "agents", name), nil, nil, &f)
	return answer(&f, f.Name, "name", err)
}

// PutAgentFile stores an agent file: a new one, or a new version of one. Sessions
// that have begun keep the version that they began with.
func (c *Client) PutAgentFile(ctx context.Context, name string, source []byte) (*AgentFile, error) {
	var f AgentFile
	err := c.do(ctx, "PUT", path("v1", "agents", name), nil, map[string]string{"source": string(source)}, &f)
	return answer(&f, f.Name, "name", err)
}

// CreatedAgent is an agent file that a model wrote.
type CreatedAgent struct {
	// Path is the file's name on the server, Out what the model said of it.
	Path string `json:"path"`
	Out  string `json:"out"`
}

// CreateAgent has a model write an agent file for what the prompt asks for. It
// may take minutes, and it is not repeated if its answer gets lost.
func (c *Client) CreateAgent(ctx context.Context, prompt string) (*CreatedAgent, error) {
	var out CreatedAgent
	err := c.agentRequest(ctx, http.MethodPost, path("api", "agents"), modelTimeout, 1, map[string]string{"prompt": prompt}, &out)
	return answer(&out, out.Path, "path", err)
}

// CreateAgentConfig makes an agent file with one agent and returns its path on
// the server. All texts are required.
func (c *Client) CreateAgentConfig(ctx context.Context, filename, model, description, instruction string) (string, error) {
	var out struct {
		Path string `json:"filepath"`
	}
	in := map[string]string{"filename": filename, "model": model, "description": description, "instruction": instruction}
	err := c.agentRequest(ctx, http.MethodPost, path("api", "agents", "config"), c.timeout, attempts, in, &out)
	if _, err := answer(&out, out.Path, "filepath", err); err != nil {
		return "", err
	}
	return out.Path, nil
}

// EditedAgent is an agent file after an edit.
type EditedAgent struct {
	Message string          `json:"message"`
	Path    string          `json:"path"`
	Config  json.RawMessage `json:"config"`
}

// EditAgentConfig merges config, whose JSON is an agent file or a part of one,
// into the file of that name.
func (c *Client) EditAgentConfig(ctx context.Context, filename string, config any) (*EditedAgent, error) {
	var out EditedAgent
	in := map[string]any{"agent_config": config, "filename": filename}
	err := c.agentRequest(ctx, http.MethodPut, path("api", "agents", "config"), c.timeout, attempts, in, &out)
	return answer(&out, out.Path, "path", err)
}

// ImportedAgent is an agent file that was imported.
type ImportedAgent struct {
	OriginalPath string `json:"originalPath"`
	TargetPath   string `json:"targetPath"`
	Description  string `json:"description"`
}

// ImportAgent takes a file of the server's machine into the server's agents. A
// hosted deployment refuses it.
func (c *Client) ImportAgent(ctx context.Context, filePath string) (*ImportedAgent, error) {
	return c.importAgent(ctx, map[string]string{"file_path": filePath})
}

// ImportAgentContent stores the text of an agent file under a name.
func (c *Client) ImportAgentContent(ctx context.Context, name string, content []byte) (*ImportedAgent, error) {
	return c.importAgent(ctx, map[string]string{"file_path": name, "content": string(content)})
}

func (c *Client) importAgent(ctx context.Context, in map[string]string) (*ImportedAgent, error) {
	var out ImportedAgent
	err := c.agentRequest(ctx, http.MethodPost, path("api", "agents", "import"), c.timeout, attempts, in, &out)
	return answer(&out, out.TargetPath, "targetPath", err)
}

// ExportedAgents says where the server put an archive of all agent files.
type ExportedAgents struct {
	ZipPath      string    `json:"zipPath"`
	ZipFile      string    `json:"zipFile"`
	ZipDirectory string    `json:"zipDirectory"`
	AgentsDir    string    `json:"agentsDir"`
	CreatedAt    time.Time `json:"createdAt"`
}

// ExportAgents makes a zip archive of all agent files on the server.
func (c *Client) ExportAgents(ctx context.Context) (*ExportedAgents, error) {
	var out ExportedAgents
	err := c.agentRequest(ctx, http.MethodPost, path("api", "agents", "export"), c.timeout, attempts, nil, &out)
	return answer(&out, out.ZipFile, "zipFile", err)
}

// PulledAgent is an agent file from a registry.
type PulledAgent struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// PullAgent takes an agent file from an OCI registry, by its reference.
func (c *Client) PullAgent(ctx context.Context, reference string) (*PulledAgent, error) {
	var out PulledAgent
	err := c.agentRequest(ctx, http.MethodPost, path("api", "agents", "pull"), modelTimeout, attempts, map[string]string{"name": reference}, &out)
	return answer(&out, out.Name, "name", err)
}

// PushedAgent is an agent file in a registry.
type PushedAgent struct {
	Path   string `json:"filepath"`
	Tag    string `json:"tag"`
	Digest string `json:"digest"`
}

// PushAgent puts an agent file of the server into an OCI registry under tag.
func (c *Client) PushAgent(ctx context.Context, filepath, tag string) (*PushedAgent, error) {
	var out PushedAgent
	in := map[string]string{"filepath": filepath, "tag": tag}
	err := c.agentRequest(ctx, http.MethodPost, path("api", "agents", "push"), modelTimeout, attempts, in, &out)
	return answer(&out, out.Digest, "digest", err)
}

// DeleteAgent deletes an agent file of the server. Sessions that began with it
// go on with what they have.
func (c *Client) DeleteAgent(ctx context.Context, filePath string) error {
	return c.agentRequest(ctx, http.MethodDelete, path("api", "agents"), c.timeout, attempts, map[string]string{"file_path": filePath}, nil)
}

// agentRequest makes a request of the original API's agent routes.
func (c *Client) agentRequest(ctx context.Context, method, path string, timeout time.Duration, attempts int, in, out any) error {
	return c.attempt(ctx, max(timeout, c.timeout), attempts, method, path, nil, "", in, out)
}

// answer returns out if the member that says that it is one is there.
func answer[T any](out *T, member, name string, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	if member == "" {
		return nil, fmt.Errorf("the answer has no %s", name)
	}
	return out, nil
}

// GetDesktopToken returns the token of a desktop application, always "" here.
func (c *Client) GetDesktopToken(ctx context.Context) (string, error) {
	var t struct {
		Token *string `json:"token"`
	}
	if err := c.do(ctx, "GET", path("api", "desktop", "token"), nil, nil, &t); err != nil {
		return "", err
	}
	if t.Token == nil {
		return "", errors.New("GET /api/desktop/token: the answer has no token")
	}
	return *t.Token, nil
}

// ResumeStartAuthorizationFlow says whether the authorization that a session
// waits for may begin.
func (c *Client) ResumeStartAuthorizationFlow(ctx context.Context, session string, confirmation bool) error {
	return c.do(ctx, "POST", path("api", session, "resumeStartOauth"), nil, map[string]bool{"confirmation": confirmation}, nil)
}

// ResumeCodeReceived hands over the code and the state with which an
// authorization server sent the user back.
func (c *Client) ResumeCodeReceived(ctx context.Context, code, state string) error {
	return c.codeReceived(ctx, code, state, nil)
}

// codeReceived is ResumeCodeReceived with the issuer (RFC 9207), if there is one.
func (c *Client) codeReceived(ctx context.Context, code, state string, issuer *string) error {
	in := struct {
		Code   string  `json:"code"`
		State  string  `json:"state"`
		Issuer *string `json:"iss,omitempty"`
	}{code, state, issuer}
	return c.do(ctx, "POST", path("api", "resumeCodeReceivedOauth"), nil, in, nil)
}

// stateOf returns the state of the authorization that begins at a URL of the
// server, which sends a browser on to the authorization server.
func (c *Client) stateOf(ctx context.Context, begin *url.URL) (string, error) {
	if s := begin.Query().Get("state"); s != "" {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := c.request(ctx, http.MethodGet, begin.EscapedPath(), begin.Query(), nil)
	if err != nil {
		return "", err
	}
	stay := *c.http
	stay.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := stay.Do(req)
	if err != nil {
		return "", fmt.Errorf("find the state of the authorization: %w", &lostError{err})
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	at, err := resp.Location()
	if err != nil || at.Query().Get("state") == "" {
		return "", holdfast.Errorf(holdfast.CodeConflict, "the authorization is no longer under way")
	}
	return at.Query().Get("state"), nil
}

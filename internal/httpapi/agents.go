package httpapi

import (
	"archive/zip"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"regexp"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// plainName is an agent's name without the extension of its file.
func plainName(name string) string {
	for _, ext := range []string{".yaml", ".yml"} {
		if s, ok := strings.CutSuffix(name, ext); ok {
			return s
		}
	}
	return name
}

// agentsAway is unavailable for agent files.
func agentsAway(err error) error {
	var e *holdfast.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return holdfast.WrapError(holdfast.CodeUnavailable, err, "the agent files cannot be reached now; try again")
}

// agents lists the agent files that the tenant may use, by name.
func (a *API) agents(ctx context.Context) ([]agent.Entry, error) {
	list, err := a.cfg.Agents.List(ctx, tenantOf(ctx))
	if err != nil {
		return nil, agentsAway(fmt.Errorf("list agents: %w", err))
	}
	return list, nil
}

// agentNamed finds the agent file that a client means: that name, with or
// without .yaml and a version, else what an alias stands for. CodeNotFound lists
// what there is.
func (a *API) agentNamed(ctx context.Context, name string) (agent.File, error) {
	return a.agentBy(ctx, name, a.cfg.Agents.Find)
}

func (a *API) agentBy(ctx context.Context, name string, find func(ctx context.Context, tenant, ref string) (agent.File, error)) (agent.File, error) {
	f, err := find(ctx, tenantOf(ctx), name)
	if holdfast.CodeOf(err) != holdfast.CodeNotFound {
		return f, agentsAway(err)
	}
	for from, to := range a.cfg.AgentAliases {
		if plainName(from) == plainName(name) {
			if f, aerr := find(ctx, tenantOf(ctx), to); aerr == nil {
				return f, nil
			}
		}
	}
	return agent.File{}, err
}

// usableAgent is agentNamed for an agent that is about to run, which a database
// that is away does not stop.
func (a *API) usableAgent(ctx context.Context, name string) (agent.File, error) {
	info, err := a.agentBy(ctx, name, a.cfg.Agents.FindForRun)
	if err == nil && info.Problem != "" {
		err = holdfast.Errorf(holdfast.CodeInvalid, "the file of agent %q cannot be used: %s", plainName(info.Name), info.Problem)
	}
	return info, err
}

// describe returns an agent file as JSON in the newest schema, its agents as an
// object by name or as an array whose elements have a Name.
func (a *API) describe(f agent.File, asList bool) (json.RawMessage, error) {
	team, err := a.cfg.Agents.Check(f.Name, f.Source)
	if err != nil {
		return nil, err
	}
	var doc []byte
	if asList {
		doc, err = team.MarshalAgentList()
	} else {
		doc, err = json.Marshal(team)
	}
	if err != nil {
		return nil, fmt.Errorf("describe agent file %s: %w", f.Name, err)
	}
	return doc, nil
}

// changeTimeout is how long storing an agent file may take, whatever becomes of
// the client.
const changeTimeout = 15 * time.Second

// changing is a context for a change that a client which hangs up does not stop
// in the middle.
func changing(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), most)
}

// putAgent stores a file of the tenant's.
func (a *API) putAgent(ctx context.Context, name string, source []byte, origin string, c agent.Condition) (agent.File, bool, error) {
	ctx, cancel := changing(ctx, changeTimeout)
	defer cancel()
	f, created, err := a.cfg.Agents.Put(ctx, tenantOf(ctx), name, source, origin, c)
	return f, created, agentsAway(err)
}

// editAgent merges a patch into a file.
func (a *API) editAgent(ctx context.Context, name string, patch map[string]any, c agent.Condition) (agent.File, error) {
	ctx, cancel := changing(ctx, changeTimeout)
	defer cancel()
	f, err := a.cfg.Agents.Edit(ctx, tenantOf(ctx), name, patch, c)
	return f, agentsAway(err)
}

// deleteAgent removes a file of the tenant's.
func (a *API) deleteAgent(ctx context.Context, name string, c agent.Condition) error {
	ctx, cancel := changing(ctx, changeTimeout)
	defer cancel()
	return agentsAway(a.cfg.Agents.Delete(ctx, tenantOf(ctx), name, c))
}

// makeTimeout is how long a model may take to write an agent file.
const makeTimeout = 3 * time.Minute

// makeAgent has a model write an agent file and stores it under name, or under
// one that the model chose. Existing clients give up after 30 s; the file comes
// all the same.
func (a *API) makeAgent(ctx context.Context, prompt, name string) (agent.File, string, error) {
	if a.cfg.MakeAgent == nil {
		return agent.File{}, "", holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: writing agent files by a model; set HOLDFAST_AGENT_WRITER to a model, or send the file")
	}
	if name != "" {
		if _, err := agent.FileName(name); err != nil {
			return agent.File{}, "", err
		}
	}
	ctx, cancel := changing(ctx, makeTimeout)
	defer cancel()
	made, err := a.cfg.MakeAgent(ctx, tenantOf(ctx), prompt)
	if err != nil {
		return agent.File{}, "", agentsAway(err)
	}
	f, err := a.cfg.Agents.CreateNamed(ctx, tenantOf(ctx), cmp.Or(name, made.Name), made.Source, "prompt")
	return f, made.Out, agentsAway(err)
}

func (a *API) errNoRegistry() error {
	if a.cfg.Registry == nil {
		return holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: agents in OCI registries")
	}
	return nil
}

// pullAgent stores what a registry has as the file of that name, "" for a name
// made of the reference. What it was pulled from, digest included, is the
// version's origin.
func (a *API) pullAgent(ctx context.Context, reference, name string, login Login) (f agent.File, created bool, err error) {
	if err := a.errNoRegistry(); err != nil {
		return agent.File{}, false, err
	}
	if name == "" {
		name = pulledName(reference)
	}
	if _, err := agent.FileName(name); err != nil {
		return agent.File{}, false, err
	}
	source, pinned, err := a.cfg.Registry.Pull(ctx, reference, login)
	if err != nil {
		return agent.File{}, false, err
	}
	return a.putAgent(ctx, name, source, "pull "+pinned, agent.Condition{})
}

// pulledName is the name of a file that was pulled: the reference with _ for
// what a name cannot have, without the tag latest, a digest shortened.
func pulledName(reference string) string {
	name, digest, _ := strings.Cut(reference, "@sha256:")
	name = strings.TrimSuffix(name, ":latest")
	if digest != "" {
		name += "_" + digest[:min(len(digest), 12)]
	}
	name = regexp.MustCompile(`[^A-Za-z0-9._-]+`).ReplaceAllString(name, "_")
	return strings.TrimLeft(name[:min(len(name), 120)], "._-")
}

// pushAgent stores a file in a registry.
func (a *API) pushAgent(ctx context.Context, name, reference string, login Login) (agent.File, string, error) {
	if err := a.errNoRegistry(); err != nil {
		return agent.File{}, "", err
	}
	f, err := a.usableAgent(ctx, name)
	if err != nil {
		return agent.File{}, "", err
	}
	digest, err := a.cfg.Registry.Push(ctx, reference, plainName(f.Name)+".yaml", f.Source, login)
	return f, digest, err
}

// zipAgents writes all files that the tenant may use as a zip archive. The first
// file is read before the first byte is written, so that what is away is an
// error still.
func (a *API) zipAgents(ctx context.Context, begin func() io.Writer) error {
	list, err := a.agents(ctx)
	if err != nil {
		return err
	}
	var z *zip.Writer
	for _, e := range list {
		f, err := a.cfg.Agents.Find(ctx, tenantOf(ctx), e.Name)
		if holdfast.CodeOf(err) == holdfast.CodeNotFound {
			continue // deleted a moment ago
		}
		if err != nil {
			return agentsAway(err)
		}
		if z == nil {
			z = zip.NewWriter(begin())
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: plainName(f.Name) + ".yaml", Method: zip.Deflate, Modified: f.UpdatedAt})
		if err == nil {
			_, err = w.Write(f.Source)
		}
		if err != nil {
			return fmt.Errorf("write %s into an archive: %w", f.Name, err)
		}
	}
	if z == nil {
		z = zip.NewWriter(begin())
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("end an archive: %w", err)
	}
	return nil
}

// agentSource takes the file from a request's body: the YAML itself or, as
// application/json, an object with a member source.
func agentSource(contentType string, body []byte) ([]byte, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/json" {
		return body, nil
	}
	var in map[string]*string
	if err := decodeStrict(body, &in); err != nil {
		return nil, err
	}
	source := in["source"]
	if source == nil || len(in) > 1 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "source: want {\"source\": \"…\"} and nothing else, or the file itself as application/yaml")
	}
	return []byte(*source), nil
}

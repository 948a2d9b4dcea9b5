package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// AgentRow is an agent file in a list.
type AgentRow struct {
	Name        string    `json:"name" doc:"Name of the file, without .yaml."`
	Description string    `json:"description"`
	Multi       bool      `json:"multi" doc:"The file has more than one agent."`
	Problem     string    `json:"problem,omitempty" doc:"Why the file cannot be used."`
	Version     int64     `json:"version" doc:"Number of the newest version; 0 for a file of the deployment, which cannot be changed here."`
	Origin      string    `json:"origin,omitempty" doc:"Where the version came from: put, edit, import, prompt, or pull and a reference with its digest."`
	UpdatedAt   time.Time `json:"updated_at,omitzero"`
}

func newAgentRow(e agent.Entry) AgentRow {
	return AgentRow{
		Name: plainName(e.Name), Description: e.Description, Multi: e.Multi, Problem: e.Problem,
		Version: e.Version, Origin: e.Origin, UpdatedAt: e.UpdatedAt,
	}
}

// AgentPage is a page of the list of agent files.
type AgentPage struct {
	Agents []AgentRow `json:"agents" doc:"By name."`
	Next   string     `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
}

// AgentProblem is one thing that is wrong with an agent file.
type AgentProblem struct {
	Line       int    `json:"line" doc:"From 1; 0 if the problem is not at one place."`
	Column     int    `json:"column" doc:"From 1."`
	Key        string `json:"key" doc:"Path of what is wrong, such as agents.root.toolsets[0].type."`
	Message    string `json:"message" doc:"What is wrong and what to do."`
	NotOffered bool   `json:"not_offered,omitempty" doc:"The file is right; this deployment does not offer what it asks for."`
}

// AgentDocument is an agent file.
type AgentDocument struct {
	AgentRow
	ETag     string          `json:"etag" doc:"For If-Match, as in the header ETag."`
	Source   string          `json:"source" doc:"The file, byte for byte."`
	Parsed   json.RawMessage `json:"parsed" doc:"The file in the newest schema; null if it cannot be used."`
	Problems []AgentProblem  `json:"problems" doc:"All that is wrong with the file; empty if it can be used."`
}

func agentProblems(err error) []AgentProblem {
	list := agent.Problems(err)
	out := make([]AgentProblem, len(list))
	for i, p := range list {
		out[i] = AgentProblem(p)
	}
	return out
}

func (a *API) newAgentDocument(f agent.File) (AgentDocument, error) {
	d := AgentDocument{AgentRow: newAgentRow(f.Entry), ETag: f.ETag(), Source: string(f.Source), Parsed: json.RawMessage("null"), Problems: []AgentProblem{}}
	doc, err := a.describe(f, false)
	switch {
	case agent.Problems(err) != nil:
		d.Problems = agentProblems(err)
	case err != nil:
		return d, err
	default:
		d.Parsed = doc
	}
	return d, nil
}

type agentOut struct {
	Status int
	ETag   string `header:"ETag"`
	Body   AgentDocument
}

// agentAnswer makes the answer that has a file whole.
func (a *API) agentAnswer(ctx context.Context, f agent.File, created bool, err error) (*agentOut, error) {
	var doc AgentDocument
	if err == nil {
		doc, err = a.newAgentDocument(f)
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	st := http.StatusOK
	if created {
		st = http.StatusCreated
	}
	return &agentOut{st, f.ETag(), doc}, nil
}

// AgentPath is the part of inputs that names an agent file.
type AgentPath struct {
	Name string `path:"name" doc:"Name of the file, with or without .yaml; NAME@3 is version 3."`
}

// AgentMatch is the part of inputs that makes a change conditional.
type AgentMatch struct {
	IfMatch string `header:"If-Match" doc:"Change nothing, with 412, unless the file has one of these ETags; * is any file."`
}

// agentFileBody describes a body that is an agent file.
func agentFileBody() *huma.RequestBody {
	object := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: false, Required: []string{"source"}, Properties: map[string]*huma.Schema{
		"source": {Type: huma.TypeString, Description: "The file."},
	}}
	return &huma.RequestBody{Required: true, Description: "The file itself, or an object that has it.", Content: map[string]*huma.MediaType{
		"application/yaml": {Schema: &huma.Schema{Type: huma.TypeString}}, "application/json": {Schema: object},
	}}
}

func (a *API) agentRoutes(api huma.API) {
	const tag = "agents"
	const tooLarge = http.StatusRequestEntityTooLarge
	op := func(id, method, path, summary, description string, statuses ...int) huma.Operation {
		return a.operation(id, method, path, tag, summary, description, statuses...)
	}
	huma.Register(api, op("list-agents", http.MethodGet, "/v1/agents", "List agents",
		"All agent files, those with a problem too: the tenant's own and, below them, those of the deployment."), a.listAgentsV1)
	huma.Register(api, op("get-agent", http.MethodGet, "/v1/agents/{name}", "Get an agent",
		"The file as it was written and as JSON in the newest schema, with all its problems.", http.StatusNotFound), a.getAgentV1)
	put := op("put-agent", http.MethodPut, "/v1/agents/{name}", "Store an agent",
		"Makes a new version of the file. Runs that are active keep the version that they started with. The same file again makes no version. "+
			"A file that cannot be used is refused with all its problems, line and column.", http.StatusPreconditionFailed, tooLarge, http.StatusNotImplemented)
	huma.Register(api, put, a.putAgentV1)
	patch := op("edit-agent", http.MethodPatch, "/v1/agents/{name}", "Edit an agent",
		"Merges a JSON merge patch (RFC 7396) into the file; comments and anchors stay where they can. An edit of a file of the deployment makes the tenant's own.",
		http.StatusNotFound, http.StatusPreconditionFailed, tooLarge, http.StatusNotImplemented)
	huma.Register(api, patch, a.editAgentV1)
	del := op("delete-agent", http.MethodDelete, "/v1/agents/{name}", "Delete an agent",
		"Deletes the tenant's file; its versions stay, and a file of the deployment with the same name shows again.",
		http.StatusNotFound, http.StatusForbidden, http.StatusPreconditionFailed)
	del.DefaultStatus = http.StatusOK
	huma.Register(api, del, a.deleteAgentV1)
	huma.Register(api, op("list-agent-versions", http.MethodGet, "/v1/agents/{name}/versions", "List versions of an agent",
		"Newest first. Get one with GET /v1/agents/NAME@3, run it as agent NAME@3. A file of the deployment has none.", http.StatusNotFound), a.agentVersionsV1)
	check := op("check-agent", http.MethodPost, "/v1/agents/check", "Check an agent",
		"Reads a file and says what is wrong with it. Stores nothing.", tooLarge)
	huma.Register(api, check, a.checkAgentV1)
	write := op("make-agent", http.MethodPost, "/v1/agents", "Have an agent written",
		"A model writes an agent file after a description.", http.StatusConflict, tooLarge, http.StatusNotImplemented, http.StatusBadGateway)
	write.DefaultStatus = http.StatusCreated
	huma.Register(api, write, a.makeAgentV1)
	huma.Register(api, op("pull-agent", http.MethodPost, "/v1/agents/pull", "Pull an agent",
		"Stores what an OCI registry has, with the digest of what was pulled.", tooLarge, http.StatusNotImplemented, http.StatusBadGateway), a.pullAgentV1)
	huma.Register(api, op("push-agent", http.MethodPost, "/v1/agents/{name}/push", "Push an agent",
		"Stores the file in an OCI registry.", http.StatusNotFound, http.StatusNotImplemented, http.StatusBadGateway), a.pushAgentV1)
	zip := op("export-agents", http.MethodGet, "/v1/agents.zip", "Export agents", "All agent files as a zip archive.")
	zip.Responses = map[string]*huma.Response{"200": {
		Description: "The archive.",
		Content:     map[string]*huma.MediaType{"application/zip": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}}
	huma.Register(api, zip, a.exportAgentsV1)
	// What a body may be is described afterwards: the handlers read it, huma does
	// not.
	paths := api.OpenAPI().Paths
	paths["/v1/agents/{name}"].Put.RequestBody = agentFileBody()
	paths["/v1/agents/check"].Post.RequestBody = agentFileBody()
	paths["/v1/agents/{name}"].Patch.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/merge-patch+json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}},
	}}
}

func (a *API) listAgentsV1(ctx context.Context, in *struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"The most files of the page. Default 1000."`
	Cursor string `query:"cursor" doc:"Member next of the page before."`
},
) (*struct{ Body AgentPage }, error) {
	if in.Cursor != "" {
		if name, err := agent.FileName(in.Cursor); err != nil || name != in.Cursor {
			return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeInvalid, "cursor: not one that a list of agents gave out"))
		}
	}
	list, err := a.agents(ctx)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	out := AgentPage{Agents: []AgentRow{}}
	for _, e := range list {
		if in.Cursor != "" && e.Name <= in.Cursor {
			continue
		}
		if len(out.Agents) == cmp.Or(in.Limit, maxPage) {
			out.Next = out.Agents[len(out.Agents)-1].Name + ".yaml"
			break
		}
		out.Agents = append(out.Agents, newAgentRow(e))
	}
	return &struct{ Body AgentPage }{out}, nil
}

func (a *API) getAgentV1(ctx context.Context, in *struct{ AgentPath }) (*agentOut, error) {
	f, err := a.agentNamed(ctx, in.Name)
	return a.agentAnswer(ctx, f, false, err)
}

func (a *API) putAgentV1(ctx context.Context, in *struct {
	AgentPath
	AgentMatch
	IfNoneMatch string `header:"If-None-Match" doc:"* stores the file only if there is none of that name; else 412."`
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte
},
) (*agentOut, error) {
	source, err := agentSource(in.ContentType, in.RawBody)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	f, created, err := a.putAgent(ctx, in.Name, source, "put", agent.Condition{Match: in.IfMatch, NoneMatch: in.IfNoneMatch})
	return a.agentAnswer(ctx, f, created, err)
}

func (a *API) editAgentV1(ctx context.Context, in *struct {
	AgentPath
	AgentMatch
	RawBody []byte
},
) (*agentOut, error) {
	var patch map[string]any
	if err := decodeStrict(in.RawBody, &patch); err != nil {
		return nil, a.respond(ctx, err)
	}
	if patch == nil {
		return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeInvalid, "the body: want a JSON object with what is to change"))
	}
	f, err := a.editAgent(ctx, in.Name, patch, agent.Condition{Match: in.IfMatch})
	return a.agentAnswer(ctx, f, false, err)
}

// AgentDeleted is the answer to a deletion.
type AgentDeleted struct {
	Name string `json:"name"`
}

func (a *API) deleteAgentV1(ctx context.Context, in *struct {
	AgentPath
	AgentMatch
},
) (*struct{ Body AgentDeleted }, error) {
	if err := a.deleteAgent(ctx, in.Name, agent.Condition{Match: in.IfMatch}); err != nil {
		return nil, a.respond(ctx, err)
	}
	return &struct{ Body AgentDeleted }{AgentDeleted{plainName(in.Name)}}, nil
}

// AgentVersion is one version of an agent file.
type AgentVersion struct {
	Version   int64     `json:"version"`
	Digest    string    `json:"digest" doc:"SHA-256 of the file; empty for a deletion."`
	Origin    string    `json:"origin" doc:"Where it came from: put, edit, import, prompt, delete, or pull and a reference with its digest."`
	CreatedAt time.Time `json:"created_at"`
	Deleted   bool      `json:"deleted,omitempty" doc:"The file was deleted here."`
}

// AgentVersionPage is a page of versions.
type AgentVersionPage struct {
	Versions []AgentVersion `json:"versions" doc:"Newest first."`
	Next     string         `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
}

func (a *API) agentVersionsV1(ctx context.Context, in *struct {
	AgentPath
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"The most versions of the page. Default 100."`
	Cursor string `query:"cursor" doc:"Member next of the page before."`
},
) (*struct{ Body AgentVersionPage }, error) {
	var before int64
	if in.Cursor != "" {
		var err error
		if before, err = strconv.ParseInt(in.Cursor, 10, 64); err != nil || before < 1 {
			return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeInvalid, "cursor: not one that a list of versions gave out"))
		}
	}
	limit := cmp.Or(in.Limit, defaultPage)
	list, err := a.cfg.Agents.Revisions(ctx, tenantOf(ctx), in.Name, before, limit)
	if err != nil {
		return nil, a.respond(ctx, agentsAway(err))
	}
	out := AgentVersionPage{Versions: make([]AgentVersion, len(list))}
	for i, r := range list {
		out.Versions[i] = AgentVersion{Version: r.Number, Digest: r.Digest, Origin: r.Origin, CreatedAt: r.CreatedAt, Deleted: r.Deleted}
	}
	if len(list) == limit && list[limit-1].Number > 1 {
		out.Next = strconv.FormatInt(list[limit-1].Number, 10)
	}
	return &struct{ Body AgentVersionPage }{out}, nil
}

// AgentCheck is what is to be said of an agent file.
type AgentCheck struct {
	OK       bool            `json:"ok" doc:"The file can be used in this deployment."`
	Parsed   json.RawMessage `json:"parsed" doc:"The file in the newest schema; null if it cannot be used."`
	Problems []AgentProblem  `json:"problems"`
}

func (a *API) checkAgentV1(ctx context.Context, in *struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte
},
) (*struct{ Body AgentCheck }, error) {
	source, err := agentSource(in.ContentType, in.RawBody)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	out := AgentCheck{OK: true, Parsed: json.RawMessage("null"), Problems: []AgentProblem{}}
	doc, err := a.describe(agent.File{Entry: agent.Entry{Summary: agent.Summary{Name: "agent.yaml"}}, Source: source}, false)
	switch {
	case agent.Problems(err) != nil:
		out.OK, out.Problems = false, agentProblems(err)
	case err != nil:
		return nil, a.respond(ctx, err)
	default:
		out.Parsed = doc
	}
	return &struct{ Body AgentCheck }{out}, nil
}

// NewAgent is the body of a request to have an agent written.
type NewAgent struct {
	Prompt string `json:"prompt" minLength:"1" maxLength:"100000" doc:"What the agent is to do."`
	Name   string `json:"name,omitempty" doc:"Name of the file; if it is taken, -2 or more is added. Default: one that the model chooses."`
}

// MadeAgent is an agent file that a model wrote.
type MadeAgent struct {
	AgentDocument
	Out string `json:"out" doc:"The model's answer."`
}

type madeOut struct {
	Status int
	ETag   string `header:"ETag"`
	Body   MadeAgent
}

func (a *API) makeAgentV1(ctx context.Context, in *struct{ Body NewAgent }) (*madeOut, error) {
	f, out, err := a.makeAgent(ctx, in.Body.Prompt, in.Body.Name)
	var doc AgentDocument
	if err == nil {
		doc, err = a.newAgentDocument(f)
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return &madeOut{http.StatusCreated, f.ETag(), MadeAgent{doc, out}}, nil
}

// RegistryLogin is the part of bodies that says who asks a registry.
type RegistryLogin struct {
	Username string `json:"username,omitempty" maxLength:"1000" doc:"Who asks the registry. Used for this request and kept nowhere."`
	Password string `json:"password,omitempty" maxLength:"10000" doc:"Password or token of that user."`
}

// AgentPull is the body of a pull.
type AgentPull struct {
	Reference string `json:"reference" minLength:"1" maxLength:"1000" doc:"REGISTRY/REPOSITORY:TAG or …@sha256:…; without a registry, Docker Hub." example:"ghcr.io/acme/pirate:1.0"`
	Name      string `json:"name,omitempty" doc:"Name to store the file under. Default: made of the reference."`
	RegistryLogin
}

func (a *API) pullAgentV1(ctx context.Context, in *struct{ Body AgentPull }) (*agentOut, error) {
	f, created, err := a.pullAgent(ctx, in.Body.Reference, in.Body.Name, Login{in.Body.Username, in.Body.Password})
	return a.agentAnswer(ctx, f, created, err)
}

// AgentPush is the body of a push.
type AgentPush struct {
	Reference string `json:"reference" minLength:"1" maxLength:"1000" doc:"REGISTRY/REPOSITORY:TAG." example:"ghcr.io/acme/pirate:1.0"`
	RegistryLogin
}

// AgentPushed is what became of a push.
type AgentPushed struct {
	Name      string `json:"name"`
	Version   int64  `json:"version" doc:"The version that was pushed; 0 for a file of the deployment."`
	Reference string `json:"reference"`
	Digest    string `json:"digest" doc:"Digest of the manifest in the registry."`
}

func (a *API) pushAgentV1(ctx context.Context, in *struct {
	AgentPath
	Body AgentPush
},
) (*struct{ Body AgentPushed }, error) {
	f, digest, err := a.pushAgent(ctx, in.Name, in.Body.Reference, Login{in.Body.Username, in.Body.Password})
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return &struct{ Body AgentPushed }{AgentPushed{plainName(f.Name), f.Version, in.Body.Reference, digest}}, nil
}

func (a *API) exportAgentsV1(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	if _, err := a.agents(ctx); err != nil {
		return nil, a.respond(ctx, err) // it can still be said
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		err := a.zipAgents(ctx, func() io.Writer {
			h.SetHeader("Content-Type", "application/zip")
			h.SetHeader("Content-Disposition", `attachment; filename="`+exportName(time.Now().UTC())+`"`)
			h.SetStatus(http.StatusOK)
			return h.BodyWriter()
		})
		if err != nil {
			a.logError(ctx, "an export broke off", err)
			panic(http.ErrAbortHandler) // only a broken connection says that it is not whole
		}
	}}, nil
}

package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/anthropic"
	"github.com/holdfast-run/holdfast/internal/model/bedrock"
	"github.com/holdfast-run/holdfast/internal/model/catalogue"
	"github.com/holdfast-run/holdfast/internal/model/gemini"
	"github.com/holdfast-run/holdfast/internal/model/openai"
	"github.com/holdfast-run/holdfast/internal/model/scripted"
	"github.com/holdfast-run/holdfast/internal/runtime"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
)

// agents turns agent files into models and tools. It is what the runtime and
// the API know of agent files.
type agents struct {
	library *agent.Library
	// writer is whose model writes agent files: provider/model, or an agent file of
	// base. "" for none.
	writer string
	base   agent.Source
	opt    agent.Options
	// dir is where paths in agent files start, "" for none.
	dir string
	// keys says whether the environment's keys of model providers may be used.
	keys   bool
	hosted bool
	// sandboxes run what touches the host, nil for none.
	sandboxes *sandboxes
	memory    tool.MemoryStore
	auth      *authorizations // nil without keys
	log       *slog.Logger
	version   string
	client    *http.Client
	// outgoing carries the requests of toolsets.
	outgoing http.RoundTripper
	// allow are hosts that tools may reach although they are not public.
	allow   []string
	servers mcpCatalogue
	prices  *catalogue.File
	// jobs are what shells of this worker run in the background.
	jobs *builtin.Jobs

	mu     sync.Mutex // guards models
	models map[modelOf]builtModel

	secrets secretMemory
}

// builtModel is a model with the time when its key was read.
type builtModel struct {
	model.Model
	at time.Time
}

// modelOf names a built model. Files with the same text are parsed once for all
// tenants; the keys in their models are each tenant's own.
type modelOf struct {
	tenant   string
	settings *agent.ModelSettings
}

var _ runtime.Agents = (*agents)(nil)

// Load implements [runtime.Agents].
func (a *agents) Load(ctx context.Context, tenant, ref string) (string, string, error) {
	f, err := a.library.FindForRun(ctx, tenant, ref)
	return f.Name, string(f.Source), err
}

// Parse implements [runtime.Agents].
func (a *agents) Parse(name, source string) (*agent.Team, error) {
	return agent.Parse(name, []byte(source), a.opt)
}

// notOffered are the keys that the loader knows and this program does nothing
// with: refused by name, so that nobody believes they had an effect.
var notOffered = map[string]string{}

// maxModels bounds the cache of built models. keyAge is how long one is used
// before its key is read again: a secret that was replaced or deleted must not go
// on being used by workers that have seen it.
const (
	maxModels = 1024
	keyAge    = time.Minute
)

// Model implements [runtime.Agents]. A model holds nothing of a conversation, so
// one serves all sessions of the same parsed file.
func (a *agents) Model(ctx context.Context, tenant string, _ *agent.Team, m *agent.ModelSettings) (model.Model, runtime.ModelInfo, error) {
	of := modelOf{tenant, m}
	a.mu.Lock()
	was, ok := a.models[of]
	fresh := ok && (m.NoToken || m.Kind == "scripted" || time.Since(was.at) < keyAge)
	if ok && !fresh { // one asks, the others do not wait
		a.models[of] = builtModel{was.Model, time.Now()}
	}
	a.mu.Unlock()
	if fresh {
		return was.Model, a.modelInfo(was.Model, m), nil
	}
	built, err := a.buildModel(ctx, tenant, m)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil && ok && holdfast.CodeOf(err) != holdfast.CodeModelAuth:
		return was.Model, a.modelInfo(was.Model, m), nil // the vault is away: what was known still counts
	case err != nil:
		delete(a.models, of)
		return nil, runtime.ModelInfo{}, err
	}
	if !ok && len(a.models) >= maxModels {
		clear(a.models)
	}
	a.models[of] = builtModel{built, time.Now()}
	return built, a.modelInfo(built, m), nil
}

// modelInfo is what the catalogue knows of a model; a script has the limit that
// it names itself.
func (a *agents) modelInfo(built model.Model, m *agent.ModelSettings) runtime.ModelInfo {
	if s, ok := built.(*scripted.Model); ok {
		return runtime.ModelInfo{ContextLimit: s.ContextLimit(), Images: true}
	}
	known, ok := a.prices.Catalogue().Lookup(m.Kind, m.Model)
	if !ok {
		return runtime.ModelInfo{}
	}
	info := runtime.ModelInfo{ContextLimit: known.ContextLimit, PriceVersion: known.PriceVersion, Images: known.Images}
	if known.Priced() {
		info.Cost = func(u model.Usage) float64 { return catalogue.Cost(known, u) }
	}
	return info
}

// keyNames are the secrets that providers with an adapter of their own take
// their key from.
var keyNames = map[string]string{
	"anthropic":      anthropic.KeyName,
	"google":         gemini.KeyName,
	"amazon-bedrock": bedrock.KeyName,
}

// baseURLNames are the variables in which the providers' own SDKs look for an
// address.
var baseURLNames = map[string]string{
	"openai":    "OPENAI_BASE_URL",
	"anthropic": "ANTHROPIC_BASE_URL",
	"google":    "GOOGLE_GEMINI_BASE_URL",
}

func (a *agents) buildModel(ctx context.Context, tenant string, m *agent.ModelSettings) (model.Model, error) {
	cfg := model.Config{
		Provider: m.Provider, Model: m.Model, BaseURL: m.BaseURL,
		Temperature: m.Temperature, TopP: m.TopP, FrequencyPenalty: m.FrequencyPenalty, PresencePenalty: m.PresencePenalty,
		MaxTokens: m.MaxTokens, ParallelToolCalls: m.ParallelToolCalls, ProviderOpts: m.ProviderOpts, TrackUsage: m.TrackUsage,
		BaseDir: a.dir,
	}
	if m.ThinkingBudget != nil {
		cfg.ThinkingBudget = string(*m.ThinkingBudget)
	}
	if m.Retries != nil {
		cfg.MaxRetries = *m.Retries
		if cfg.MaxRetries == 0 {
			cfg.MaxRetries = -1 // of a model.Config, 0 is the default
		}
	}
	if m.Kind == "scripted" {
		return scripted.New(cfg, scripted.Options{})
	}
	var err error
	if cfg.BaseURL, err = a.expandText(ctx, tenant, m.BaseURL); err != nil {
		return nil, fmt.Errorf("base_url of model %s: %w", m.Name, err)
	}
	if cfg.BaseURL == "" && a.keys && !a.hosted {
		// Where the key is the machine's own, so is the address: as the providers' SDKs
		// have it.
		cfg.BaseURL = os.Getenv(baseURLNames[m.Kind])
	}
	keyName, ok := keyNames[m.Kind]
	if alias, isAlias := openai.Aliases[m.Kind]; isAlias {
		keyName, ok = alias.KeyName, true
		if cfg.BaseURL == "" && strings.Contains(alias.BaseURL, "${") {
			if cfg.BaseURL, err = a.expandText(ctx, tenant, alias.BaseURL); err != nil {
				return nil, fmt.Errorf("the address of provider %s: %w", m.Kind, err)
			}
		}
	}
	if !ok {
		known := append(slices.Collect(maps.Keys(keyNames)), append(openai.AliasNames(), "scripted")...)
		slices.Sort(known)
		return nil, holdfast.Errorf(holdfast.CodeNotOffered, "models of provider %q are not offered in this deployment; offered: %s", m.Kind, strings.Join(known, ", "))
	}
	var credentials *bedrock.Credentials
	if !m.NoToken {
		name := cmp.Or(m.TokenKey, keyName)
		if m.Kind == "amazon-bedrock" && m.TokenKey == "" && a.keys && os.Getenv(name) == "" && os.Getenv(bedrock.AccessKeyIDName) != "" {
			credentials = &bedrock.Credentials{
				AccessKeyID: os.Getenv(bedrock.AccessKeyIDName), SecretAccessKey: os.Getenv(bedrock.SecretAccessKeyName),
				SessionToken: os.Getenv(bedrock.SessionTokenName),
			}
		} else {
			key, err := a.secret(ctx, tenant, name)
			if err != nil {
				return nil, err
			}
			cfg.APIKey = key
		}
	}
	switch m.Kind {
	case "anthropic":
		return anthropic.New(cfg, anthropic.Options{HTTPClient: a.client})
	case "google":
		return gemini.New(cfg, gemini.Options{HTTPClient: a.client})
	case "amazon-bedrock":
		o := bedrock.Options{HTTPClient: a.client}
		if credentials != nil {
			o.Credentials = *credentials
		}
		return bedrock.New(cfg, o)
	}
	if m.APIType != "" {
		opts := map[string]any{}
		for k, v := range cfg.ProviderOpts {
			opts[k] = v
		}
		opts["api_type"] = m.APIType
		cfg.ProviderOpts = opts
	}
	return openai.New(cfg, openai.Options{HTTPClient: a.client})
}

// Toolset implements [runtime.Agents].
func (a *agents) Toolset(ctx context.Context, s holdfast.SessionRef, team *agent.Team, ag *agent.Agent, t *agent.Toolset) (tool.Toolset, error) {
	shell := builtin.ShellOptions{Dir: a.dir, InheritEnv: !a.hosted, Jobs: a.jobs}
	if t.Type == "shell" || t.Type == "script" {
		env, err := a.expand(ctx, s.Tenant, t.Env)
		if err != nil {
			return nil, err
		}
		shell.Env = env
	}
	if t.NeedsSandbox() {
		box, err := a.sandbox(s, fmt.Sprintf("toolset %q touches the machine of the worker", t.Type))
		if err != nil {
			return nil, err
		}
		if box != nil {
			shell.Sandbox, shell.Dir = box, box.Dir
		}
	}
	switch t.Type {
	case "think":
		return builtin.NewThink(), nil
	case "user_prompt":
		return builtin.NewUserPrompt(), nil
	case "todo":
		if t.Shared {
			return builtin.NewTodo("todo"), nil
		}
		return builtin.NewTodo("todo:" + ag.Name), nil
	case "memory":
		return builtin.NewMemory(a.memory, strings.TrimSuffix(strings.TrimSuffix(team.Name, ".yml"), ".yaml")+"/"+ag.Name), nil
	case "mcp":
		return a.mcp(ctx, s, t)
	case "fetch":
		headers, err := a.expand(ctx, s.Tenant, t.Headers)
		if err != nil {
			return nil, err
		}
		o := builtin.FetchOptions{
			Version: a.version, AllowHosts: a.allow,
			Allowed: t.Allowed, Blocked: t.Blocked, Headers: headers,
		}
		if t.Timeout != nil {
			o.Timeout = time.Duration(*t.Timeout) * time.Second
		}
		return builtin.NewFetch(o), nil
	case "api":
		return a.api(ctx, s.Tenant, t)
	case "openapi":
		return a.openAPI(ctx, s.Tenant, t)
	case "a2a":
		return a.a2a(ctx, s.Tenant, t)
	case "shell":
		return builtin.NewShell(shell), nil
	case "script":
		list, err := a.scripts(ctx, s.Tenant, t)
		if err != nil {
			return nil, err
		}
		return builtin.NewScripts(list, shell)
	case "filesystem":
		return a.filesystem(t, shell)
	}
	return nil, holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: toolset %q", t.Type)
}

// Bury implements [runtime.Undertaker].
func (a *agents) Bury(s holdfast.SessionRef) {
	if a.jobs != nil {
		a.jobs.End(s)
	}
}

// sandbox returns the sandbox of a session, nil if there is none and none is needed.
func (a *agents) sandbox(s holdfast.SessionRef, why string) (*tool.Sandbox, error) {
	switch {
	case a.sandboxes != nil:
		return a.sandboxes.of(s)
	case a.hosted:
		return nil, holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: %s, and no sandbox is configured", why)
	}
	return nil, nil
}

// scripts reads the scripts of a toolset into the form that the tool takes. Of the
// variables of one only ${env.NAME} is a secret: others may be for its own shell.
func (a *agents) scripts(ctx context.Context, tenant string, t *agent.Toolset) (map[string]builtin.Script, error) {
	out := map[string]builtin.Script{}
	for name, s := range t.Shell {
		args := map[string]json.RawMessage{}
		raw, err := json.Marshal(s.Args)
		if err == nil {
			err = json.Unmarshal(raw, &args)
		}
		if err != nil {
			return nil, fmt.Errorf("arguments of script %s: %w", name, err)
		}
		env := maps.Clone(s.Env)
		for k, v := range env {
			if env[k], err = agent.ExpandEnv(v, a.lookup(ctx, tenant)); err != nil {
				return nil, fmt.Errorf("environment of script %s: %s: %w", name, k, err)
			}
		}
		out[name] = builtin.Script{
			Cmd: s.Cmd, Description: s.Description, Args: args, Required: s.Required, Env: env, WorkingDir: s.WorkingDir,
		}
	}
	return out, nil
}

func (a *agents) filesystem(t *agent.Toolset, shell builtin.ShellOptions) (tool.Toolset, error) {
	dir := shell.Dir
	if dir == "" {
		var err error
		if dir, err = os.Getwd(); err != nil {
			return nil, fmt.Errorf("working directory: %w", err)
		}
	}
	o := builtin.FilesystemOptions{Dir: dir, IgnoreVCS: t.IgnoreVCS == nil || *t.IgnoreVCS, MayAdd: !a.hosted && a.sandboxes == nil, Shell: shell}
	for _, e := range t.PostEdit {
		o.PostEdit = append(o.PostEdit, builtin.PostEdit{Path: e.Path, Cmd: e.Cmd})
	}
	return builtin.NewFilesystem(o)
}

func (a *agents) mcp(ctx context.Context, s holdfast.SessionRef, t *agent.Toolset) (tool.Toolset, error) {
	env, err := a.expand(ctx, s.Tenant, t.Env)
	if err != nil {
		return nil, err
	}
	cfg := mcptool.Config{
		Name: cmp.Or(t.Name, t.MCP), Prefix: t.Name, Command: t.Command, Args: t.Args, Env: env,
		Tools: t.Tools, Instruction: t.Instruction,
	}
	if t.Command != "" {
		cfg.Dir = a.under(t.WorkDir)
	}
	if t.Remote != nil {
		cfg.Transport = t.Remote.TransportType
		if cfg.URL, err = a.expandText(ctx, s.Tenant, t.Remote.URL); err != nil {
			return nil, err
		}
		if cfg.Headers, err = a.expand(ctx, s.Tenant, t.Remote.Headers); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(t.Ref, "docker:") {
		if err := a.servers.resolve(t, &cfg); err != nil {
			return nil, err
		}
		if cfg.Env, err = a.expand(ctx, s.Tenant, cfg.Env); err != nil {
			return nil, err
		}
		if cfg.Headers, err = a.expand(ctx, s.Tenant, cfg.Headers); err != nil {
			return nil, err
		}
		if cfg.Command != "" {
			cfg.Dir = a.under(t.WorkDir)
		} else if t.WorkDir != "" {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the MCP server %s of the catalogue is at a URL: `working_dir` does nothing", t.Ref)
		}
		if cfg.Name == "" {
			cfg.Name = "mcp:" + t.Ref
		}
	}
	if cfg.Transport == "streamable-http" {
		cfg.Transport = mcptool.TransportStreamable
	}
	if cfg.Name == "" && cfg.Command != "" {
		cfg.Name = fmt.Sprintf("mcp:%s", cfg.Command)
	}
	if cfg.Name == "" {
		cfg.Name = "mcp:" + cfg.URL
	}
	if cfg.Command != "" {
		if cfg.Sandbox, err = a.sandbox(s, "MCP servers by command touch the machine of the worker"); err != nil {
			return nil, err
		}
		if cfg.Sandbox != nil {
			if t.WorkDir != "" && !filepath.IsLocal(t.WorkDir) {
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "the working_dir %q of the MCP server %s leads out of its sandbox; write a path beneath it", t.WorkDir, cfg.Name)
			}
			cfg.Dir = filepath.Join(cfg.Sandbox.Dir, t.WorkDir)
		}
	}
	o := mcptool.Options{Logger: a.log, InheritEnv: !a.hosted, Version: a.version, RoundTripper: a.outgoing}
	if cfg.URL != "" && a.auth != nil {
		conn, err := a.auth.connection(ctx, s, tool.UserOf(ctx), cfg.Name, cfg.URL)
		if err != nil {
			return nil, err
		}
		// There messages go to a path that the server chooses.
		conn.WholeOrigin = cfg.Transport == mcptool.TransportSSE
		if o.RoundTripper, err = a.auth.client.RoundTripper(conn); err != nil {
			return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "the address of the MCP server "+cfg.Name+" cannot be used")
		}
	}
	return mcptool.New(cfg, o)
}

// expand replaces ${env.NAME} by the secret of that name.
func (a *agents) expand(ctx context.Context, tenant string, in map[string]string) (map[string]string, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		var err error
		if out[k], err = a.expandText(ctx, tenant, v); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
	}
	return out, nil
}

// expandText is expand for one text.
func (a *agents) expandText(ctx context.Context, tenant, text string) (string, error) {
	return agent.Expand(text, a.lookup(ctx, tenant))
}

// ExpandPrompt implements [runtime.Expander]. What the log keeps gets values of the
// user's own environment only, and none in a hosted deployment.
func (a *agents) ExpandPrompt(ctx context.Context, tenant, text string, kept bool) (string, error) {
	if !kept {
		return agent.ExpandPrompt(text, a.lookup(ctx, tenant))
	}
	return agent.ExpandPrompt(text, func(name string) (string, error) {
		if a.hosted || !a.keys {
			return "", holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: ${env.%s} in a command, whose text the log keeps; instructions and headers may have it", name)
		}
		return os.Getenv(name), nil
	})
}

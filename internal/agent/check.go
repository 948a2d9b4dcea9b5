package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// providers are the model providers that need no entry under providers.
// scripted is ours: it plays the script that provider_opts names.
var providers = []string{
	"amazon-bedrock", "anthropic", "atlascloud", "azure", "baseten", "cerebras", "cloudflare-ai-gateway",
	"cloudflare-workers-ai", "daoxe", "deepseek", "dmr", "fireworks", "google", "groq", "huggingface", "minimax",
	"mistral", "moonshot", "nebius", "nvidia", "ollama", "openai", "openrouter", "orcarouter", "ovhcloud",
	"requesty", "scripted", "together", "vercel", "xai",
}

// madeBy are the providers of models that people name in their place.
var madeBy = map[string]string{"claude": "anthropic", "gemini": "google", "gpt": "openai", "grok": "xai"}

// refusedProviders are providers of cagent that are not offered, with what to do
// instead: they want a login of their own, or speak another protocol for each
// model.
var refusedProviders = map[string]string{
	"chatgpt":        "it wants the login of a ChatGPT subscription; use openai with an API key",
	"github-copilot": "it wants the login of an editor; describe the endpoint under `providers` with base_url and token_key, or use openai",
	"opencode-go":    "its models speak different protocols; describe the one that you use under `providers` with provider, base_url and token_key",
	"opencode-zen":   "its models speak different protocols; describe the one that you use under `providers` with provider, base_url and token_key",
}

// Providers returns the model providers that need no entry under providers,
// sorted.
func Providers() []string { return slices.Clone(providers) }

// check finds what is wrong beyond single values: references that lead nowhere,
// keys that exclude or need each other. It also resolves the references.
func (d *decoder) check(t *Team) {
	for _, name := range slices.Sorted(maps.Keys(t.Providers)) {
		d.checkProvider(t, name)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Models)) {
		d.namedModel(t, name, "models."+name)
	}
	for _, name := range slices.Sorted(maps.Keys(t.MCPs)) {
		d.checkMCP(t, name)
	}
	if t.Permissions != nil {
		d.checkPermissions(t.Permissions)
	}
	names := make([]string, len(t.Agents))
	for i, a := range t.Agents {
		names[i] = a.Name
	}
	for _, a := range t.Agents {
		d.checkAgent(t, a, names)
	}
}

func (d *decoder) checkProvider(t *Team, name string) {
	p, path := t.Providers[name], "providers."+name
	if strings.TrimSpace(name) != name || name == "" || strings.ContainsAny(name, "/,") {
		d.problemAt(path, "a provider's name must not be empty, nor hold a slash, a comma or spaces at its ends")
	}
	known := slices.Contains(providers, name)
	if instead, no := refusedProviders[p.Provider]; no {
		d.notOfferedAt(path+".provider", "provider `"+p.Provider+"`", instead)
	} else if p.Provider != "" && !slices.Contains(providers, p.Provider) {
		d.problemAt(path+".provider", "unknown provider `%s`%s", p.Provider, didYouMean(p.Provider, providers))
	}
	if p.BaseURL == "" && !d.reported(path) && !d.reported(path+".base_url") && !known && (p.Provider == "" || p.Provider == "openai") {
		d.problemAt(path, "provider `%s` needs `base_url`", name)
	}
}

// applyProvider sets what a model inherits from its provider.
func (d *decoder) applyProvider(t *Team, m *ModelSettings, path string) {
	m.Kind = m.Provider
	p := t.Providers[m.Provider]
	if p == nil {
		// An empty one was already reported as missing.
		if instead, known := refusedProviders[m.Provider]; known {
			d.notOfferedAt(path, "models of provider `"+m.Provider+"`", instead)
			return
		}
		if m.Provider != "" && !slices.Contains(providers, m.Provider) {
			hint := didYouMean(m.Provider, slices.Concat(providers, slices.Sorted(maps.Keys(t.Providers))))
			if name := madeBy[m.Provider]; name != "" {
				hint = "; did you mean `" + name + "`?"
			}
			d.problemAt(path, "unknown provider `%s`, which is not described under `providers` (with base_url and token_key) either%s", m.Provider, hint)
		}
		return
	}
	switch {
	case p.Provider != "":
		m.Kind = p.Provider
	case !slices.Contains(providers, m.Provider):
		m.Kind = "openai"
	}
	if m.BaseURL == "" {
		m.BaseURL = p.BaseURL
	}
	m.APIType = p.APIType
	if m.TokenKey == "" {
		m.TokenKey = p.TokenKey
		m.NoToken = p.TokenKey == "" && p.BaseURL != ""
	}
	m.Temperature = either(m.Temperature, p.Temperature)
	m.TopP = either(m.TopP, p.TopP)
	m.FrequencyPenalty = either(m.FrequencyPenalty, p.FrequencyPenalty)
	m.PresencePenalty = either(m.PresencePenalty, p.PresencePenalty)
	m.MaxTokens = either(m.MaxTokens, p.MaxTokens)
	m.ParallelToolCalls = either(m.ParallelToolCalls, p.ParallelToolCalls)
	m.TrackUsage = either(m.TrackUsage, p.TrackUsage)
	m.ThinkingBudget = either(m.ThinkingBudget, p.ThinkingBudget)
	if len(p.ProviderOpts) > 0 {
		opts := maps.Clone(p.ProviderOpts)
		maps.Copy(opts, m.ProviderOpts)
		m.ProviderOpts = opts
	}
}

func either[T any](own, inherited *T) *T {
	if own != nil {
		return own
	}
	return inherited
}

// maxAlloy bounds what one list of models may stand for: lists of lists grow as
// powers do.
const maxAlloy = 64

// modelList resolves a comma list of references.
func (d *decoder) modelList(t *Team, list, path string) []*ModelSettings {
	var out []*ModelSettings
	for ref := range strings.SplitSeq(list, ",") {
		out = append(out, d.model(t, strings.TrimSpace(ref), path)...)
		if len(out) > maxAlloy {
			d.problemAt(path, "the list stands for more than %d models", maxAlloy)
			return nil
		}
	}
	return out
}

// model resolves a reference: a name under models or provider/model. A name may
// stand for several models.
func (d *decoder) model(t *Team, ref, path string) []*ModelSettings {
	if t.Models[ref] != nil {
		return d.namedModel(t, ref, path)
	}
	provider, name, ok := strings.Cut(ref, "/")
	names := slices.Sorted(maps.Keys(t.Models))
	switch {
	case ref == "auto":
		d.notOfferedAt(path, "model `auto`", "name a model, such as openai/gpt-5")
		return nil
	case !ok:
		d.problemAt(path, "there is no model `%s` under `models` (a model of a provider is written provider/model)%s", ref, didYouMean(ref, names))
		return nil
	case provider == "" || name == "":
		d.problemAt(path, "`%s` is not a model; write provider/model, or a name under `models`", ref)
		return nil
	}
	m := &ModelSettings{Name: ref, Provider: provider, Model: name}
	d.applyProvider(t, m, path)
	return []*ModelSettings{m}
}

// namedModel resolves a model under models once and remembers it. from is the
// path of the reference.
func (d *decoder) namedModel(t *Team, name, from string) []*ModelSettings {
	if done, ok := d.models[name]; ok {
		if done == nil {
			if !d.reported(from) {
				d.problemAt(from, "model `%s` leads back to itself", name)
			}
			return nil
		}
		return *done
	}
	path := "models." + name
	d.models[name] = nil // while it is being resolved
	m := *t.Models[name]
	m.Name = name
	list := []*ModelSettings{}
	switch {
	case m.Provider != "":
		d.applyProvider(t, &m, path+".provider")
		list = append(list, &m)
	case d.reported(path) || d.reported(path+".model") || d.reported(path+".provider"):
	case !reflect.DeepEqual(m, ModelSettings{Name: name, Model: m.Model, Description: m.Description}):
		d.problemAt(path, "model `%s` needs `provider`; only a model without parameters of its own may be a list of others", name)
	case !strings.ContainsAny(m.Model, ",/") && t.Models[m.Model] == nil:
		d.problemAt(path, "model `%s` needs `provider`", name)
	default:
		list = append(list, d.modelList(t, m.Model, path+".model")...)
	}
	d.models[name] = &list
	return list
}

func (d *decoder) checkAgent(t *Team, a *Agent, names []string) {
	path := "agents." + a.Name
	if strings.TrimSpace(a.Model) == "" {
		if !d.reported(path+".model") && !d.reported(path+".harness") {
			d.problemAt(path, "agent `%s` needs `model`: a name under `models`, or provider/model", a.Name)
		}
	} else {
		a.Models = d.modelList(t, a.Model, path+".model")
	}
	if a.Fallback != nil {
		for i, ref := range a.Fallback.Models {
			list := d.model(t, strings.TrimSpace(ref), fmt.Sprintf("%s.fallback.models[%d]", path, i))
			a.FallbackModels = append(a.FallbackModels, list...)
		}
		if r := a.Fallback.Retries; r != nil {
			a.Models, a.FallbackModels = withRetries(a.Models, *r), withRetries(a.FallbackModels, *r)
		}
	}
	d.checkPeers(a, "sub_agents", a.SubAgents, names)
	d.checkPeers(a, "handoffs", a.Handoffs, names)
	for i, ts := range a.Toolsets {
		d.checkToolset(t, ts, fmt.Sprintf("%s.toolsets[%d]", path, i))
		if ts.Ref != "" && ts.Type == "mcp" && !isCatalogRef(ts.Ref) && t.MCPs[ts.Ref] != nil {
			a.Toolsets[i] = ts.overlay(t.MCPs[ts.Ref], ts.Ref)
		}
		if ref := a.Toolsets[i].Model; ref != "" {
			a.Toolsets[i].Models = d.modelList(t, ref, fmt.Sprintf("%s.toolsets[%d].model", path, i))
		}
	}
	for _, c := range a.Commands {
		if c.Agent != "" && !slices.Contains(names, c.Agent) {
			d.problemAt(path+".commands."+c.Name+".agent", "there is no agent `%s` in this file%s", c.Agent, didYouMean(c.Agent, names))
		}
	}
	if a.Hooks != nil {
		d.checkHooks(a.Hooks, path+".hooks")
	}
	if so := a.StructuredOutput; so != nil && so.Schema != nil {
		var schema struct {
			Type any `json:"type"`
		}
		if err := json.Unmarshal(so.Schema, &schema); err != nil || schema.Type != "object" {
			d.problemAt(path+".structured_output.schema", "the schema of structured_output must have type: object")
		}
	}
}

// withRetries returns the models as one agent uses them: with its own number of
// repetitions.
func withRetries(models []*ModelSettings, retries int) []*ModelSettings {
	out := make([]*ModelSettings, len(models))
	for i, m := range models {
		own := *m
		own.Retries = &retries
		out[i] = &own
	}
	return out
}

// checkPeers checks a list of other agents.
func (d *decoder) checkPeers(a *Agent, key string, list, names []string) {
	for i, name := range list {
		path := fmt.Sprintf("agents.%s.%s[%d]", a.Name, key, i)
		switch {
		case name == a.Name:
			d.problemAt(path, "agent `%s` lists itself under `%s`", a.Name, key)
		case slices.Contains(names, name):
			if slices.Index(list, name) < i {
				d.problemAt(path, "`%s` is listed twice under `%s`", name, key)
			}
		case strings.ContainsAny(name, "/:"):
			d.notOfferedAt(path, "agent `"+name+"` from outside this file", "describe it under `agents`")
		default:
			d.problemAt(path, "there is no agent `%s` in this file%s", name, didYouMean(name, names))
		}
	}
}

// checkMCP checks a definition under mcps, whose type is always mcp.
func (d *decoder) checkMCP(t *Team, name string) {
	path := "mcps." + name
	def := t.MCPs[name]
	if def.Ref != "" && !isCatalogRef(def.Ref) {
		d.problemAt(path+".ref", "`ref` under `mcps` takes docker:NAME, not `%s`", def.Ref)
		return
	}
	d.checkToolset(t, def, path)
}

// unknownPolicies say what happens when a worker died in a tool call.
var unknownPolicies = []string{"ask", "tell", "retry", "fail"}

func (d *decoder) checkToolset(t *Team, ts *Toolset, path string) {
	typ, ok := toolsetTypes[ts.Type]
	if !ok {
		return // reported when the type was decoded
	}
	given := map[string]bool{
		"shell": ts.Shell != nil, "api_config": ts.APIConfig != nil, "url": ts.URL != "",
	}
	for _, key := range typ.need {
		if !given[key] && !d.reported(path+"."+key) {
			d.problemAt(path, "a toolset of type %s needs `%s`", ts.Type, key)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ts.OnUnknown)) {
		if policy := ts.OnUnknown[name]; !slices.Contains(unknownPolicies, policy) {
			d.problemAt(path+".on_unknown."+name, "`%s` is no policy for an unknown outcome; use one of %s", policy, strings.Join(unknownPolicies, ", "))
		}
	}
	switch ts.Type {
	case "mcp":
		d.checkServer(t, ts, path)
	case "fetch":
		d.checkFetch(ts, path)
	}
}

// checkFetch checks the hosts that fetch is held to, and that no secret goes to
// hosts that nobody named: it is the model that chooses the pages.
func (d *decoder) checkFetch(ts *Toolset, path string) {
	for key, list := range map[string][]string{"allowed_domains": ts.Allowed, "blocked_domains": ts.Blocked} {
		for i, host := range list {
			name := strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
			_, err := netip.ParsePrefix(host)
			if err != nil && (name == "" || strings.ContainsAny(name, "/*? @") || strings.Contains(host, "://")) {
				d.problemAt(fmt.Sprintf("%s.%s[%d]", path, key, i),
					"`%s` takes names of hosts, addresses and CIDRs, such as example.com, *.example.com or 10.0.0.0/8, not `%s`", key, shorten(host))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ts.Headers)) {
		if strings.Contains(ts.Headers[name], "${") && len(ts.Allowed) == 0 {
			d.problemAt(path+".headers."+name, "the header `%s` holds a secret and would go to every host that the model names; name the hosts under `allowed_domains`", name)
		}
	}
}

// checkServer checks that a toolset of type mcp says once where its server is.
func (d *decoder) checkServer(t *Team, ts *Toolset, path string) {
	var given []string
	if ts.Command != "" {
		given = append(given, "command")
	}
	if ts.Remote != nil {
		given = append(given, "remote")
	}
	if ts.Ref != "" {
		given = append(given, "ref")
	}
	if len(given) != 1 {
		if d.reported(path+".remote") || d.reported(path+".command") || d.reported(path+".ref") {
			return
		}
		what := "none is given"
		if len(given) > 1 {
			what = strings.Join(given, " and ") + " are given"
		}
		d.problemAt(path, "a toolset of type mcp needs exactly one of command, remote, ref; %s", what)
		return
	}
	if ts.Remote != nil && strings.HasPrefix(ts.Remote.TransportType, "stream") {
		ts.Remote.TransportType = "streamable" // its other names are those of other programs and of version 0
	}
	if ts.Command == "" && len(ts.Args) > 0 {
		d.problemAt(path+".args", "`args` goes with `command`, which is not given")
	}
	if ts.Remote != nil && ts.WorkDir != "" {
		d.problemAt(path+".working_dir", "`working_dir` goes with `command` or `ref`; a server at a URL runs elsewhere")
	}
	if ts.Remote != nil && len(ts.Env) > 0 {
		d.problemAt(path+".env", "`env` goes with `command` or `ref`; a server at a URL has no environment")
	}
	switch {
	case ts.Ref == "":
		if ts.Config != nil {
			d.problemAt(path+".config", "`config` goes with `ref`, which is not given")
		}
	case isCatalogRef(ts.Ref):
		if !d.opt.MCPCatalog {
			d.notOfferedAt(path+".ref", "`ref: "+ts.Ref+"`", "no catalogue of MCP servers is configured; use `remote` or `command`")
		}
	case t.MCPs[ts.Ref] == nil:
		d.problemAt(path+".ref", "there is no MCP server `%s` under `mcps` (a server of the catalogue is written docker:NAME)%s",
			ts.Ref, didYouMean(ts.Ref, slices.Sorted(maps.Keys(t.MCPs))))
	}
}

// Package config is the one place where settings come from: a struct whose
// zero value works, filled from environment variables named HOLDFAST_*.
//
// Promises:
//
//   - [Load] either returns a configuration that can be started with, or one
//     error that names every bad setting. Nothing is started before.
//   - A variable named HOLDFAST_* that nobody reads is an error, with the name
//     that was probably meant: a misspelt setting never runs with its default.
//   - Credentials never print. [URL] and [Secret] hide them from fmt, slog and
//     encoding/json; only Reveal gives them out.
//   - docs/operations.md lists exactly these settings; a test compares.
//
// The tags of a field are its documentation: env is the variable, default its
// default as one would write it into the variable, doc what it means and what
// follows from changing it.
package config

//go:generate go test . -run=TestOperationsPageIsCurrent -update

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Config is every setting of every process; each process reads what concerns
// it. Fields at their zero value have the default once [Config.WithDefaults]
// has run, as [Load] does.
type Config struct {
	NATSURL     URL    `env:"HOLDFAST_NATS_URL" doc:"Address of NATS, several separated by commas: nats://, tls://, ws:// or wss://. Empty: a server is embedded in the process and keeps its streams in HOLDFAST_DATA."`
	DatabaseURL URL    `env:"HOLDFAST_DATABASE_URL" doc:"Address of Postgres 15 or newer: postgres://user:password@host:port/database. Empty: SQLite in HOLDFAST_DATA."`
	Data        string `env:"HOLDFAST_DATA" default:".data" doc:"Folder of the embedded NATS and SQLite, made if absent. One process at a time may use it. Not used when both addresses above are given."`

	Listen        string  `env:"HOLDFAST_LISTEN" default:"127.0.0.1:8080" doc:"host:port of this process's HTTP server: the API, the OAuth callback, or the health checks of a worker. An empty host listens on all interfaces, port 0 takes a free one."`
	PublicURL     URL     `env:"HOLDFAST_PUBLIC_URL" doc:"Address under which users reach the API, without a path at the end, as the OpenAPI document names it. Empty: http:// and HOLDFAST_LISTEN."`
	APIKeys       APIKeys `env:"HOLDFAST_API_KEYS" doc:"Who may call the API: tenant:key, several separated by commas or lines, the key at least 16 characters. Without any key everybody is the tenant default, and the API starts only on a loopback address."`
	APIKeysFile   string  `env:"HOLDFAST_API_KEYS_FILE" doc:"File with more keys, a tenant:key in each line; empty lines and lines that begin with # do not count. Read once, at start."`
	OperatorKeys  Secret  `env:"HOLDFAST_OPERATOR_KEYS" doc:"Keys of the operator, each at least 16 characters, several separated by commas or lines: with one of them the quotas of tenants are set (holdfast quota set), and nothing else. Empty: nobody sets quotas of single tenants."`
	DefaultQuota  Quota   `env:"HOLDFAST_DEFAULT_QUOTA" doc:"What a tenant may use that has no quota of its own: NAME=VALUE, several separated by commas, of requests_per_second, burst, runs, sessions, storage_bytes, tokens_per_day, tokens_per_month, cost_per_day and cost_per_month (docs/quotas.md); the same in api and worker. Empty: no limits."`
	InsecureNoKey bool    `env:"HOLDFAST_INSECURE_NO_AUTH" doc:"true lets the API start without keys on an address that is not loopback. Everybody who reaches the port can read and write every session."`
	MaxBody       Bytes   `env:"HOLDFAST_MAX_BODY" default:"1MiB" doc:"Largest request body that the API reads, in bytes or with KiB, MiB or GiB. A larger one is answered with 413. What a run says also travels through NATS in one message: whatever is set here, it is refused with 413 above NATS's max_payload, 1 MiB if nobody raised it."`
	CORSOrigins   Origins `env:"HOLDFAST_CORS_ORIGINS" doc:"Origins whose pages may call the API from a browser, several separated by commas: https://app.example.com. A page sends its key in a header; cookies are not used. Empty: none."`

	Agents           string `env:"HOLDFAST_AGENTS" doc:"Folder with agent files (YAML). Empty: only the built-in agents."`
	Sandbox          string `env:"HOLDFAST_SANDBOX" doc:"Program that runs tools which touch a machine (files, shell, scripts, MCP servers by command) apart from the worker and from other sessions: an absolute path and arguments, separated by spaces; the command follows, see Security below. The same for api and worker. Empty: a hosted deployment refuses such tools."`
	Workspaces       string `env:"HOLDFAST_WORKSPACES" doc:"Folder with a folder for each session that used such tools, shared by all workers; belongs to HOLDFAST_SANDBOX. Folders of deleted sessions are removed within about a day."`
	DefaultAgent     string `env:"HOLDFAST_DEFAULT_AGENT" doc:"Agent file of a run that names none in a session that has none; also what clients of the original get that ask for pirate.yaml, whatever their user wanted. Empty: such a run is refused."`
	AgentWriter      string `env:"HOLDFAST_AGENT_WRITER" doc:"Model that writes agent files for POST /api/agents: provider/model, or the name of an agent file of the deployment whose model is taken. It uses the tenant's keys like any agent. Empty: such a request is refused."`
	Hosted           Switch `env:"HOLDFAST_HOSTED" doc:"true refuses tools that touch the machine of the worker. Default: true in api, worker and oauth-callback, false in holdfast dev and holdfast run."`
	ModelKeysFromEnv Switch `env:"HOLDFAST_MODEL_KEYS_FROM_ENV" doc:"true lets agents use the keys of model providers in the worker's environment, such as OPENAI_API_KEY, whoever the tenant is. Default: the opposite of HOLDFAST_HOSTED."`

	VaultKeys      Secret    `env:"HOLDFAST_VAULT_KEYS" doc:"Keys that wrap the data keys of tenants, id:base64 of 32 bytes, several separated by commas: the first one wraps, all unwrap (holdfast vault rotate). The same for api and worker. Empty: made in HOLDFAST_DATA if the database is there too, else OAuth connections and secrets of tenants are not offered."`
	StateKeys      Secret    `env:"HOLDFAST_OAUTH_STATE_KEYS" doc:"Keys that authenticate the state of authorizations and seal their answers, id:base64 of 32 bytes, several separated by commas: the first one signs, all are accepted. The same for api, worker and oauth-callback; belongs to HOLDFAST_VAULT_KEYS, and is made like them if empty."`
	CallbackURL    URL       `env:"HOLDFAST_OAUTH_CALLBACK_URL" doc:"Address of oauth-callback for browsers, without a path at the end. Without addresses in HOLDFAST_OAUTH_RETURN_URLS it needs the host name of HOLDFAST_PUBLIC_URL, so that browsers bring their cookie. Empty: the API serves the callback."`
	ReturnURLs     string    `env:"HOLDFAST_OAUTH_RETURN_URLS" doc:"Where browsers go when a user of a tenant has answered an authorization server: tenant=https://…, several separated by commas. The tenant's application then vouches for its user by API; until it has, the answer is not used. Empty: the browser that began must be the one that ends."`
	EgressAllow    HostPorts `env:"HOLDFAST_EGRESS_ALLOW" doc:"Hosts that tools may reach although their address is not public, or by http: host:port, several separated by commas, compared with what the URL says. Everything else must be https to a public address; holdfast dev also lets tools reach http and this machine."`
	MCPCatalogue   string    `env:"HOLDFAST_MCP_CATALOGUE" doc:"File (YAML) of the MCP servers that agent files may name as ref: docker:NAME, see below. Empty: such files are refused."`
	ModelCatalogue string    `env:"HOLDFAST_MODEL_CATALOGUE" doc:"File in the form of https://models.dev/api.json with limits and prices of models, which counts before the built-in catalogue. It is read again when it changes; usage events say which prices they were counted with."`

	WorkerID       string        `env:"HOLDFAST_WORKER_ID" doc:"Name of the worker in logs and events, unique among those that run at the same time: letters, digits, - and _. Empty: host name and a random suffix."`
	WorkerSessions int           `env:"HOLDFAST_WORKER_SESSIONS" default:"1000" doc:"How many sessions a worker owns at once; parked sessions do not count. Further work waits for another worker or for room."`
	DrainTimeout   time.Duration `env:"HOLDFAST_DRAIN_TIMEOUT" default:"25s" doc:"How long a process that was told to end brings its work to a safe point. Keep it under the grace period of whoever stops it, 30s in Kubernetes; what is cut off another worker takes over."`
	Recorder       Switch        `env:"HOLDFAST_RECORDER" default:"true" doc:"Whether the worker also carries events from NATS to the database. At any time one worker does and the others stand by; at least one must be allowed to."`

	WebhookKey Secret `env:"HOLDFAST_WEBHOOK_KEY" doc:"What the signing secrets of webhooks are derived from, at least 32 characters, the same in api and worker. Whoever changes it changes all secrets. Empty: webhooks are not offered; the embedded mode makes a key in HOLDFAST_DATA."`

	Search Switch `env:"HOLDFAST_SEARCH" default:"true" doc:"Whether what users and agents say is indexed, so that GET /v1/search finds it; the same in api and worker. Off: the route answers 501, nothing is added to the index, and what is in it stays until it is emptied, see below."`

	ApprovalTimeout time.Duration `env:"HOLDFAST_APPROVAL_TIMEOUT" doc:"How long a tool call waits for a human, for agents that do not say it with approval_timeout, such as 30m; then it is rejected with the reason timed out. Empty or 0: for ever."`

	Replicas       int           `env:"HOLDFAST_REPLICAS" default:"1" doc:"Copies of each stream: 1, 3 or 5, not more than there are NATS servers. With 1, events that are not yet in the database are lost with the disk of the one server that has them."`
	EventStreams   int           `env:"HOLDFAST_EVENT_STREAMS" default:"1" doc:"Over how many streams sessions are spread, 1 to 256. One stream takes in events on one core. The number cannot change while there are sessions, since it decides where their events are."`
	EventRetention time.Duration `env:"HOLDFAST_EVENT_RETENTION" default:"10m" doc:"How long events stay in NATS after they are in the database. Longer makes resuming readers cheaper and costs memory and disk in NATS."`

	LogLevel  slog.Level `env:"HOLDFAST_LOG_LEVEL" default:"info" doc:"Least level that is logged: debug, info, warn or error."`
	LogFormat string     `env:"HOLDFAST_LOG_FORMAT" default:"text" doc:"Form of the log on standard error: text or json."`
}

// Load reads the configuration from environ, which has the form of
// [os.Environ]. An empty value counts as absent. If a variable comes twice the
// last one counts, so that a program puts its flags behind the environment:
//
//	config.Load(append(os.Environ(), "HOLDFAST_LISTEN="+*listen))
//
// It reads the file of HOLDFAST_API_KEYS_FILE and nothing else. Variables with
// other prefixes are passed over, and so are those that Kubernetes makes up for
// every service, such as HOLDFAST_API_SERVICE_HOST.
func Load(environ []string) (Config, error) {
	var c Config
	errs := c.read(environ)
	if c.APIKeysFile != "" {
		errs = append(errs, c.readKeysFile())
	}
	c = c.WithDefaults()
	errs = append(errs, c.problems()...)
	return c, join(errs)
}

// WithDefaults returns c with the default in every field that has one and is
// zero.
func (c Config) WithDefaults() Config {
	for _, f := range fields() {
		v := c.value(f)
		if f.def == "" || !v.IsZero() {
			continue
		}
		if err := set(v, f.def); err != nil {
			// A default is part of the program: a test sets every one of them.
			panic(fmt.Sprintf("config: default of %s: %v", f.env, err))
		}
	}
	if c.WorkerID == "" {
		c.WorkerID = newWorkerID()
	}
	if c.PublicURL == "" {
		c.PublicURL = URL("http://" + c.Listen)
	}
	return c
}

// newWorkerID is unique, since two workers of one name would take each other's
// answers to pings for their own.
func newWorkerID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker" // the name is for people; the suffix makes it unique
	}
	host, _, _ = strings.Cut(host, ".")
	if len(host) > 40 || holdfast.ValidateID("host name", host) != nil {
		host = "worker"
	}
	return host + "-" + strings.ToLower(rand.Text()[:8])
}

// Validate returns one error that names every bad setting, or nil. Load has
// called it; whoever changes fields afterwards calls it again.
func (c Config) Validate() error { return join(c.WithDefaults().problems()) }

// CheckAccess returns an error if an API with these settings would be open to
// everybody who reaches its port. It concerns only processes that serve the
// API.
func (c Config) CheckAccess() error {
	c = c.WithDefaults()
	if len(c.APIKeys) > 0 || c.InsecureNoKey || isLoopback(c.Listen) {
		return nil
	}
	return fmt.Errorf("HOLDFAST_LISTEN=%s is reachable from other machines and there are no API keys: "+
		"set HOLDFAST_API_KEYS or HOLDFAST_API_KEYS_FILE, listen on 127.0.0.1, or accept it with HOLDFAST_INSECURE_NO_AUTH=true", c.Listen)
}

func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Config) readKeysFile() error {
	const name = "HOLDFAST_API_KEYS_FILE"
	text, err := os.ReadFile(c.APIKeysFile)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	keys, err := parseKeys(strings.FieldsFunc(string(text), isLineEnd))
	if err != nil {
		return fmt.Errorf("%s=%s: %w", name, c.APIKeysFile, err)
	}
	c.APIKeys = append(c.APIKeys, keys...)
	return nil
}

func (c Config) problems() []error {
	var errs []error
	bad := func(ok bool, env string, value any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s=%v: %s", env, value, rule))
		}
	}
	errs = append(errs,
		c.NATSURL.check("HOLDFAST_NATS_URL", "nats", "tls", "ws", "wss"),
		c.DatabaseURL.checkOne("HOLDFAST_DATABASE_URL", "postgres", "postgresql"),
		c.PublicURL.checkOne("HOLDFAST_PUBLIC_URL", "http", "https"),
		c.CallbackURL.checkOne("HOLDFAST_OAUTH_CALLBACK_URL", "http", "https"),
	)
	_, _, err := net.SplitHostPort(c.Listen)
	bad(err == nil, "HOLDFAST_LISTEN", c.Listen, "must be host:port")
	bad(c.MaxBody > 0, "HOLDFAST_MAX_BODY", c.MaxBody, "must be more than 0")
	if err := holdfast.ValidateID("the name", c.WorkerID); err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_WORKER_ID: %w", err))
	}
	bad(c.WorkerSessions > 0, "HOLDFAST_WORKER_SESSIONS", c.WorkerSessions, "must be more than 0")
	bad(c.DrainTimeout > 0, "HOLDFAST_DRAIN_TIMEOUT", c.DrainTimeout, "must be more than 0")
	bad(c.WebhookKey == "" || len(c.WebhookKey) >= 32, "HOLDFAST_WEBHOOK_KEY", c.WebhookKey, "must have at least 32 characters")
	bad(c.ApprovalTimeout >= 0, "HOLDFAST_APPROVAL_TIMEOUT", c.ApprovalTimeout, "must not be negative")
	bad(c.Replicas == 1 || c.Replicas == 3 || c.Replicas == 5, "HOLDFAST_REPLICAS", c.Replicas, "must be 1, 3 or 5")
	bad(c.Replicas == 1 || c.NATSURL != "", "HOLDFAST_REPLICAS", c.Replicas, "the embedded NATS is a single server; set HOLDFAST_NATS_URL")
	bad(c.EventStreams >= 1 && c.EventStreams <= 256, "HOLDFAST_EVENT_STREAMS", c.EventStreams, "must be 1 to 256")
	bad(c.EventRetention > 0, "HOLDFAST_EVENT_RETENTION", c.EventRetention, "must be more than 0")
	bad(c.LogFormat == "text" || c.LogFormat == "json", "HOLDFAST_LOG_FORMAT", c.LogFormat, "must be text or json")
	for env, file := range map[string]string{"HOLDFAST_MCP_CATALOGUE": c.MCPCatalogue, "HOLDFAST_MODEL_CATALOGUE": c.ModelCatalogue} {
		if file != "" {
			info, err := os.Stat(filepath.Clean(file))
			bad(err == nil && info.Mode().IsRegular(), env, file, "must be a file")
		}
	}
	bad((c.Sandbox == "") == (c.Workspaces == ""), "HOLDFAST_SANDBOX", c.Sandbox, "goes together with HOLDFAST_WORKSPACES")
	bad(c.Sandbox == "" || strings.HasPrefix(c.Sandbox, "/"), "HOLDFAST_SANDBOX", c.Sandbox, "must begin with an absolute path")
	for i, key := range c.OperatorKeyList() {
		bad(len(key) >= 16, "HOLDFAST_OPERATOR_KEYS", fmt.Sprintf("(key %d)", i+1), "must have at least 16 characters")
	}
	if c.Agents != "" {
		info, err := os.Stat(filepath.Clean(c.Agents))
		bad(err == nil && info.IsDir(), "HOLDFAST_AGENTS", c.Agents, "must be a folder")
	}
	return errs
}

// join makes one error of those that are not nil, a line for each.
func join(errs []error) error {
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	return nil
}

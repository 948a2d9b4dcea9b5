package archtest

const module = "github.com/holdfast-run/holdfast"

// layer is a floor of the building. Arrows point down.
type layer string

const (
	words     layer = "words"     // package holdfast, the vocabulary
	log       layer = "log"       // internal/events
	core      layer = "core"      // nouns of the domain; they define the interfaces they need
	adapter   layer = "adapter"   // named after a technology
	settings  layer = "settings"  // internal/config
	telemetry layer = "telemetry" // internal/telemetry
	guard     layer = "guard"     // internal/egress
	exporter  layer = "exporter"  // internal/telemetry/export
	wiring    layer = "wiring"    // internal/app
	program   layer = "program"   // cmd/…
	client    layer = "client"    // the public client
	embedding layer = "embedding" // the public runtime in the user's own process
	support   layer = "support"   // packages for tests: …test, testenv, testdata
)

// layers says where each folder belongs; the longest path that fits counts. A
// new folder under internal needs a line here, so that somebody thinks about it.
var layers = map[string]layer{
	"":                     words,
	"client":               client,
	"cmd":                  program,
	"examples":             program,
	"internal/events":      log,
	"runtime":              embedding,
	"internal/a2awire":     core,
	"internal/agent":       core,
	"internal/model":       core,
	"internal/oauth":       core,
	"internal/quota":       core,
	"internal/recorder":    core,
	"internal/runtime":     core,
	"internal/schedule":    core,
	"internal/search":      core,
	"internal/webhook":     core,
	"internal/tenant":      core,
	"internal/tool":        core,
	"internal/worker":      core,
	"internal/console":     adapter,
	"internal/callback":    adapter,
	"internal/httpapi":     adapter,
	"internal/natsbus":     adapter,
	"internal/ociregistry": adapter,
	"internal/pgstore":     adapter,
	"internal/sqlitestore": adapter,
	"internal/model/*":     adapter,
	"internal/tool/*":      adapter,
	"internal/config":      settings,
	"internal/egress":      guard,
	"internal/telemetry":   telemetry,
	"internal/telemetry/*": exporter,
	"internal/app":         wiring,
	"internal/archtest":    support,
	"internal/bench":       support,
	"internal/conformance": support,
	"internal/e2e":         support,
	"internal/testenv":     support,
}

// imports says what each layer may import of this module, besides itself where
// sideways lists it.
var imports = map[layer]struct {
	may    []layer
	reason string
}{
	words:     {nil, "everybody shares the words, so they depend on nobody"},
	log:       {[]layer{words}, "the log is below all who read and write it"},
	core:      {[]layer{words, log}, "core packages define the interfaces that they need instead of importing who fulfils them"},
	adapter:   {[]layer{words, log, core, telemetry, guard}, "adapters never import each other: a technology can be replaced by itself"},
	settings:  {[]layer{words}, "settings are plain values"},
	telemetry: {[]layer{words}, "telemetry is below all who measure"},
	guard:     {[]layer{words}, "the guard is below all who go out"},
	exporter:  {[]layer{words, telemetry}, "exporters fulfil what telemetry asks for"},
	wiring:    {[]layer{words, log, core, adapter, settings, telemetry, guard}, "the composition root knows everyone"},
	program:   {[]layer{words, wiring, settings, telemetry}, "a program is flags, configuration and the composition root"},
	client:    {[]layer{words}, "users get the client and the words, nothing of the inside"},
	embedding: {[]layer{words, core, settings, wiring, client}, "it starts what a program starts, and speaks to it as a client does"},
	support:   {[]layer{words, log, core, adapter, settings, telemetry, guard, exporter, wiring, client, support}, "support for tests may use everything but programs"},
}

// sideways lists single imports beyond the layers.
var sideways = []struct{ from, to, reason string }{
	{"internal/runtime", "internal/agent", "the loop runs an agent"},
	{"internal/runtime", "internal/model", "the loop asks a model"},
	{"internal/runtime", "internal/tool", "the loop calls tools"},
	{"internal/oauth/flow", "internal/oauth", "a flow is carried out by the OAuth client"},
	{"internal/oauth/flow", "internal/oauth/state", "a flow's state and answer are checked where they are made"},
	{"internal/oauth/vault", "internal/oauth", "the vault keeps what the OAuth client needs"},
	{"internal/app", "internal/app/process", "what all server programs have in common"},
	{"internal/app/redirect", "internal/app/process", "what all server programs have in common"},
	{"cmd/holdfast", "client", "the command line speaks to a server"},
	{"cmd/api", "internal/telemetry/export", exporting},
	{"cmd/worker", "internal/telemetry/export", exporting},
	{"cmd/oauth-callback", "internal/telemetry/export", exporting},
}

// small lists programs that must not link parts of the module, directly or not.
var small = []struct {
	program string
	without []string
	reason  string
}{
	{"cmd/oauth-callback", []string{
		"internal/agent", "internal/model", "internal/tool", "internal/runtime", "internal/httpapi", "internal/pgstore", "internal/sqlitestore",
		"internal/natsbus/server", "internal/ociregistry", "internal/console",
	}, "the service that everybody on the Internet reaches has no database, no model and no tool"},
}

const exporting = "the server programs export telemetry; for holdfast dev the exporters take too much memory"

// maxDepth is the longest chain of imports inside the module that starts at a
// program. What is deep is hard to follow and slow to build.
const maxDepth = 5

// technologies says which folders may import a library outside of tests. Who is
// not listed goes through the interface of the listed ones.
var technologies = []struct {
	library string
	users   []string
	reason  string
}{
	{"github.com/nats-io/nats.go", []string{"internal/natsbus", "internal/app"}, "one place spells subjects and configures streams; app only opens the connection"},
	{"github.com/nats-io/nats-server/v2", []string{"internal/natsbus/server"}, "one place embeds the server"},
	{"github.com/jackc/pgx/v5", []string{"internal/pgstore"}, "SQL of Postgres is in one place"},
	{"modernc.org/sqlite", []string{"internal/sqlitestore"}, "SQL of SQLite is in one place"},
	{"github.com/pressly/goose/v3", []string{"internal/pgstore", "internal/sqlitestore"}, "migrations belong to the stores"},
	{"github.com/danielgtaylor/huma/v2", []string{"internal/httpapi"}, "routes are in one place"},
	{"github.com/openai/openai-go/v3", []string{"internal/model/openai"}, "a provider's SDK stays in its adapter"},
	{"github.com/mark3labs/mcp-go", []string{"internal/tool/mcptool", "internal/oauth", "internal/httpapi"}, "the wire format of MCP is no concern of the loop"},
	{"github.com/robfig/cron/v3", []string{"internal/schedule"}, "what a cron expression means is decided in one place"},
	{"oras.land/oras-go/v2", []string{"internal/ociregistry"}, "registries are spoken to in one place"},
	{"github.com/google/go-containerregistry", nil, "the registry of tests; programs stay small"},
	{"code.dny.dev/ssrf", []string{"internal/egress", "internal/ociregistry"}, "what is an address of the inside is decided in few places"},
	{"github.com/a2aproject/a2a-go", []string{"internal/a2awire", "internal/tool/a2atool", "internal/httpapi"}, "the wire format of A2A is no concern of the loop"},
	{"github.com/spf13/cobra", []string{"cmd/holdfast"}, "the server programs have no subcommands"},
	{"go.opentelemetry.io/otel/sdk", []string{"internal/telemetry"}, "exporters are configured in one place; the API of OpenTelemetry is for all"},
	{"go.opentelemetry.io/contrib/exporters", []string{"internal/telemetry"}, "exporters are configured in one place"},
}

// wordsLibraries are all that the vocabulary may import beyond the standard
// library.
var wordsLibraries = []string{"github.com/google/uuid"}

// bannedNames say nothing about what is inside.
var bannedNames = []string{
	"base", "common", "helper", "helpers", "lib", "misc", "models", "shared", "types", "util", "utils",
}

// maxLines is where a file certainly has more than one subject. Generated files
// are exempt.
const maxLines = 700

// unfinished are marks of work that was left for later.
var unfinished = []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}

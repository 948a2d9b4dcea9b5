package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/internal/oauth/oauthtest"
)

// report collects what docs/conformance.md says.
var report reporter

type reporter struct {
	mu   sync.Mutex
	runs []deploymentRun
}

// deploymentRun are the results on one deployment.
type deploymentRun struct {
	name                  string
	results               map[string]result
	flows, kills, answers int64
}

func (r *reporter) add(t *testing.T, name string, p *product, results map[string]result) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, deploymentRun{name, results, p.flows.Load(), p.kills.Load(), p.answers.Load()})
}

// The deployments.
const (
	oneProcess   = "One process"
	workerKilled = "Worker killed"
	fiveAnswers  = "Five answers"
)

// groups are the lines of the summary.
var groups = []struct {
	title string
	of    func(oauthtest.Scenario) bool
}{
	{"MCP 2025-11-25", func(s oauthtest.Scenario) bool { return s.Revision == "2025-11-25" }},
	{"MCP 2026-07-28", func(s oauthtest.Scenario) bool { return s.Revision == "2026-07-28" }},
	{"MCP 2025-03-26 (authorization)", func(s oauthtest.Scenario) bool { return s.Revision == "2025-03-26" }},
	{"All three revisions", func(s oauthtest.Scenario) bool { return s.Revision != "" }},
	{"Authorization extensions", func(s oauthtest.Scenario) bool { return s.Revision == "" }},
}

// write makes the page.
func (r *reporter) write(path string) error {
	order := []string{oneProcess, workerKilled, fiveAnswers}
	slices.SortFunc(r.runs, func(a, b deploymentRun) int { return slices.Index(order, a.name) - slices.Index(order, b.name) })
	var b strings.Builder
	b.WriteString(head)
	cells := func(first string, cell func(deploymentRun) string) {
		fmt.Fprintf(&b, "| %s |", first)
		for _, run := range r.runs {
			fmt.Fprintf(&b, " %s |", cell(run))
		}
		b.WriteByte('\n')
	}
	rule := func() { b.WriteString("|---|" + strings.Repeat("---|", len(r.runs)) + "\n") }
	cells("Scenarios passed", func(run deploymentRun) string { return run.name })
	rule()
	for _, g := range groups {
		cells(g.title, func(run deploymentRun) string {
			passed, all := 0, 0
			for _, s := range scenarios() {
				if g.of(s) {
					all++
					if run.results[s.Revision+"/"+s.Name].passed {
						passed++
					}
				}
			}
			return fmt.Sprintf("%d of %d", passed, all)
		})
	}
	cells("Authorizations by a user", func(run deploymentRun) string { return fmt.Sprint(run.flows) })
	cells("Workers killed", func(run deploymentRun) string { return fmt.Sprint(run.kills) })
	cells("Deliveries of answers", func(run deploymentRun) string { return fmt.Sprint(run.answers) })
	b.WriteString("\n## Scenarios\n\nPassed means that the suite found no failure and no warning; the number is that of the checks that succeeded.\n\n")
	cells("Scenario", func(run deploymentRun) string { return run.name })
	rule()
	for _, s := range scenarios() {
		title := s.Name
		if s.Revision != "" {
			title += " (" + s.Revision + ")"
		}
		cells(title, func(run deploymentRun) string {
			switch one, ok := run.results[s.Revision+"/"+s.Name]; {
			case !ok:
				return "not run"
			case one.passed:
				return fmt.Sprintf("passed, %d", one.success)
			}
			return "**failed**"
		})
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

const head = `# Conformance

The official conformance suite of MCP, npm ` + "`@modelcontextprotocol/conformance` 0.2.0-alpha.12" + `, plays MCP server and authorization server; Holdfast is the
client under test, as a whole: an agent file with the suite's server as its toolset, a scripted model that calls the tools, a session, and a browser without a
head that opens the start URL and follows the redirects to the callback service. This page is written by the run:

` + "```" + `
make conformance
` + "```" + `

It needs npm (or its packages in the cache), Postgres and two minutes to ten. The packages and Node.js 24 come in versions pinned by a lock file
(` + "`internal/oauth/oauthtest/npm`" + `). A few of the scenarios run with the ordinary tests.

Three deployments:

- *One process*: API, worker, recorder and callback together, with embedded NATS and SQLite, as ` + "`holdfast dev`" + ` runs.
- *Worker killed*: API, two callback services and two workers as processes of their own, with NATS and Postgres. The worker that emitted
  ` + "`authorization_required`" + ` gets SIGKILL before the user opens the URL; the other one takes over.
- *Five answers*: the same processes. What the authorization server sends back is delivered five times at once, to both callback services.

What is configured as a tenant would: clients that were registered by hand and those for client credentials, workload identity and
enterprise-managed authorization, by ` + "`PUT /v1/oauth-clients/NAME`" + `, with their assertions as secrets. For ` + "`auth/basic-cimd`" + ` the suite expects one certain URL as client id, so
the tenant stores that one as its client; the documents that Holdfast serves itself are tried by the tests of ` + "`internal/oauth`" + `. For
` + "`json-schema-2020-12-preservation`" + ` the model is a server of the tenant's own that speaks OpenAI's protocol and gives back the schema that it was sent; hosted providers
refuse alternatives at the root of a schema and get them merged. The user accepts what servers ask
without changing a default.

Left out are the suite's scenarios of the skills extension (SEP-2640), which is no part of Holdfast.

Beside the suite, the same package runs the product with real counterparts: the official TypeScript SDK's example server with its example authorization server,
lenient and strict about resource indicators; oidc-provider with tokens of 30 s, rotation and step-up; and, with ` + "`make conformance`" + `, Ory Fosite as a server of
2025-03-26 without any metadata. Sixty odd and hostile servers are a table in ` + "`internal/app/oauth_odd_test.go`" + `.

`

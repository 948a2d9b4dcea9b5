package conformance

import (
	"sync"
	"testing"
)

// report collects what docs/conformance.md says.
var report reporter

type reporter struct {
	mu   sync.Mutex
	runs []deploymentRun
}

type deploymentRun struct {
	name    string
	results map[string]result
	flows   int64
	kills   int64
	answers int64
}

func (r *reporter) add(t *testing.T, name string, p *product, results map[string]result) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, deploymentRun{name, results, p.flows.Load(), p.kills.Load(), p.answers.Load()})
}

package conformance

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/internal/oauth/oauthtest"
)

// TestConformance is the suite against the whole product in one process: a few
// scenarios, or all of them with -all.
func TestConformance(t *testing.T) {
	p := together(t)
	results := map[string]result{}
	t.Run("scenarios", func(t *testing.T) { p.run(t, results, true) })
	if *everything {
		report.add(t, oneProcess, p, results)
	}
}

// result is what the suite says of one scenario.
type result struct {
	passed  bool
	success int // checks
}

// run has the suite play all chosen scenarios to the product.
func (p *product) run(t *testing.T, results map[string]result, parallel bool, only ...string) {
	for _, s := range scenarios() {
		name := s.Revision + "/" + s.Name
		if len(only) > 0 && !slices.Contains(only, name) || len(only) == 0 && !*everything && !quickly[name] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if parallel {
				t.Parallel()
			}
			r := p.play(t, s)
			report.mu.Lock()
			results[name] = r
			report.mu.Unlock()
		})
	}
}

// play has the suite play one scenario.
func (p *product) play(t *testing.T, s oauthtest.Scenario) result {
	driver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o order
		err := json.NewDecoder(r.Body).Decode(&o)
		if err == nil {
			err = p.carryOut(r.Context(), s.Name, o)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	defer driver.Close()
	checks, output, err := oauthtest.RunScenario(t, s, os.Args[0], suiteClient+"="+driver.URL)
	if err != nil {
		t.Errorf("%v\n%s", err, output)
		return result{}
	}
	r := result{passed: oauthtest.Passed(checks)}
	for _, c := range checks {
		switch c.Status {
		case "SUCCESS":
			r.success++
		case "FAILURE", "WARNING":
			t.Errorf("%s %s: %s %s %s", c.Status, c.ID, c.Description, c.ErrorMessage, c.Details)
		}
	}
	if !r.passed {
		t.Errorf("the scenario failed:\n%.6000s", output)
	}
	return r
}

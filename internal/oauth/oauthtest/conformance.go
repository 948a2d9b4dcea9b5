package oauthtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Scenario is one run of the official suite for clients.
type Scenario struct {
	Name     string
	Revision string // of MCP; "" for extensions, which have none
	// Scored says that the suite demands it for that revision.
	Scored bool
}

// authNames are the scenarios about authorization of the pinned suite by the
// revisions for which it offers them.
var (
	authBoth = []string{
		"metadata-default", "metadata-var1", "metadata-var2", "metadata-var3", "basic-cimd", "scope-from-www-authenticate",
		"scope-from-scopes-supported", "scope-omitted-when-undefined", "scope-step-up", "scope-retry-limit",
		"token-endpoint-auth-basic", "token-endpoint-auth-post", "token-endpoint-auth-none", "pre-registration",
	}
	authNewest = []string{
		"resource-mismatch", "offline-access-scope", "offline-access-not-supported", "authorization-server-migration", "iss-supported",
		"iss-not-advertised", "iss-supported-missing", "iss-wrong-issuer", "iss-unexpected", "iss-normalized", "metadata-issuer-mismatch",
	}
	authOldest     = []string{"2025-03-26-oauth-metadata-backcompat", "2025-03-26-oauth-endpoint-fallback"}
	authExtensions = []string{
		"client-credentials-jwt", "client-credentials-basic", "enterprise-managed-authorization", "dpop", "dpop-nonce", "wif-jwt-bearer",
	}
)

// AuthScenarios returns all scenarios about authorization, each once for every
// revision that has it.
func AuthScenarios() (out []Scenario) {
	add := func(names []string, scored bool, revisions ...string) {
		for _, r := range revisions {
			for _, n := range names {
				out = append(out, Scenario{Name: "auth/" + n, Revision: r, Scored: scored})
			}
		}
	}
	add(authBoth, true, "2025-11-25", "2026-07-28")
	add(authNewest, true, "2026-07-28")
	add(authOldest, false, "2025-03-26")
	add(authExtensions, false, "")
	return out
}

// Check is what the suite found.
type Check struct {
	ID           string          `json:"id"`
	Status       string          `json:"status"` // SUCCESS, FAILURE, WARNING, INFO, SKIPPED
	Description  string          `json:"description"`
	ErrorMessage string          `json:"errorMessage"`
	Details      json.RawMessage `json:"details"`
}

// Passed reports whether a run has no failure and no warning, and at least one
// success.
func Passed(checks []Check) bool {
	succeeded := false
	for _, c := range checks {
		switch c.Status {
		case "FAILURE", "WARNING":
			return false
		case "SUCCESS":
			succeeded = true
		}
	}
	return succeeded
}

// RunScenario lets the suite play server and authorization server of a scenario
// to a client. command is started by a shell with the URL of the MCP server as
// its last argument, and finds MCP_CONFORMANCE_SCENARIO,
// MCP_CONFORMANCE_PROTOCOL_VERSION and MCP_CONFORMANCE_CONTEXT in its environment
// besides env. The output is that of the suite, the client's included.
func RunScenario(t testing.TB, s Scenario, command string, env ...string) (checks []Check, output string, err error) {
	t.Helper()
	out := t.TempDir()
	args := []string{
		filepath.Join(Modules(t), "node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js"),
		"client", "--command", command, "--scenario", s.Name, "--output-dir", out, "--timeout", "60000", "--verbose",
	}
	if s.Revision != "" {
		args = append(args, "--spec-version", s.Revision)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Node(t), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = out
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return nil, said.String(), fmt.Errorf("the conformance suite: %w", err)
	}
	var found []string
	err = filepath.WalkDir(out, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, "checks.json") {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) != 1 {
		return nil, said.String(), fmt.Errorf("the conformance suite left %d results: %w", len(found), err)
	}
	raw, err := os.ReadFile(found[0])
	if err != nil {
		return nil, said.String(), fmt.Errorf("reading the results: %w", err)
	}
	if err := json.Unmarshal(raw, &checks); err != nil {
		return nil, said.String(), fmt.Errorf("reading the results: %w", err)
	}
	return checks, said.String(), nil
}

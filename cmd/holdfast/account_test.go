package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/client"
)

// step is a command and what is to come of it.
type step struct {
	in   string // standard input
	args []string
	code int
	says string // on either output
}

func walkThrough(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		code, out, errOut := holdfastWith(t, s.in, s.args...)
		if code != s.code || !strings.Contains(out+errOut, s.says) {
			t.Errorf("holdfast %q: exit code %d, want %d; it says %q, want %q", s.args, code, s.code, out+errOut, s.says)
		}
		if slices.Contains(s.args, "--json") && (code == 0 || out != "") && !json.Valid([]byte(out)) {
			t.Errorf("holdfast %q: no JSON: %s", s.args, out)
		}
	}
}

// TestSecrets: a secret is stored from where nobody sees it, and no value comes back.
func TestSecrets(t *testing.T) {
	t.Setenv(envURL, serverURL)
	const value = "a value that nobody sees"
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	walkThrough(t, []step{
		{"", []string{"secrets", "ls", "--json"}, 0, "[]"},
		{value + "\n", []string{"secrets", "put", "CLI_KEY"}, 0, "stored CLI_KEY"},
		{"", []string{"secrets", "put", "CLI_KEY", "--file", file, "--json"}, 0, "CLI_KEY"},
		{"\n", []string{"secrets", "put", "CLI_KEY"}, exitUsage, "the value is empty"},
		{"", []string{"secrets", "put", "CLI_KEY", value}, exitUsage, "too many arguments"},
		{"", []string{"secrets", "put", "CLI_KEY", "--file", file + ".not"}, exitFailed, "no such file"},
		{"x", []string{"secrets", "put", "no name"}, exitFailed, ""},
		{"", []string{"secrets", "ls"}, 0, "CLI_KEY"},
		{"", []string{"__complete", "secrets", "rm", "CL"}, 0, "CLI_KEY"},
		{"", []string{"secrets", "rm", "CLI_KEY", "CLI_OTHER", "--json"}, exitNotFound, "CLI_KEY"},
		{"", []string{"secrets", "rm", "CLI_KEY"}, exitNotFound, "holdfast secrets ls"},
		{"", []string{"secrets", "add"}, exitUsage, "did you mean: holdfast secrets put"},
		{"", []string{"connections", "ls"}, 0, "no server of tools was authorized yet"},
		{"", []string{"connections", "ls", "--user", "alice", "--json"}, 0, "[]"},
		{"", []string{"connections", "rm", "nothing"}, exitNotFound, "holdfast connections ls"},
	})
	if _, out, _ := holdfastCommand(t, "secrets", "ls", "--json"); strings.Contains(out, value) {
		t.Errorf("it shows the value: %s", out)
	}
}

// TestWebhooks: a webhook is made, with its secret shown once, looked at and removed.
func TestWebhooks(t *testing.T) {
	t.Setenv(envURL, serverURL)
	walkThrough(t, []step{
		{"", []string{"webhooks", "ls"}, 0, "holdfast webhooks add URL"},
		{"", []string{"webhooks", "add", "http://127.0.0.1:9/hook", "--id", "hook", "--events", "run.finished"}, 0, "secret whsec_"},
		{"", []string{"webhooks", "add", "http://127.0.0.1:9/hook", "--id", "other", "--json"}, 0, "session.needs_human"},
		{"", []string{"webhooks", "add", "http://127.0.0.1:9/hook", "--events", "never"}, exitFailed, "never"},
		{"", []string{"webhooks", "ls"}, 0, "run.finished"},
		{"", []string{"webhooks", "ls", "--json"}, 0, "hook"},
		{"", []string{"webhooks", "deliveries", "hook"}, 0, "nothing was sent to it yet"},
		{"", []string{"webhooks", "deliveries", "hook", "--json"}, 0, "[]"},
		{"", []string{"webhooks", "deliveries", "nothing"}, exitNotFound, "holdfast webhooks ls"},
		{"", []string{"webhooks", "enable", "hook"}, 0, "enabled hook"},
		{"", []string{"webhooks", "enable", "hook", "--json"}, 0, "hook"},
		{"", []string{"__complete", "webhooks", "rm", ""}, 0, "hook"},
		{"", []string{"webhooks", "rm", "hook", "other"}, 0, "deleted other"},
		{"", []string{"webhooks", "rm", "hook"}, exitNotFound, "holdfast webhooks ls"},
	})
}

// TestDoctor: it says what is well, and of what is not what to do.
func TestDoctor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "contexts.json")
	t.Setenv(envContexts, file)
	nobody := httptest.NewServer(http.NotFoundHandler())
	defer nobody.Close()
	halfway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"status":"unavailable","checks":{"nats":"unreachable","store":"ok"}}`))
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"code":"unauthorized","detail":"no such key"}`))
	}))
	defer halfway.Close()
	steps := []step{
		{"", []string{"doctor", "--remote", serverURL}, 0, "by --remote, without a key"},
		{"", []string{"doctor", "--remote", serverURL, "--json"}, 0, `"ok": true`},
		{"", []string{"doctor", "--remote", "http://127.0.0.1:1"}, exitAway, "holdfast dev"},
		{"", []string{"doctor", "--remote", "http://127.0.0.1:1", "--json"}, exitAway, `"ok": false`},
		{"", []string{"doctor", "--remote", nobody.URL}, exitAway, "does not look like a Holdfast server"},
		{"", []string{"doctor", "--remote", halfway.URL}, exitAway, "nats is unreachable"},
		{"", []string{"doctor", "--context", "nowhere"}, exitUsage, "holdfast context ls"},
		{"", []string{"context", "add", "prod", strings.Replace(serverURL, "//", "//:a-key@", 1)}, 0, "prod"},
		{"", []string{"doctor"}, 0, "the context in use, prod, with a key"},
	}
	walkThrough(t, steps)
	if _, out, errOut := holdfastCommand(t, "doctor"); strings.Contains(out+errOut, "a-key") {
		t.Errorf("it shows the key: %s%s", out, errOut)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	walkThrough(t, []step{{"", []string{"doctor"}, exitFailed, "chmod 600 "}})
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	walkThrough(t, []step{{"", []string{"doctor"}, exitFailed, "mend or remove the file"}})
}

// TestWatch: a screen is as wide as the terminal, and says when the server is away;
// without a terminal there is none.
func TestWatch(t *testing.T) {
	t.Setenv(envURL, serverURL)
	walkThrough(t, []step{
		{"", []string{"sessions", "ls", "--watch"}, exitUsage, "--json"},
		{"", []string{"sessions", "ls", "--watch", "--json"}, exitUsage, "group"},
	})
	id := ask(t, "remember the milk")
	list, err := newest(t.Context(), newTestClient(t), client.SessionFilter{}, 0, 1)
	if err != nil || len(list) != 1 || list[0].ID != id {
		t.Fatalf("%v %v, want %s", list, err, id)
	}
	var b bytes.Buffer
	if err := showWatched(&b, list, nil); err != nil || !strings.Contains(b.String(), id[:8]) || !strings.HasPrefix(b.String(), "\x1b[H") {
		t.Errorf("%v: %q", err, b.String())
	}
	b.Reset()
	if err := showWatched(&b, nil, errors.New("it burns")); err != nil || !strings.Contains(b.String(), "it burns") || strings.Contains(b.String(), "\x1b[J") {
		t.Errorf("what was shown stays, and why is said: %v: %q", err, b.String())
	}
}

// TestSuggestionsExist: what is named for the words of other programs is there.
func TestSuggestionsExist(t *testing.T) {
	for path, words := range suggestions {
		c, rest, err := rootCommand().Find(strings.Fields(path)[1:])
		if err != nil || len(rest) > 0 || c.CommandPath() != path || len(words) == 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

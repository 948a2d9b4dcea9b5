package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// TestJSONOfFailures: what a command that fails leaves on standard output with --json
// is JSON, or nothing.
func TestJSONOfFailures(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"code":"unauthorized","detail":"no such key"}`))
	}))
	defer refuses.Close()
	argument := regexp.MustCompile(`^("?[A-Z]|FILE…)`)
	tried := 0
	walk(rootCommand(), func(c *cobra.Command) {
		if c.Flags().Lookup("json") == nil || c.Flags().Lookup("remote") == nil {
			return
		}
		args := strings.Fields(c.CommandPath())[1:]
		for _, word := range strings.Fields(c.Use)[1:] {
			if argument.MatchString(strings.TrimLeft(word, "[")) {
				args = append(args, "nothing")
			}
		}
		switch c.CommandPath() {
		case "holdfast schedules add":
			args = append(args[:3], "--agent", "demo", "--every", "36h")
		case "holdfast import":
			args[len(args)-1] = "-"
		case "holdfast agent put":
			args[len(args)-1] = "../../examples/hello.yaml"
		case "holdfast agent new":
			args = append(args[:2], "nothing")
		case "holdfast run":
			args = append(args, "hello")
		case "holdfast quota set":
			args[len(args)-1] = "runs=5"
		}
		want := exitRefused
		if c.Name() == "doctor" {
			want = exitAway // such a server is none of ours
		}
		args = append(args, "--json", "--remote", refuses.URL)
		code, out, errOut := holdfastWith(t, "x", args...)
		if code != want || errOut == "" {
			t.Errorf("holdfast %q: exit code %d: %s", args, code, errOut)
		}
		if out != "" && !json.Valid([]byte(out)) {
			t.Errorf("holdfast %q: no JSON: %s", args, out)
		}
		tried++
	})
	if tried < 25 {
		t.Errorf("%d commands were tried", tried)
	}
}

// TestDecisionsThatNothingWaitsFor: a call that does not wait is not found, whether
// others wait or not, and those are named.
func TestDecisionsThatNothingWaitsFor(t *testing.T) {
	t.Setenv(envURL, serverURL)
	id := ask(t, "remember the milk")
	walkThrough(t, []step{
		{"", []string{"approve", id, "nothing"}, exitNotFound, "this one does: call_"},
		{"", []string{"reject", id}, 0, "rejected"},
		{"", []string{"approve", id, "nothing"}, exitNotFound, "none of this session does"},
		{"", []string{"tail", id, "--types", "toolcall,RunFinished"}, 0, "did you mean run_finished?"},
	})
}

// TestInterruptTwiceAtOnce: where a wrapper sends the interrupt of the terminal once
// more, the run is canceled all the same.
func TestInterruptTwiceAtOnce(t *testing.T) {
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := newTestClient(t)
	doc, err := c.CreateSession(t.Context(), client.NewSession{Agent: "slow"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), me, "run", "slow", "talk", "--json", "--remote", serverURL, "--session", doc.ID)
	cmd.Env = append(os.Environ(), "HOLDFAST_TEST_AS_COMMAND=1")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, run := bufio.NewScanner(out), ""
	for lines.Scan() && run == "" {
		if ev, err := holdfast.UnmarshalEvent(lines.Bytes()); err != nil {
			t.Error(err)
		} else if started, ok := ev.(*holdfast.RunStartedEvent); ok {
			run = started.Run
		}
	}
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
	}
	for lines.Scan() { // to the end
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitCanceled || !strings.Contains(errOut.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
	// The log says at once that it is canceled; the run ends soon after.
	for e, err := range c.Events(t.Context(), doc.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev, ok := e.Event.(*holdfast.RunFinishedEvent); ok {
			if ev.Run != run || ev.Reason != "canceled" {
				t.Errorf("run %s ended: %s, want %s canceled", ev.Run, ev.Reason, run)
			}
			return
		}
	}
}

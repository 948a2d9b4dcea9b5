package runtime_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

var update = flag.Bool("update", false, "rewrite the expected parts of the scenarios")

// A scenario is a file in testdata/scenarios: an agent file, a script of what
// the user does, and what happened. Lines of the script:
//
//	approved                 the session is created with tools_approved
//	run TEXT                 a message; then the session parks idle
//	run-until WAITING TEXT   a message; then the session parks waiting for that
//	decide DECISION [IDLE]   a decision on the oldest waiting call; then it parks
//	continue                 grants more iterations; then the session parks idle
//	input ACTION [JSON] [> W] answers the oldest question; then it parks idle, or
//	                         waiting for W; "refused" in place of W
//	compact                  asks for a summary; then the session parks idle
//	… refused                the command is refused
//	schedule TEXT            a message for later; the session stays as it is
//	take-back                cancels the oldest scheduled run
//	expire WAITING           every timer that is set fires, three times over; then it parks
//	cancel                   cancels the active run; then the session parks idle
//	cancel-in-answer TEXT    a message; when the provider has begun to answer, the run
//	                         is canceled and the session parks idle; then no request to
//	                         the provider is open (see upstream)
//	begun-yesterday          comes first: another worker began to answer "go" a day ago,
//	                         and left; the session parks idle
//
// What happened is in these parts: conversation, the messages that the log leaves
// behind; events, what a client of the contract sees. Two more are compared where a
// scenario has them: prompts, the system prompts that models were given, by the
// user's message; upstream, what the provider at http://upstream.test saw.
type scenario struct {
	path    string
	archive *txtar.Archive
	parts   map[string]string
}

func scenarios(t *testing.T) []*scenario {
	t.Helper()
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var out []*scenario
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s := &scenario{path: f, archive: a, parts: map[string]string{}}
		for _, p := range a.Files {
			s.parts[p.Name] = string(p.Data)
		}
		out = append(out, s)
	}
	return out
}

func (s *scenario) name() string { return strings.TrimSuffix(filepath.Base(s.path), ".txt") }

// play performs the script.
func (s *scenario) play(w *world, ref holdfast.SessionRef) {
	w.t.Helper()
	provider := w.upstream(s)
	if !strings.HasPrefix(s.parts["script"], "begun-yesterday\n") {
		w.create(ref, &holdfast.SessionCreatedEvent{ToolsApproved: strings.Contains(s.parts["script"], "approved\n"), Agent: "agent"})
	}
	for _, line := range strings.Split(strings.TrimSpace(s.parts["script"]), "\n") {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		var a events.Answer
		until := events.WaitingIdle
		switch verb {
		case "approved":
			continue
		case "run-until":
			until, rest, _ = strings.Cut(rest, " ")
			fallthrough
		case "run":
			a = w.send(ref, events.KindRun, events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: rest}}})
		case "decide":
			var after string
			if rest, after, _ = strings.Cut(rest, " "); after != "" {
				until = after
			}
			a = w.send(ref, events.KindDecide, events.DecideBody{Decision: rest})
		case "continue":
			a = w.send(ref, events.KindResume, events.ResumeBody{Iterations: 2})
		case "input":
			var after string
			if rest, after, _ = strings.Cut(rest, " > "); after != "" {
				until = after
			}
			action, content, _ := strings.Cut(rest, " ")
			a = w.send(ref, events.KindInput, events.InputBody{Action: action, Content: json.RawMessage(content)})
		case "compact":
			a = w.send(ref, events.KindCompact, nil)
		case "schedule":
			at := time.Now().Add(time.Hour)
			a = w.send(ref, events.KindSchedule, events.ScheduleBody{At: at, RunBody: events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: rest}}}})
			until = w.waitsFor(ref)
		case "take-back":
			a = w.send(ref, events.KindCancel, events.CancelBody{Run: w.scheduled(ref)})
			until = w.waitsFor(ref)
		case "expire":
			until = rest
			w.expire(ref)
		case "cancel":
			a = w.send(ref, events.KindCancel, nil)
		case "cancel-in-answer":
			if err := w.send(ref, events.KindRun, said(rest)).Err(); err != nil {
				w.t.Fatal(err)
			}
			// The provider may be asked before the log has what led to it.
			w.wait(ref, "a model call", func(e events.Envelope) bool { return e.Type == holdfast.TypeModelCallStarted })
			provider.awaitAsked(w.t)
			a = w.send(ref, events.KindCancel, nil)
		case "begun-yesterday":
			w.begunYesterday(ref, s.parts["agent.yaml"])
		default:
			w.t.Fatalf("%s: unknown line %q", s.path, line)
		}
		if refused := strings.HasSuffix(line, " refused"); (a.Err() != nil) != refused {
			w.t.Fatalf("%s: %s: %v", s.path, line, a.Err())
		} else if refused {
			continue
		}
		w.waitParked(ref, until)
		if verb == "cancel-in-answer" {
			provider.awaitClosed(w.t)
		}
	}
}

// transcript shows the events that clients of the contract see, deltas joined. Of a
// response that was cut it says how much of the whole the log has.
func transcript(evs []events.Envelope) string {
	var b strings.Builder
	var open string
	end := func() {
		if open != "" {
			b.WriteString("\"\n")
			open = ""
		}
	}
	for _, e := range evs {
		if events.Internal(e.Type) && e.Type != holdfast.TypeToolOutcomeUnknown && e.Type != holdfast.TypeModelCallVoided {
			continue
		}
		var m map[string]any
		if err := json.Unmarshal(e.Payload, &m); err != nil {
			m = map[string]any{"unreadable": string(e.Payload)}
		}
		if e.Type == holdfast.TypeAgentChoice || e.Type == holdfast.TypeAgentChoiceReasoning {
			if key := e.Type + e.Agent; open != key {
				end()
				open = key
				fmt.Fprintf(&b, "%s %s \"", e.Type, e.Agent)
			}
			fmt.Fprint(&b, m["content"])
			continue
		}
		end()
		fmt.Fprintf(&b, "%s %s", e.Type, e.Agent)
		if tc, ok := m["tool_call"].(map[string]any); ok {
			fn := tc["function"].(map[string]any)
			fmt.Fprintf(&b, " %v%v", fn["name"], fn["arguments"])
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			switch k {
			case "message", "response", "title", "error", "code", "reason", "policy", "from_agent", "to_agent", "max_iterations", "attempt",
				"status", "summary", "failed_model", "fallback_model":
				if text, ok := m[k].(string); ok && len(text) > 200 {
					m[k] = text[:60] + "…" + text[len(text)-60:]
				}
				fmt.Fprintf(&b, " %s=%q", k, fmt.Sprint(m[k]))
			}
		}
		if e.Type == holdfast.TypeToolCallResponse && m["sha256"] != nil {
			b.WriteString(" " + kept(evs, e.Payload))
		}
		b.WriteByte('\n')
	}
	end()
	return b.String()
}

// conversation shows the messages that the log leaves behind.
func conversation(s *runtime.State) string {
	var b strings.Builder
	for _, m := range s.Conversation {
		text := m.Content
		if len(text) > 200 {
			text = text[:60] + "…"
		}
		fmt.Fprintf(&b, "%s %q", m.Role, text)
		for _, c := range m.ToolCalls {
			fmt.Fprintf(&b, " %s%s", c.Function.Name, c.Function.Arguments)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "title %q approved %v\n", s.Title, s.ToolsApproved)
	return b.String()
}

func ref(name string) holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: "default", Session: name}
}

// TestScenarios plays every scenario with one worker and compares what happened.
func TestScenarios(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.name(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, s.parts["agent.yaml"])
			w.start(-1, false)
			s.play(w, ref("s"))
			got := map[string]string{
				"events":       transcript(w.events(ref("s"))),
				"conversation": conversation(w.state(ref("s"))),
			}
			s.more(w, w.events(ref("s")), got)
			if *update {
				for i, p := range s.archive.Files {
					if text, ok := got[p.Name]; ok {
						s.archive.Files[i].Data = []byte(text)
						delete(got, p.Name)
					}
				}
				for _, name := range slices.Sorted(maps.Keys(got)) {
					s.archive.Files = append(s.archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
				}
				if err := os.WriteFile(s.path, txtar.Format(s.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for name, text := range got {
				if diff := cmp.Diff(s.parts[name], text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			// What the owner believed is what the log says.
			checkLog(t, w.events(ref("s")))
			verify(t, ref("s"), w.events(ref("s")))
		})
	}
}

// checkLog checks what every log must keep, whatever happened.
func checkLog(t *testing.T, evs []events.Envelope) {
	t.Helper()
	var epoch uint64
	for i, e := range evs {
		if e.Seq != uint64(i+1) {
			t.Fatalf("event %d has seq %d", i+1, e.Seq)
		}
		if e.Epoch < epoch {
			t.Fatalf("epoch fell from %d to %d at seq %d", epoch, e.Epoch, e.Seq)
		}
		if e.Epoch > epoch && e.Type != holdfast.TypeSessionClaimed {
			t.Fatalf("epoch %d begins with %s at seq %d", e.Epoch, e.Type, e.Seq)
		}
		if !json.Valid(e.Payload) || !bytes.HasPrefix(e.Payload, []byte("{")) {
			t.Fatalf("payload of seq %d is no JSON object: %s", e.Seq, e.Payload)
		}
		epoch = e.Epoch
	}
}

// verify judges a log by the rules of package events.
func verify(t *testing.T, ref holdfast.SessionRef, evs []events.Envelope) {
	t.Helper()
	v := events.NewVerifier(ref, func(bad events.Violation) { t.Error(bad) })
	for i := range evs {
		v.Event(&evs[i])
	}
}

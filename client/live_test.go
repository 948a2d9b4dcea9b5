package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
)

// serverURL is where a whole Holdfast listens: the one of this package's tests.
var serverURL string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-client-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		cfg, err := config.Load([]string{"HOLDFAST_DATA=" + filepath.Join(dir, "data"), "HOLDFAST_LISTEN=127.0.0.1:0"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := 1
		err = app.Run(context.Background(), cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
			Name: "client-test", Logger: slog.New(slog.DiscardHandler), DrainGrace: time.Second,
			Ready: func(addr string) { serverURL = "http://" + addr },
			Use: func(context.Context, *app.Program) error {
				code = m.Run()
				return nil
			},
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

func newClient(t testing.TB, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(serverURL, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// say makes a run and returns its last seq.
func say(t testing.TB, c *client.Client, session, text string) uint64 {
	t.Helper()
	s, err := c.StartRun(t.Context(), session, client.NewRun{Agent: "demo", Messages: []client.Message{{Content: text}}})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range c.Events(t.Context(), session, s.Seq-1) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Run == s.Run && e.Event.EventType() == holdfast.TypeRunFinished {
			return e.Seq
		}
	}
	t.Fatal("the run did not finish")
	return 0
}

// TestLog: what there is comes once and in order, and then the end; one event, a
// fork, a replay and the pages of the list agree with it.
func TestLog(t *testing.T) {
	c := newClient(t)
	doc, err := c.CreateSession(t.Context(), client.NewSession{Agent: "demo", ToolsApproved: true})
	if err != nil {
		t.Fatal(err)
	}
	last := say(t, c, doc.ID, "hello")
	var types []string
	for e, err := range c.Log(t.Context(), doc.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, e.Event.EventType())
		if e.Seq != uint64(len(types)) {
			t.Fatalf("event %d is number %d", e.Seq, len(types))
		}
	}
	if uint64(len(types)) < last || types[0] != holdfast.TypeSessionCreated {
		t.Fatalf("%d events, at least %d are there: %v", len(types), last, types)
	}
	e, err := c.GetEvent(t.Context(), doc.ID, 1)
	if err != nil || e.Event.EventType() != holdfast.TypeSessionCreated {
		t.Errorf("event 1: %+v, %v", e, err)
	}
	if _, err := c.GetEvent(t.Context(), doc.ID, 1<<40); holdfast.CodeOf(err) != holdfast.CodeGone {
		t.Errorf("an event that is not there: %v", err)
	}
	n := 0
	for _, err := range c.Replay(t.Context(), doc.ID, 0, 1e6, time.Millisecond) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n < len(types) {
		t.Errorf("a replay has %d events, want %d", n, len(types))
	}
	for i, call := range []string{"think"} {
		whole, err := c.GetSession(t.Context(), doc.ID)
		if err != nil {
			t.Fatal(err)
		}
		var id string
		for _, m := range whole.Messages {
			for _, tc := range m.Message.ToolCalls {
				if tc.Function.Name == call {
					id = tc.ID
				}
			}
		}
		if out, err := c.GetToolOutput(t.Context(), doc.ID, id); err != nil || out == "" {
			t.Errorf("call %d: %q, %v", i, out, err)
		}
	}
	fork, err := c.ForkSession(t.Context(), doc.ID, client.NewFork{Seq: last, Title: "another way"})
	if err != nil || fork.ForkOf != doc.ID || fork.ForkSeq != last || fork.Title != "another way" || len(fork.Messages) == 0 {
		t.Fatalf("fork: %+v, %v", fork, err)
	}
	seen := map[string]int{}
	for s, err := range c.Sessions(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		seen[s.ID]++
	}
	if seen[doc.ID] != 1 || seen[fork.ID] != 1 {
		t.Errorf("pages of one: %v", seen)
	}
	if err := c.DeleteSession(t.Context(), fork.ID); err != nil {
		t.Error(err)
	}
}

// cutter is a proxy that cuts connections after so many bytes.
func cutter(t *testing.T, after int64) string {
	t.Helper()
	target, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer in.Close()
				out, err := net.Dial("tcp", target.Host)
				if err != nil {
					t.Error(err)
					return
				}
				defer out.Close()
				all.Go(func() {
					defer out.Close() // the reader has gone
					_, _ = io.Copy(out, in)
				})
				_, _ = io.CopyN(in, out, after)
			})
		}
	})
	return "http://" + ln.Addr().String()
}

// TestCutConnections reads a session while its connection is cut every few
// thousand bytes: nothing is lost, nothing comes twice, and the notice says so.
func TestCutConnections(t *testing.T) {
	direct := newClient(t)
	doc, err := direct.CreateSession(t.Context(), client.NewSession{Agent: "demo", ToolsApproved: true})
	if err != nil {
		t.Fatal(err)
	}
	last := say(t, direct, doc.ID, "plan something")
	lost, up := 0, 0
	c, err := client.New(cutter(t, 6000), client.WithConnectionNotice(func(n client.Connection) {
		if n.Up {
			up++
		} else {
			lost++
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	var want uint64 = 1
	for e, err := range c.Events(t.Context(), doc.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != want {
			t.Fatalf("event %d, want %d", e.Seq, want)
		}
		if want++; e.Seq == last {
			break
		}
	}
	if lost == 0 || up != lost {
		t.Errorf("%d connections were lost, %d made again; the test cuts some", lost, up)
	}
}

// TestRemoteRuntime has two turns with one session, an approval and one that is
// refused, and sees what the caller's session becomes.
func TestRemoteRuntime(t *testing.T) {
	r, err := client.NewRemoteRuntime(newClient(t), client.WithRemoteAgentFilename("demo.yaml"), client.WithRemoteCurrentAgent("root"))
	if err != nil {
		t.Fatal(err)
	}
	if a := r.CurrentAgent(); a.Name() != "root" || !strings.Contains(a.Description(), "scripted") || a.WelcomeMessage() == "" || a.Model() != "demo" {
		t.Errorf("current agent: %+v", a)
	}
	s := holdfast.NewSession("remember the milk")
	seen := map[string]int{}
	stopped := ""
	for e := range r.RunStream(t.Context(), s) {
		seen[e.EventType()]++
		switch ev := e.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			r.Resume(t.Context(), client.ResumeTypeApprove)
		case *holdfast.StreamStoppedEvent:
			stopped = ev.Reason
		case *holdfast.ErrorEvent:
			t.Error(ev.Error)
		}
	}
	if seen[holdfast.TypeToolCallConfirmation] != 1 || seen[holdfast.TypeToolCall] != 1 || stopped != "stop" || s.ID == "" || s.ID != r.SessionID() {
		t.Errorf("%v, %q, session %q", seen, stopped, s.ID)
	}
	if !strings.Contains(s.LastAssistantMessage(), "The tool said") {
		t.Errorf("the session has %+v", s.Messages)
	}
	before := len(s.Messages)
	s.AddUserMessage("hello again")
	s.ToolsApproved = true
	messages, err := r.Run(t.Context(), s)
	if err != nil || len(messages) <= before || messages[before].Content != "hello again" || len(s.Messages) != len(messages) {
		t.Errorf("second turn: %v, %d messages after %d", err, len(messages), before)
	}

	refused := holdfast.NewSession("remember the bread")
	other, err := client.NewRemoteRuntime(newClient(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Run(t.Context(), refused); holdfast.CodeOf(err) != holdfast.CodeForbidden {
		t.Errorf("a tool that nobody can approve: %v", err)
	}
	if err := other.ResumeCodeReceived(t.Context(), "code"); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("a code that nobody waits for: %v", err)
	}
	again, err := client.NewRemoteRuntime(newClient(t), client.WithRemoteSessionID(s.ID), client.WithRemoteAgentFilename("demo"))
	if err != nil {
		t.Fatal(err)
	}
	third := holdfast.NewSession("remember the milk", "hello again", "and more")
	if got, err := again.Run(t.Context(), third); err != nil || len(got) <= len(messages) || third.ID != s.ID {
		t.Errorf("by id: %v, %d messages in session %s", err, len(got), third.ID)
	}
}

// TestAgents: a file is stored, changed, read, exported and deleted.
func TestAgents(t *testing.T) {
	c := newClient(t)
	source, err := os.ReadFile(filepath.Join("..", "examples", "hello.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	put, err := c.PutAgentFile(t.Context(), "mine", source)
	if err != nil || put.Name != "mine" || put.Version != 1 || put.Source != string(source) || len(put.Problems) > 0 {
		t.Fatalf("put: %+v, %v", put, err)
	}
	if _, err := c.EditAgentConfig(t.Context(), "mine.yaml", map[string]any{"metadata": map[string]string{"description": "edited"}}); err != nil {
		t.Error(err)
	}
	got, err := c.GetAgentFile(t.Context(), "mine")
	if err != nil || got.Version != 2 || !strings.Contains(got.Source, "description: edited") || got.ETag == put.ETag {
		t.Errorf("after an edit: %+v, %v", got, err)
	}
	if first, err := c.GetAgentFile(t.Context(), "mine@1"); err != nil || first.Source != string(source) {
		t.Errorf("its first version: %+v, %v", first, err)
	}
	if _, err := c.ImportAgentContent(t.Context(), "imported.yaml", source); err != nil {
		t.Error(err)
	}
	if path, err := c.CreateAgentConfig(t.Context(), "made.yaml", "openai/gpt-5", "Is made.", "Be made."); err != nil || !strings.Contains(path, "made") {
		t.Errorf("made: %q, %v", path, err)
	}
	list, err := c.GetAgents(t.Context())
	names := map[string]bool{}
	for _, a := range list {
		names[a.Name] = true
	}
	if err != nil || !names["mine"] || !names["imported"] || !names["made"] || !names["demo"] {
		t.Errorf("the list has %v, %v", names, err)
	}
	if x, err := c.ExportAgents(t.Context()); err != nil || x.ZipFile == "" {
		t.Errorf("export: %+v, %v", x, err)
	}
	if _, err := c.PushAgent(t.Context(), "mine.yaml", "not a reference"); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Errorf("a push to no reference: %v", err)
	}
	if _, err := c.PullAgent(t.Context(), "not a reference"); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Errorf("a pull of no reference: %v", err)
	}
	for _, name := range []string{"mine.yaml", "imported.yaml", "made.yaml"} {
		if err := c.DeleteAgent(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.GetAgentFile(t.Context(), "mine"); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("after its deletion: %v", err)
	}
}

// TestRemoteRuntimeFails: what is wrong is an event and an error, and no panic.
func TestRemoteRuntimeFails(t *testing.T) {
	if _, err := client.NewRemoteRuntime(nil); err == nil {
		t.Error("without a client")
	}
	r, err := client.NewRemoteRuntime(newClient(t), client.WithRemoteAgentFilename("nobody"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), holdfast.NewSession("x")); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("an agent that is not there: %v", err)
	}
	if a := r.CurrentAgent(); a.Name() != "root" {
		t.Errorf("current agent: %q", a.Name())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Run(ctx, holdfast.NewSession("x")); err == nil {
		t.Error("a context that has ended")
	}
	events := make(chan holdfast.Event, 10)
	r.Summarize(t.Context(), &holdfast.Session{ID: "nobody"}, events)
	if e, ok := (<-events).(*holdfast.ErrorEvent); !ok || e.Error == "" {
		t.Errorf("a summary of nothing: %+v", e)
	}
	if r.Emit(e1()) {
		t.Error("an event went to a stream that has ended")
	}
}

func e1() holdfast.Event { return &holdfast.WarningEvent{Message: "x"} }

// FuzzAnswers gives whatever there is to every method: none panics, and none
// takes for ever.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{
		"", "null", "[]", "{}", `"x"`, `{"id":"s","messages":null}`, `{"sessions":[{"id":"s"}],"next":"x"}`, `{"agents":{"root":null,"b":[]}}`,
		`{"agents":[{"name":"a"}]}`, `{"status":"accepted","seq":18446744073709551615}`, `{"path":"p","filepath":"p","name":"n","digest":"d","zipFile":"z"}`,
		"id: 1\ndata: {\"type\":\"run_finished\",\"seq\":1,\"run\":\"\"}\n\n", `{"type":"agent_choice","seq":1}`, "data: {\n\n",
	} {
		f.Add(200, "application/json", s)
		f.Add(200, "text/event-stream", s)
		f.Add(404, "application/problem+json", s)
	}
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		h := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.Header()["Content-Type"] = []string{contentType}
			w.WriteHeader(200 + abs(status)%400)
			_, _ = w.WriteString(body)
			return w.Result(), nil
		})}
		c, err := client.NewClient("http://x", client.WithHTTPClient(h), client.WithTimeout(time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		everyMethod(ctx, c)
		r, err := client.NewRemoteRuntime(c, client.WithRemoteAgentFilename("a"))
		if err != nil {
			t.Fatal(err)
		}
		r.CurrentAgent()
		_, _ = r.Run(ctx, holdfast.NewSession("x"))
	})
}

// everyMethod calls all methods of a client, with texts that are not empty and
// zero values else, and reads whatever they give out.
func everyMethod(ctx context.Context, c *client.Client) {
	v := reflect.ValueOf(c)
	for i := range v.NumMethod() {
		m := v.Method(i)
		args := []reflect.Value{reflect.ValueOf(ctx)}
		for j := 1; j < m.Type().NumIn(); j++ {
			switch in := m.Type().In(j); {
			case in.Kind() == reflect.String:
				args = append(args, reflect.ValueOf("x").Convert(in))
			case in.Kind() == reflect.Interface && in.NumMethod() > 0: // a reader or a writer
				args = append(args, reflect.ValueOf(&bytes.Buffer{}))
			default:
				args = append(args, reflect.Zero(in))
			}
		}
		call := m.Call
		if m.Type().IsVariadic() {
			call = m.CallSlice
		}
		for _, out := range call(args) {
			switch out.Kind() {
			case reflect.Func:
				n := 0
				for range out.Seq2() {
					if n++; n > 100 {
						break
					}
				}
			case reflect.Chan:
				for !out.IsNil() { // nil comes with an error
					if _, ok := out.Recv(); !ok {
						break
					}
				}
			}
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}

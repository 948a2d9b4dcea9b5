package a2atool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/a2aproject/a2a-go/a2asrv"
	"github.com/a2aproject/a2a-go/a2asrv/eventqueue"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/a2atool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// concierge is an agent over the protocol's own server: what it does is what the
// message says.
type concierge struct {
	hanging  chan struct{}
	canceled chan a2a.TaskID
	over     chan struct{} // closed at the end of the test

	mu       sync.Mutex
	messages []*a2a.Message // guarded by mu
}

func (c *concierge) Execute(ctx context.Context, r *a2asrv.RequestContext, q eventqueue.Queue) error {
	c.mu.Lock()
	c.messages = append(c.messages, r.Message)
	c.mu.Unlock()
	said := r.Message.Parts[0].(a2a.TextPart).Text
	status := func(state a2a.TaskState, text string) error {
		e := a2a.NewStatusUpdateEvent(r, state, nil)
		if text != "" {
			e.Status.Message = a2a.NewMessageForTask(a2a.MessageRoleAgent, r, a2a.TextPart{Text: text})
		}
		e.Final = state.Terminal() || state == a2a.TaskStateInputRequired
		return q.Write(ctx, e)
	}
	switch {
	case r.StoredTask != nil:
		return status(a2a.TaskStateCompleted, "booked for "+said)
	case said == "ask":
		return status(a2a.TaskStateInputRequired, "For how many?")
	case said == "fail":
		return status(a2a.TaskStateFailed, "no table left")
	case said == "hang":
		if err := status(a2a.TaskStateWorking, "thinking"); err != nil {
			return err
		}
		c.hanging <- struct{}{}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.over:
			return status(a2a.TaskStateFailed, "")
		}
	case said == "work":
		if err := status(a2a.TaskStateWorking, "looking"); err != nil {
			return err
		}
		first := a2a.NewArtifactEvent(r, a2a.TextPart{Text: "one, "})
		if err := q.Write(ctx, first); err != nil {
			return err
		}
		if err := q.Write(ctx, a2a.NewArtifactUpdateEvent(r, first.Artifact.ID, a2a.TextPart{Text: "two"}, a2a.DataPart{Data: map[string]any{"n": 3}})); err != nil {
			return err
		}
		return status(a2a.TaskStateCompleted, "")
	case said == "big":
		return q.Write(ctx, a2a.NewMessageForTask(a2a.MessageRoleAgent, r, a2a.TextPart{Text: strings.Repeat("x", tool.MaxOutput+1)}))
	}
	return q.Write(ctx, a2a.NewMessageForTask(a2a.MessageRoleAgent, r, a2a.TextPart{Text: "you said " + said}))
}

func (c *concierge) Cancel(ctx context.Context, r *a2asrv.RequestContext, q eventqueue.Queue) error {
	c.canceled <- r.TaskID
	e := a2a.NewStatusUpdateEvent(r, a2a.TaskStateCanceled, nil)
	e.Final = true
	return q.Write(ctx, e)
}

// newConcierge serves the agent and returns the address of its card.
func newConcierge(t *testing.T, streaming bool) (*concierge, string) {
	t.Helper()
	c := &concierge{hanging: make(chan struct{}, 8), canceled: make(chan a2a.TaskID, 8), over: make(chan struct{})}
	t.Cleanup(func() { close(c.over) })
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	mux.Handle("/invoke", a2asrv.NewJSONRPCHandler(a2asrv.NewHandler(c)))
	mux.Handle("/agents/desk/.well-known/agent-card.json", a2asrv.NewStaticAgentCardHandler(&a2a.AgentCard{
		Name: "Front desk", Description: "Books tables.", ProtocolVersion: "0.3.0", URL: s.URL + "/invoke",
		PreferredTransport: a2a.TransportProtocolJSONRPC, Capabilities: a2a.AgentCapabilities{Streaming: streaming},
		Skills: []a2a.AgentSkill{{ID: "book", Name: "Book", Description: "a table"}},
	}))
	return c, s.URL + "/agents/desk"
}

func open(t *testing.T, url string, o a2atool.Options) *a2atool.Toolset {
	t.Helper()
	ts, err := a2atool.New(a2atool.Config{URL: url, Name: "desk"}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ts.Close() })
	return ts
}

func say(t *testing.T, ts tool.Toolset, state tooltest.State, args string) tool.Result {
	t.Helper()
	c := tooltest.Call(tool.Call{Name: "desk", Arguments: args})
	c.State = state.Get
	res, err := ts.Call(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	state.Apply(res)
	return res
}

func TestKeepsThePromises(t *testing.T) {
	for name, streaming := range map[string]bool{"streaming": true, "asking": false} {
		t.Run(name, func(t *testing.T) {
			c, url := newConcierge(t, streaming)
			tooltest.Toolset(t, tooltest.Case{
				New:  func(t *testing.T) tool.Toolset { return open(t, url, a2atool.Options{}) },
				Good: []tool.Call{{Name: "desk", Arguments: `{"message":"hello"}`}, {Name: "desk", Arguments: `{"message":"work"}`}},
				Bad: []tool.Call{
					{Name: "desk"},
					{Name: "desk", Arguments: `{"message":" "}`},
					{Name: "desk", Arguments: `{"message":"x","more":1}`},
					{Name: "desk", Arguments: `{"message":"fail"}`},
					{Name: "desk", Arguments: `{"message":"x","task_id":"no such"}`},
				},
				Big:      tool.Call{Name: "desk", Arguments: `{"message":"big"}`},
				Blocking: tool.Call{Name: "desk", Arguments: `{"message":"hang"}`},
				Started:  func(*testing.T) { <-c.hanging },
			})
		})
	}
}

func TestConversation(t *testing.T) {
	for name, streaming := range map[string]bool{"streaming": true, "asking": false} {
		t.Run(name, func(t *testing.T) {
			c, url := newConcierge(t, streaming)
			ts := open(t, url, a2atool.Options{})
			defs, err := ts.Tools(t.Context())
			if err != nil || len(defs) != 1 || defs[0].Name != "desk" || defs[0].Effect != tool.EffectUnkeyed ||
				!strings.Contains(defs[0].Description, "Books tables.") || !strings.Contains(defs[0].Description, "- Book: a table") {
				t.Fatalf("%+v, %v", defs, err)
			}
			state := tooltest.State{}
			if got := say(t, ts, state, `{"message":"work"}`); got.IsError || got.Output != `one, two{"n":3}` && got.Output != "looking\n\n"+`one, two{"n":3}` {
				t.Errorf("%+v", got)
			}
			asked := say(t, ts, state, `{"message":"ask"}`)
			before, task, ok := strings.Cut(asked.Output, "task_id \"")
			task, _, _ = strings.Cut(task, `"`)
			if !ok || asked.IsError || !strings.HasPrefix(before, "For how many?\n[") {
				t.Fatalf("%+v", asked)
			}
			// Another toolset, as on another worker: nothing lives outside the log.
			other := open(t, url, a2atool.Options{})
			answer := fmt.Sprintf(`{"message":"two","task_id":%q}`, task)
			got := say(t, other, state, answer)
			// The protocol's server says that a task waits before it has put it aside, and
			// refuses who is quicker.
			for deadline := time.Now().Add(time.Minute); strings.Contains(got.Output, "(code -32603)") && time.Now().Before(deadline); {
				<-time.After(5 * time.Millisecond)
				got = say(t, other, state, answer)
			}
			if got.IsError || got.Output != "booked for two" {
				t.Errorf("%+v", got)
			}
			if got := say(t, ts, state, `{"message":"fail"}`); !got.IsError || got.Output != "no table left\n[The agent's task is failed.]" {
				t.Errorf("%+v", got)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			for i, m := range c.messages {
				if m.ID != "key_call_1" {
					t.Errorf("message %d has the id %q", i, m.ID)
				}
				if i > 0 && m.ContextID != c.messages[1].ContextID {
					t.Errorf("message %d is in another conversation", i)
				}
			}
		})
	}
}

func TestProgress(t *testing.T) {
	_, url := newConcierge(t, true)
	var heard []string
	_, err := open(t, url, a2atool.Options{}).Call(t.Context(), tooltest.Call(tool.Call{
		Name: "desk", Arguments: `{"message":"work"}`, Progress: func(s string) { heard = append(heard, s) },
	}))
	if got := strings.Join(heard, "|"); err != nil || got != `looking|one, |two{"n":3}` {
		t.Errorf("%s, %v", got, err)
	}
}

// A call that is given up cancels the task.
func TestCancel(t *testing.T) {
	c, url := newConcierge(t, true)
	ts := open(t, url, a2atool.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	heard := func(string) { cancel() } // from now on the task is known
	if _, err := ts.Call(ctx, tooltest.Call(tool.Call{Name: "desk", Arguments: `{"message":"hang"}`, Progress: heard})); err == nil {
		t.Error("no error")
	}
	if id := <-c.canceled; id == "" {
		t.Error("a task without an id was canceled")
	}
	for limit := range testenv.Limits(300 * time.Millisecond) {
		ts = open(t, url, a2atool.Options{CallTimeout: limit})
		got := say(t, ts, tooltest.State{}, `{"message":"hang"}`)
		if !got.IsError || !strings.Contains(got.Output, fmt.Sprintf("did not end in time (limit %v)", limit)) {
			t.Fatalf("%+v", got)
		}
		if strings.Contains(got.Output, "told to stop") { // the task was known when the time was over
			<-c.canceled
			return
		}
	}
	t.Error("no agent was told to stop")
}

// fake is an agent written by hand, so that it can do what no library does.
func fake(t *testing.T, card string, rpc func(w http.ResponseWriter, method string)) string {
	t.Helper()
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	mux.HandleFunc("GET /.well-known/agent.json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.ReplaceAll(card, "SELF", s.URL))
	})
	mux.HandleFunc("POST /rpc", func(w http.ResponseWriter, r *http.Request) {
		var m struct{ Method string }
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		rpc(w, m.Method)
	})
	return s.URL
}

const goodCard = `{"name":"x","protocolVersion":"0.3.0","url":"SELF/rpc","capabilities":{"streaming":true}}`

func TestBadCards(t *testing.T) {
	for name, c := range map[string]struct{ card, want string }{
		"garbage":         {"<html>", "cannot be read"},
		"newer":           {`{"name":"x","supportedInterfaces":[{"url":"https://x.example"}]}`, "not JSONRPC of A2A 1.0 or 0.3"},
		"other transport": {`{"protocolVersion":"0.3.0","url":"https://x.example","preferredTransport":"GRPC"}`, "speaks GRPC and not JSONRPC"},
		"other scheme":    {`{"protocolVersion":"0.3.0","url":"file:///etc/passwd"}`, "no absolute URL"},
		"endless":         {`{"name":"` + strings.Repeat("x", 2<<20), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, fake(t, c.card, nil), a2atool.Options{}).Tools(t.Context())
			if holdfast.CodeOf(err) != holdfast.CodeUnavailable || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want one that says %q", err, c.want)
			}
		})
	}
	if _, err := open(t, "http://127.0.0.1:1/", a2atool.Options{}).Tools(t.Context()); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Errorf("%v", err)
	}
}

func TestBadAgents(t *testing.T) {
	event := func(w http.ResponseWriter, data string) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: "+data+"\n\n")
		w.(http.Flusher).Flush()
	}
	const working = `{"jsonrpc":"2.0","result":{"kind":"task","id":"t","contextId":"c","status":{"state":"working"}}}`
	for name, c := range map[string]struct {
		rpc     func(w http.ResponseWriter, method string)
		want    string
		success bool
	}{
		"unauthorized": {func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusUnauthorized) }, "The call failed: the agent wants other credentials (HTTP 401); the agent file gives them under `headers`.", false},
		"redirect": {func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "http://other.invalid")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, `The call failed: the agent redirects to "http://other.invalid", which is refused (HTTP 307).`, false},
		"refusal": {func(w http.ResponseWriter, _ string) {
			event(w, `{"jsonrpc":"2.0","error":{"code":-32005,"message":"no"}}`)
		}, "The agent refused the message: no (code -32005).", false},
		"garbage": {func(w http.ResponseWriter, _ string) { event(w, `{`) }, "The call failed: the agent answered what is no JSON-RPC. Whether the agent did something is unknown.", false},
		"nothing": {func(w http.ResponseWriter, _ string) { event(w, ``) }, "The call failed: the agent answered what is no JSON-RPC. Whether the agent did something is unknown.", false},
		"no stream after all": {func(w http.ResponseWriter, _ string) {
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","result":{"kind":"message","messageId":"m","role":"agent","parts":[{"kind":"text","text":"fine"}]}}`)
		}, "fine", true},
		"endless event": {func(w http.ResponseWriter, _ string) {
			event(w, working)
			line := strings.Repeat("x", 1<<20)
			for {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		}, "The call failed: a message of the agent has more than 16777216 bytes. Whether the agent did something is unknown.", false},
		"broken stream": {func(w http.ResponseWriter, method string) {
			if method == "message/stream" {
				event(w, working)
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","result":{"kind":"task","id":"t","contextId":"c","status":{"state":"completed"},"artifacts":[{"artifactId":"a","parts":[{"kind":"text","text":"in the end"}]}]}}`)
		}, "in the end", true},
	} {
		t.Run(name, func(t *testing.T) {
			got := say(t, open(t, fake(t, goodCard, c.rpc), a2atool.Options{}), tooltest.State{}, `{"message":"x"}`)
			if got.Output != c.want || got.IsError == c.success {
				t.Errorf("%+v\nwant %s", got, c.want)
			}
		})
	}
}

// Headers hold secrets: a card must not send them to another origin without TLS.
func TestHeadersStayHome(t *testing.T) {
	seen := make(chan string, 2)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("X-Secret")
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(other.Close)
	ts, err := a2atool.New(a2atool.Config{
		URL: fake(t, strings.ReplaceAll(goodCard, "SELF", other.URL), nil), Name: "desk", Headers: map[string]string{"X-Secret": "s"},
	}, a2atool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ts.Close() }()
	if got := say(t, ts, tooltest.State{}, `{"message":"x"}`); !got.IsError {
		t.Errorf("%+v", got)
	}
	if got := <-seen; got != "" {
		t.Errorf("the secret went to another origin: %q", got)
	}
}

func TestBadConfigs(t *testing.T) {
	for want, c := range map[string]a2atool.Config{
		"absolute one":       {URL: "x.example"},
		"user or a password": {URL: "https://u:p@x.example"},
		"cannot be set":      {URL: "https://x.example", Headers: map[string]string{"content-type": "x"}},
	} {
		if _, err := a2atool.New(c, a2atool.Options{}); holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one that says %q", err, want)
		}
	}
}

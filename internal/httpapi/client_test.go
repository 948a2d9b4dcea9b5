package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

func newClient(t testing.TB, base string, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(base, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func user(text string) []holdfast.Message {
	return []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}
}

func types(events <-chan holdfast.Event) []string {
	var list []string
	for e := range events {
		list = append(list, e.EventType())
	}
	return list
}

func TestClient(t *testing.T) {
	w := newWorld(t)
	c, ctx := newClient(t, w.srv.URL), t.Context()
	s, err := c.CreateSession(ctx, client.NewSession{Agent: "demo", Metadata: map[string]string{"a": "b"}})
	if err != nil || s.ID == "" || s.Metadata["a"] != "b" {
		t.Fatalf("CreateSession: %+v, %v", s, err)
	}
	events, err := c.RunAgent(ctx, s.ID, "demo", user("hello"))
	if err != nil {
		t.Fatal(err)
	}
	want := "[user_message stream_started agent_choice agent_choice agent_choice token_usage stream_stopped session_title]"
	if got := fmt.Sprint(types(events)); got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	// The same again finds the run.
	if events, err = c.RunAgent(ctx, s.ID, "demo", user("hello")); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(types(events)); got != want {
		t.Errorf("the same again: %s, want %s", got, want)
	}
	doc, err := c.GetSession(ctx, s.ID)
	if err != nil || len(doc.Messages) != 2 || doc.Messages[1].Message.Content != "Hello, world." || doc.Title != "About hello" || len(doc.Runs) != 1 {
		t.Fatalf("GetSession: %+v, %v", doc, err)
	}
	if at, err := c.GetSessionAt(ctx, s.ID, 1); err != nil || len(at.Messages) != 0 || at.Seq != 1 {
		t.Errorf("GetSessionAt: %+v, %v", at, err)
	}
	if r, err := c.GetRun(ctx, s.ID, doc.Runs[0].Run); err != nil || r.Status != "finished" {
		t.Errorf("GetRun: %+v, %v", r, err)
	}

	// A run with an approval, on a session that nobody created.
	if events, err = c.RunAgentWithAgentName(ctx, "made-up", "demo.yaml", "root", user("tool")); err != nil {
		t.Fatal(err)
	}
	var args []string
	var got []string
	for e := range events {
		got = append(got, e.EventType())
		switch e := e.(type) {
		case *holdfast.PartialToolCallEvent:
			args = append(args, e.ToolCall.Function.Name+e.ToolCall.Function.Arguments)
		case *holdfast.ToolCallConfirmationEvent:
			if err := c.ResumeSession(ctx, "made-up", client.ResumeTypeApprove); err != nil {
				t.Error(err)
			}
		}
	}
	if fmt.Sprint(args) != `[touch{"pa touch{"path":"a"}]` || got[len(got)-1] != "session_title" {
		t.Errorf("partial calls %q, events %v", args, got)
	}
	list, err := c.GetSessions(ctx)
	if err != nil || len(list) != 2 {
		t.Errorf("GetSessions: %+v, %v", list, err)
	}
	if err := c.DeleteSession(ctx, s.ID); err != nil {
		t.Error(err)
	}
	agents, err := c.GetAgents(ctx)
	if err != nil || len(agents) != 3 || agents[1].Name != "demo" {
		t.Errorf("GetAgents: %+v, %v", agents, err)
	}
	if a, err := c.GetAgent(ctx, "team"); err != nil || !strings.Contains(string(a), `"agents"`) {
		t.Errorf("GetAgent: %s, %v", a, err)
	}
	if tok, err := c.GetDesktopToken(ctx); err != nil || tok != "" {
		t.Errorf("GetDesktopToken: %q, %v", tok, err)
	}

	for name, c := range map[string]struct {
		err  error
		code holdfast.Code
	}{
		"deleted session": {second(c.GetSession(ctx, s.ID)), holdfast.CodeNotFound},
		"deleted, run":    {second(c.RunAgent(ctx, s.ID, "demo", user("x"))), holdfast.CodeGone},
		"unknown agent":   {second(c.RunAgent(ctx, "another", "nobody", user("x"))), holdfast.CodeNotFound},
		"no message":      {second(c.RunAgent(ctx, "made-up", "demo", nil)), holdfast.CodeInvalid},
		"not waiting":     {c.ResumeSession(ctx, "made-up", client.ResumeTypeApprove), holdfast.CodeConflict},
		"no such word":    {c.ResumeSession(ctx, "made-up", "yes"), holdfast.CodeInvalid},
		"no such call":    {second(c.Decide(ctx, "made-up", "x/y", client.Decision{Decision: client.ResumeTypeReject})), holdfast.CodeConflict},
		"nothing to stop": {second(c.Cancel(ctx, "made-up", "")), holdfast.CodeConflict},
	} {
		var e *client.Error
		if !errors.As(c.err, &e) || holdfast.CodeOf(c.err) != c.code || e.RequestID == "" {
			t.Errorf("%s: %v, want code %s", name, c.err, c.code)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// cutter is a proxy that cuts every connection after some bytes.
func cutter(t *testing.T, target string, bytes *atomic.Int64) *httptest.Server {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.FlushInterval = -1
	p.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it breaks on purpose
	p.ModifyResponse = func(r *http.Response) error {
		if strings.Contains(r.Header.Get("Content-Type"), "event-stream") {
			r.Body = &cutBody{r.Body, bytes.Load()}
		}
		return nil
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // the value is the signal
				panic(v)
			}
			panic(http.ErrAbortHandler)
		}()
		if r.Header.Get("Accept") != "text/event-stream" {
			defer func() { _ = recover() }() // plain requests end plainly
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

type cutBody struct {
	io.ReadCloser
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, net.ErrClosed
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// A client whose connections break all the time gets every event once.
func TestClientReconnects(t *testing.T) {
	w := newWorld(t)
	var cut atomic.Int64
	cut.Store(900)
	proxy := cutter(t, w.srv.URL, &cut)
	c := newClient(t, proxy.URL)
	id := w.newSession()
	w.startRun(id, "gate")
	var opened sync.Once
	next := uint64(1)
	for e, err := range c.Events(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != next {
			t.Fatalf("seq %d, want %d", e.Seq, next)
		}
		next++
		if e.Event.EventType() == holdfast.TypeTokenUsage {
			opened.Do(func() { w.owner.gate <- struct{}{} })
		}
		if e.Event.EventType() == holdfast.TypeSessionParked {
			break
		}
	}
	if next < 20 {
		t.Errorf("%d events", next-1)
	}
	cut.Store(1 << 40)
	// An event of more than 64 KiB is no trouble, nor is a run over such a proxy.
	events, err := c.RunAgent(t.Context(), id, "demo", user("big"))
	if err != nil {
		t.Fatal(err)
	}
	longest := 0
	for e := range events {
		if r, ok := e.(*holdfast.ToolCallResponseEvent); ok {
			longest = len(r.Response)
		}
	}
	if longest < bigSize*9/10 {
		t.Errorf("the longest output has %d bytes", longest)
	}
}

func TestClientWhenTheServerIsAway(t *testing.T) {
	w := newWorld(t)
	c := newClient(t, w.srv.URL)
	id := w.newSession()
	w.faults.set(func() { w.faults.busDown = true })
	back := time.AfterFunc(300*time.Millisecond, func() { w.faults.set(func() { w.faults.busDown = false }) })
	defer back.Stop()
	events, err := c.RunAgent(t.Context(), id, "demo", user("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if got := types(events); len(got) != 8 {
		t.Errorf("events: %v", got)
	}
	if log := w.stored(id); log[len(log)-1].Seq > 17 {
		t.Errorf("%d events: the request had its effect more than once", len(log))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Events(ctx, id, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a stream whose context has ended: %v", err)
		}
	}
	for _, err := range c.Events(t.Context(), id, 1000) {
		if holdfast.CodeOf(err) != holdfast.CodeGone {
			t.Errorf("a cursor beyond the end: %v", err)
		}
	}
}

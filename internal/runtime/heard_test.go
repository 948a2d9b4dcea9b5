package runtime_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/openai"
	"github.com/holdfast-run/holdfast/internal/model/scripted"
)

// more adds the parts that only some scenarios have.
func (s *scenario) more(w *world, evs []events.Envelope, got map[string]string) {
	if _, ok := s.parts["prompts"]; ok {
		got["prompts"] = w.agents.heard.prompts(evs)
	}
	if _, ok := s.parts["upstream"]; ok {
		got["upstream"] = w.agents.provider.saw()
	}
}

// build makes a model of an agent file, and one that remembers what it was told.
func (a *testAgents) build(m *agent.ModelSettings) (model.Model, error) {
	cfg := model.Config{Provider: m.Provider, Model: m.Model, ProviderOpts: m.ProviderOpts}
	if m.Provider == "openai" {
		cfg.BaseURL, cfg.APIKey = m.BaseURL, "sk-test"
		return openai.New(cfg, openai.Options{HTTPClient: a.provider.client})
	}
	built, err := scripted.New(cfg, scripted.Options{})
	if err != nil {
		return nil, err
	}
	return &listener{built, &a.heard}, nil
}

// heard are the system prompts of the turns that models were asked for.
type heard struct {
	mu    sync.Mutex
	users []string            // the user's messages, in order
	told  map[string][]string // by the user's message, different ones only
}

type listener struct {
	model.Model
	heard *heard
}

func (l *listener) Stream(ctx context.Context, req model.Request, yield func(model.Chunk) error) error {
	if req.Purpose == model.PurposeTurn {
		l.heard.add(req.Messages)
	}
	return l.Model.Stream(ctx, req, yield)
}

func (h *heard) add(msgs []holdfast.Message) {
	var user, system string
	for _, m := range msgs {
		switch m.Role {
		case holdfast.RoleUser:
			user = m.Content
		case holdfast.RoleSystem:
			system = m.Content
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.told == nil {
		h.told = map[string][]string{}
	}
	if _, ok := h.told[user]; !ok {
		h.users = append(h.users, user)
	}
	if !slices.Contains(h.told[user], system) {
		h.told[user] = append(h.told[user], system)
	}
}

// prompts shows what models were told, once for each message of the user if they
// were told the same each time. The day on which the log says that the run started
// is named so; another day stays as it is.
func (h *heard) prompts(evs []events.Envelope) string {
	days := map[string]string{} // by the user's message
	started := ""
	for _, e := range evs {
		switch e.Type {
		case holdfast.TypeRunStarted:
			started = e.Time.UTC().Format(time.DateOnly)
		case holdfast.TypeUserMessage:
			var m holdfast.UserMessageEvent
			if json.Unmarshal(e.Payload, &m) == nil {
				days[m.Message] = started
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, user := range h.users {
		for _, system := range h.told[user] {
			system = strings.ReplaceAll(system, "date: "+days[user], "date: (the day on which the run started)")
			fmt.Fprintf(&b, "for %q:\n", user)
			for line := range strings.Lines(system + "\n") {
				b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
			}
		}
	}
	return b.String()
}

// lost ends what kept says of a response that the log has not whole.
const lost = "LOST"

// kept says how much the log keeps of a response whose text was cut, "" if it was
// not.
func kept(evs []events.Envelope, payload json.RawMessage) string {
	var r holdfast.ToolCallResponseEvent
	if err := json.Unmarshal(payload, &r); err != nil {
		return err.Error() + " " + lost
	}
	if r.SHA256 == "" {
		return ""
	}
	parts := map[int][]byte{} // a worker that died may have left some of them behind
	for _, e := range evs {
		var p holdfast.PayloadPartEvent
		if e.Type == holdfast.TypePayloadPart && json.Unmarshal(e.Payload, &p) == nil && p.SHA256 == r.SHA256 {
			parts[p.Part] = p.Data
		}
	}
	var whole []byte
	for n := 1; parts[n] != nil; n++ {
		whole = append(whole, parts[n]...)
	}
	if sum := sha256.Sum256(whole); hex.EncodeToString(sum[:]) != r.SHA256 || len(whole) != r.Size {
		return fmt.Sprintf("whole=%d bytes of %d, %s", len(whole), r.Size, lost)
	}
	return fmt.Sprintf("whole=%d bytes in the log", len(whole))
}

// dayAgo is a bus on which everything happens a day ago.
type dayAgo struct{ events.Bus }

func (b dayAgo) Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error) {
	f, err := events.DecodeFrame(frame)
	if err != nil {
		return 0, err
	}
	for i := range f.Events {
		f.Events[i].Time = f.Events[i].Time.Add(-24 * time.Hour)
	}
	return b.Bus.Append(ctx, s, prev, events.AppendFrame(nil, f.Prev, f.Events))
}

// begunYesterday makes a session in which a worker took the message "go" a day ago
// and left before the model had answered, and has another one go on.
func (w *world) begunYesterday(ref holdfast.SessionRef, file string) {
	w.t.Helper()
	w.wroteOn(dayAgo{w.bus}, ref, begun(file), []holdfast.Event{&holdfast.ModelCallStartedEvent{AgentContext: root, Call: "m1", Model: "scripted/m"}})
	wake(w.t, w, ref)
}

// upstream is a provider that begins to answer and never ends.
type upstream struct {
	client *http.Client
	asked  chan struct{} // receives for each request that it begins to answer
	ended  chan struct{} // receives for each that is over

	mu    sync.Mutex
	open  int
	lines []string
}

// upstream starts the provider of a scenario whose agent file has it, and lets the
// file name the address.
func (w *world) upstream(s *scenario) *upstream {
	w.t.Helper()
	const address = "http://upstream.test"
	if !strings.Contains(s.parts["agent.yaml"], address) {
		return nil
	}
	u := &upstream{asked: make(chan struct{}, 64), ended: make(chan struct{}, 64)}
	stop := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // the caller is gone before it has asked
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(rw, `data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`+"\n\n")
		rw.(http.Flusher).Flush()
		u.begin(1, "")
		u.asked <- struct{}{}
		how := "closed by the caller while the answer went on"
		select {
		case <-r.Context().Done():
		case <-stop:
			how = "open until the end of the test"
		}
		u.begin(-1, r.Method+" "+r.URL.Path+": "+how)
		u.ended <- struct{}{}
	}))
	w.t.Cleanup(func() {
		close(stop)
		srv.Close()
	})
	u.client = srv.Client()
	w.agents.provider = u
	text := strings.ReplaceAll(s.parts["agent.yaml"], address, srv.URL)
	w.agents.edited.Store(&text)
	return u
}

func (u *upstream) begin(n int, line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open += n
	if line != "" {
		u.lines = append(u.lines, line)
	}
}

func (u *upstream) saw() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Join(u.lines, "\n") + "\n"
}

// awaitAsked waits until an answer has begun.
func (u *upstream) awaitAsked(t *testing.T) {
	t.Helper()
	select {
	case <-u.asked:
	case <-time.After(time.Minute):
		t.Fatal("the provider was not asked")
	}
}

// awaitClosed waits until no answer is under way.
func (u *upstream) awaitClosed(t *testing.T) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		u.mu.Lock()
		open := u.open
		u.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-u.ended:
		case <-deadline:
			t.Fatalf("%d connections to the provider are still open", open)
		}
	}
}

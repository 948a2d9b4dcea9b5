package e2e_test

import (
	"context"
	"math/rand/v2"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// keyMeta is where a call's idempotency key is in the _meta of tools/call. It is
// written out here because servers of others rely on it.
const keyMeta = "holdfast.run/idempotency-key"

// effects is a server of tools outside of the product. It notes every call that
// reaches it; nothing that is killed takes a note away.
type effects struct {
	url string

	mu    sync.Mutex // guards what follows
	calls []effect
	// hold, if not nil, keeps answers of a tool back until it is closed.
	hold map[string]chan struct{}
	// slow is the longest time that a call takes.
	slow    time.Duration
	changed chan struct{} // closed at the next call
}

// effect is a call that reached the server.
type effect struct{ tool, key, say string }

// newEffects starts a server with two tools that change something: keyed says
// that the same key changes nothing more, unkeyed says nothing.
func newEffects(t testing.TB) *effects {
	t.Helper()
	e := &effects{hold: map[string]chan struct{}{}, changed: make(chan struct{})}
	s := server.NewMCPServer("effects", "1.0.0", server.WithToolCapabilities(false))
	for name, option := range map[string]mcp.ToolOption{
		"keyed":   mcp.WithIdempotentHintAnnotation(true),
		"unkeyed": mcp.WithIdempotentHintAnnotation(false),
	} {
		s.AddTool(mcp.NewTool(name, mcp.WithDescription("Has an effect."), mcp.WithString("say"), mcp.WithReadOnlyHintAnnotation(false), option),
			func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				key := ""
				if m := req.Params.Meta; m != nil {
					key, _ = m.AdditionalFields[keyMeta].(string) // none is noted as ""
				}
				hold, slow := e.note(effect{name, key, req.GetString("say", "")})
				if hold != nil {
					select {
					case <-hold:
					case <-ctx.Done():
					}
				}
				select {
				case <-time.After(slow):
				case <-ctx.Done():
				}
				return mcp.NewToolResultText("done"), nil
			})
	}
	srv := httptest.NewServer(server.NewStreamableHTTPServer(s, server.WithStateLess(true)))
	t.Cleanup(srv.CloseClientConnections)
	t.Cleanup(func() { e.release("keyed"); e.release("unkeyed") })
	e.url = srv.URL + "/mcp"
	return e
}

func (e *effects) note(c effect) (hold chan struct{}, slow time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, c)
	close(e.changed)
	e.changed = make(chan struct{})
	if e.slow > 0 {
		slow = rand.N(e.slow)
	}
	return e.hold[c.tool], slow
}

// takeTime makes calls take up to d from now on, so that something may happen
// meanwhile.
func (e *effects) takeTime(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.slow = d
}

// holdBack keeps the answers of a tool's calls back until release.
func (e *effects) holdBack(tool string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hold[tool] = make(chan struct{})
}

func (e *effects) release(tool string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.hold[tool]; c != nil {
		close(c)
		delete(e.hold, tool)
	}
}

// all returns the calls so far and what is closed at the next one.
func (e *effects) all() ([]effect, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[:len(e.calls):len(e.calls)], e.changed
}

// count returns how often a key reached each tool.
func (e *effects) count() map[effect]int {
	calls, _ := e.all()
	n := map[effect]int{}
	for _, c := range calls {
		n[c]++
	}
	return n
}

package mcptool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest/mcptest"
)

// TestElicitHeld: where the protocol holds a call open, the user is asked meanwhile,
// and the time that this takes does not count.
func TestElicitHeld(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, opts mcptool.Options) *mcptool.Toolset{
		"stdio": func(t *testing.T, opts mcptool.Options) *mcptool.Toolset { return command(t, mcptest.Asks, opts) },
		"streamable": func(t *testing.T, opts mcptool.Options) *mcptool.Toolset {
			return remote(t, serve(t, asking(t, false)).URL, mcptool.TransportStreamable, opts)
		},
		"sse": func(t *testing.T, opts mcptool.Options) *mcptool.Toolset {
			return remote(t, serve(t, asking(t, true)).URL, mcptool.TransportSSE, opts)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var res tool.Result
			asked := 0
			for limit := range testenv.Limits(300 * time.Millisecond) {
				ts := open(t, mcptool.Options{CallTimeout: limit})
				asked = 0
				res = call(t, ts, tool.Call{Name: "t", Elicit: func(ctx context.Context, q tool.InputRequest) (tool.InputAnswer, error) {
					asked++
					select {
					case <-ctx.Done():
						return tool.InputAnswer{}, context.Cause(ctx)
					case <-time.After(2 * limit):
					}
					return tool.InputAnswer{Action: tool.InputAccept, Content: json.RawMessage(`{"a":1}`)}, nil
				}})
				if !res.IsError { // else the time was over before or after the question
					break
				}
			}
			if asked != 1 || res.IsError || !strings.Contains(res.Output, `{"action":"accept","content":{"a":1}}`) {
				t.Errorf("asked %d times; %+v", asked, res)
			}
		})
	}
}

// inputs is a server of MCP 2026-07-28 whose calls need input. It notes what came
// with each call.
type inputs struct {
	mu        sync.Mutex
	probes    int
	ids       []string
	responses []string
	states    []string
	// asks are the results of the calls before the last one.
	asks []string
}

func (s *inputs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Responses json.RawMessage `json:"inputResponses"`
			State     json.RawMessage `json:"requestState"`
		} `json:"params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	answer := func(part string) { fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, m.ID, part) }
	switch m.Method {
	case "server/discover":
		if s.probes++; s.probes == 1 {
			// It names the revision that it refuses among those that it supports.
			w.WriteHeader(http.StatusBadRequest)
			answer(`"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"],"requested":"2026-07-28"}}`)
			return
		}
		answer(`"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}`)
	case "tools/list":
		answer(`"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"t","inputSchema":{"type":"object"}}]}`)
	case "tools/call":
		s.ids, s.responses, s.states = append(s.ids, string(m.ID)), append(s.responses, string(m.Params.Responses)), append(s.states, string(m.Params.State))
		if n := len(s.ids); n <= len(s.asks) {
			answer(`"result":` + s.asks[n-1])
			return
		}
		answer(`"result":{"resultType":"complete","content":[{"type":"text","text":"done"}]}`)
	default:
		answer(`"error":{"code":-32601,"message":"no such method"}`)
	}
}

// TestInputRequired: a call that ends with questions goes on in another toolset, as
// on another worker, with the answers and the server's state as it was.
func TestInputRequired(t *testing.T) {
	s := &inputs{asks: []string{
		`{"resultType":"input_required","requestState":"a \"b\"","inputRequests":{
			"one":{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","properties":{"name":{"type":"string","default":"Ann"},"age":{"type":"integer","default":7}}}}},
			"two":{"method":"elicitation/create","params":{"mode":"url","message":"Pay","url":"https://pay.example/1","elicitationId":"e"}}}}`,
		`{"resultType":"input_required","requestState":"later","inputRequests":{}}`,
	}}
	url := serve(t, s).URL
	_, err := remote(t, url, mcptool.TransportStreamable, mcptool.Options{}).Call(t.Context(), tooltest.Call(tool.Call{Name: "t"}))
	var asked *tool.InputRequired
	if !errors.As(err, &asked) || len(asked.Requests) != 2 {
		t.Fatalf("%v: %+v", err, asked)
	}
	if one, two := asked.Requests[0], asked.Requests[1]; one.Key != "one" || one.Message != "Who?" || len(one.Schema) == 0 || one.ServerURL != url ||
		two.Key != "two" || two.URL != "https://pay.example/1" || two.Schema != nil {
		t.Errorf("the questions: %+v", asked.Requests)
	}
	wantOutput(t, remote(t, url, mcptool.TransportStreamable, mcptool.Options{}), tool.Call{Name: "t", Continuation: asked.Continuation, Input: map[string]tool.InputAnswer{
		"one": {Action: tool.InputAccept, Content: json.RawMessage(`{"age":8}`)}, "two": {Action: tool.InputDecline},
	}}, "done")
	if s.responses[0] != "" || s.states[0] != "" {
		t.Errorf("the first call came with %s, %s", s.responses[0], s.states[0])
	}
	if want := `{"one":{"action":"accept","content":{"age":8,"name":"Ann"}},"two":{"action":"decline"}}`; s.responses[1] != want || s.states[1] != `"a \"b\""` {
		t.Errorf("the second call came with %s, %s; want %s", s.responses[1], s.states[1], want)
	}
	// The server only asked for patience: the state alone.
	if len(s.ids) != 3 || s.responses[2] != "" || s.states[2] != `"later"` {
		t.Errorf("%d calls; the third came with %s", len(s.ids), s.states)
	}
	if s.ids[1] == s.ids[2] {
		t.Error("two calls have the same id")
	}
}

// TestInputRefused: what cannot be asked is an error that the model reads.
func TestInputRefused(t *testing.T) {
	for ask, want := range map[string]string{
		`{"resultType":"input_required","inputRequests":{"a":{"method":"sampling/createMessage","params":{}}}}`:                                            "sampling/createMessage",
		`{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url","url":"javascript:alert(1)"}}}}`:        "no browser",
		`{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"hologram"}}}}`:                               "hologram",
		`{"resultType":"input_required","inputRequests":7}`:                                                                                                "cannot be read",
		`{"resultType":"input_required","requestState":"` + strings.Repeat("x", 100<<10) + `"}`:                                                            "too long",
		`{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"` + strings.Repeat("x", 40<<10) + `"}}}}`: "too long",
	} {
		wantError(t, call(t, remote(t, serve(t, &inputs{asks: []string{ask}}).URL, mcptool.TransportStreamable, mcptool.Options{}), tool.Call{Name: "t"}), want, "not finished")
	}
}

// TestElicitWaitsForStream: a server of the older protocol asks in a stream that
// belongs to no call, and what it says before that is open is lost; so no call is made
// before.
func TestElicitWaitsForStream(t *testing.T) {
	var mu sync.Mutex
	open := false
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			select {
			case <-time.After(200 * time.Millisecond): // longer than all requests before the call take
			case <-r.Context().Done():
				return
			}
			mu.Lock()
			open = true
			mu.Unlock()
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&m) != nil || len(m.ID) == 0 {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		result := `{}`
		switch m.Method {
		case "initialize":
			w.Header().Set("Mcp-Session-Id", "s1")
			result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"a","version":"1"}}`
		case "tools/list":
			result = `{"tools":[{"name":"t"}]}`
		case "tools/call":
			mu.Lock()
			result = fmt.Sprintf(`{"content":[{"type":"text","text":"open: %v"}]}`, open)
			mu.Unlock()
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
	}))
	elicit := func(context.Context, tool.InputRequest) (tool.InputAnswer, error) { return tool.InputAnswer{}, nil }
	wantOutput(t, remote(t, s.URL, mcptool.TransportStreamable, mcptool.Options{}), tool.Call{Name: "t", Elicit: elicit}, "open: true")
}

package a2atool_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/a2atool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// nodeAgent runs testdata/agent.mjs, an agent over the official server of A2A 1.0,
// until the test ends, and returns its address and which tasks are canceled.
func nodeAgent(t *testing.T, args ...string) (url string, canceled <-chan string) {
	t.Helper()
	tools, err := testenv.NPM("a2a-agent", os.DirFS(filepath.Join("testdata", "npm")))
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(testenv.Port(t))
	cmd := exec.Command("node", append([]string{filepath.Join("testdata", "agent.mjs"), filepath.Join(tools, "node_modules")}, args...)...)
	cmd.Env = append(os.Environ(), "PORT="+port)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var read sync.WaitGroup
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		read.Wait()
		_ = cmd.Wait() // it was killed, and says so
	})
	ids := make(chan string, 8)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "port "+port) {
			read.Go(func() {
				for lines.Scan() {
					if id, ok := strings.CutPrefix(lines.Text(), "canceled "); ok {
						ids <- id
					}
				}
			})
			return "http://127.0.0.1:" + port, ids
		}
	}
	t.Fatalf("the agent ended before it listened: %v", lines.Err())
	return "", nil
}

// TestOne: an agent over the official server of 1.0, whose card has other bindings,
// versions and a tenant, is spoken to in 1.0.
func TestOne(t *testing.T) {
	for name, args := range map[string][]string{"streaming": nil, "asking": {"asking"}} {
		t.Run(name, func(t *testing.T) {
			url, canceled := nodeAgent(t, args...)
			ts := open(t, url, a2atool.Options{})
			defs, err := ts.Tools(t.Context())
			if err != nil || len(defs) != 1 || !strings.Contains(defs[0].Description, "Books tables.") || !strings.Contains(defs[0].Description, "- Book: a table") {
				t.Fatalf("%+v, %v", defs, err)
			}
			state := tooltest.State{}
			if got := say(t, ts, state, `{"message":"hello"}`); got.IsError || got.Output != "you said hello as acme" {
				t.Errorf("%+v", got)
			}
			if got := say(t, ts, state, `{"message":"work"}`); got.IsError || !strings.HasSuffix(got.Output, `one, two{"n":3}`) {
				t.Errorf("%+v", got)
			}
			asked := say(t, ts, state, `{"message":"ask"}`)
			before, task, ok := strings.Cut(asked.Output, "task_id \"")
			task, _, _ = strings.Cut(task, `"`)
			if !ok || asked.IsError || !strings.HasPrefix(before, "For how many?\n[") {
				t.Fatalf("%+v", asked)
			}
			if got := say(t, open(t, url, a2atool.Options{}), state, fmt.Sprintf(`{"message":"two","task_id":%q}`, task)); got.IsError || got.Output != "booked for two" {
				t.Errorf("%+v", got)
			}
			if got := say(t, ts, state, `{"message":"fail"}`); !got.IsError || got.Output != "no table left\n[The agent's task is failed.]" {
				t.Errorf("%+v", got)
			}
			if got := say(t, ts, state, `{"message":"x","task_id":"nobody"}`); !got.IsError || !strings.Contains(got.Output, "(code -32001)") {
				t.Errorf("%+v", got)
			}
			if name != "streaming" {
				return // the call is not known before it ends
			}
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := ts.Call(ctx, tooltest.Call(tool.Call{Name: "desk", Arguments: `{"message":"hang"}`, Progress: func(string) { cancel() }})); err == nil {
				t.Error("no error")
			}
			select {
			case got := <-canceled:
				if !strings.HasPrefix(got, "TASK_STATE_CANCELED ") {
					t.Errorf("canceled: %s", got)
				}
			case <-time.After(time.Minute):
				t.Error("the task was not canceled")
			}
		})
	}
}

// TestChoosing: which of its addresses an agent is spoken to at, and in which
// version.
func TestChoosing(t *testing.T) {
	const rpc0 = `"protocolVersion":"0.3.0","url":"SELF/old","preferredTransport":"JSONRPC"`
	const rpc1 = `{"url":"SELF/new","protocolBinding":"JSONRPC","protocolVersion":"1.0"}`
	for name, c := range map[string]struct{ card, want string }{
		"both":                     {`{` + rpc0 + `,"supportedInterfaces":[` + rpc1 + `]}`, "/new 1.0 SendMessage"},
		"both, the old one first":  {`{"supportedInterfaces":[{"url":"SELF/old","protocolBinding":"JSONRPC","protocolVersion":"0.3"},` + rpc1 + `]}`, "/new 1.0 SendMessage"},
		"a later minor":            {`{"supportedInterfaces":[{"url":"SELF/new","protocolBinding":"jsonrpc","protocolVersion":"1.4"}]}`, "/new 1.0 SendMessage"},
		"0.3 in the form of 1.0":   {`{"supportedInterfaces":[{"url":"SELF/old","protocolBinding":"JSONRPC","protocolVersion":"0.3"}]}`, "/old  message/send"},
		"0.3":                      {`{` + rpc0 + `}`, "/old  message/send"},
		"0.3 behind another":       {`{"protocolVersion":"0.3.0","url":"SELF/x","preferredTransport":"GRPC","additionalInterfaces":[{"url":"SELF/old","transport":"JSONRPC"}]}`, "/old  message/send"},
		"1.0 over REST, 0.3 older": {`{` + rpc0 + `,"supportedInterfaces":[{"url":"SELF/rest","protocolBinding":"HTTP+JSON","protocolVersion":"1.0"}]}`, "/old  message/send"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan string, 1)
			var s *httptest.Server
			s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, strings.ReplaceAll(c.card, "SELF", s.URL))
					return
				}
				var m struct{ Method string }
				if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
					t.Error(err)
				}
				asked <- r.URL.Path + " " + r.Header.Get("A2A-Version") + " " + m.Method
				w.WriteHeader(http.StatusTeapot)
			}))
			t.Cleanup(s.Close)
			if got := say(t, open(t, s.URL, a2atool.Options{}), tooltest.State{}, `{"message":"x"}`); !got.IsError {
				t.Errorf("%+v", got)
			}
			select {
			case got := <-asked:
				if got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			default:
				t.Error("nothing was asked")
			}
		})
	}
}

// What an agent of 1.0 answers is checked as such.
func TestBadAnswersOfOne(t *testing.T) {
	const card = `{"name":"x","supportedInterfaces":[{"url":"SELF/rpc","protocolBinding":"JSONRPC","protocolVersion":"1.0"}]}`
	for answer, want := range map[string]string{
		`{"jsonrpc":"2.0","result":{}}`:   "want one of task, message, statusUpdate and artifactUpdate",
		`{"jsonrpc":"2.0","result":null}`: "want one of task, message, statusUpdate and artifactUpdate",
		`{"jsonrpc":"2.0"}`:               "cannot be read",
		`{"jsonrpc":"2.0","result":{"task":{"id":"t","status":{"state":"done"}}}}`:                                                   `status.state: "done" is none of the protocol's`,
		`{"jsonrpc":"2.0","result":{"kind":"task","id":"t","status":{"state":"completed"}}}`:                                         "want one of task, message",
		`{"jsonrpc":"2.0","error":{"code":-32009,"message":"not this one","data":[{"@type":"x","reason":"VERSION_NOT_SUPPORTED"}]}}`: "The agent refused the message: not this one (code -32009).",
	} {
		got := say(t, open(t, fake(t, card, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, answer) }), a2atool.Options{}), tooltest.State{}, `{"message":"x"}`)
		if !got.IsError || !strings.Contains(got.Output, want) {
			t.Errorf("%s: %+v\nwant %s", answer, got, want)
		}
	}
}

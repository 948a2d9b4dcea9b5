package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// TestDev is what the README tells a newcomer to do, and then the power fails.
func TestDev(t *testing.T) {
	t.Parallel()
	bin := release(t).holdfast
	data, addr := t.TempDir(), freeAddress(t)
	url := "http://" + addr
	start := func() *testenv.Process {
		return testenv.Start(t, bin, nil, "dev", "--listen", addr, "--data", data)
	}

	began := time.Now()
	p := start()
	awaitHTTP(t, url+"/readyz")
	id := devSession(t, url)
	first := devRun(t, url, id, `[{"role":"user","content":"hello"}]`, func() {
		took := time.Since(began)
		t.Logf("first token %s after exec", took.Round(time.Millisecond))
		if took > 30*time.Second {
			t.Errorf("first token %s after exec", took)
		}
	})
	const want = "user_message stream_started agent_choice partial_tool_call token_usage tool_call tool_call_response agent_choice token_usage stream_stopped session_title"
	if got := types(first); got != want {
		t.Errorf("the stream is\n%s, want\n%s", got, want)
	}
	rss := resident(t, p.PID())
	t.Logf("resident memory after a run: %d MiB", rss>>20)
	if rss > 120<<20 {
		t.Errorf("resident memory %d MiB; the aim is 80 MB", rss>>20)
	}

	before := devMessages(t, url, id)
	if len(before) != 4 {
		t.Errorf("the session has %d messages, want those of the user, the model, the tool and the model: %+v", len(before), before)
	}
	p.Kill()

	p = start()
	awaitHTTP(t, url+"/readyz")
	if after := devMessages(t, url, id); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("after SIGKILL the session is\n%+v, before\n%+v", after, before)
	}
	// Clients of the original send all that was said before once more.
	second := devRun(t, url, id, `[{"role":"user","content":"hello"},{"role":"user","content":"plan something"}]`, func() {})
	if got := types(second); !strings.Contains(got, "tool_call_response") || strings.Contains(got, "error") {
		t.Errorf("the stream of the second run is %s", got)
	}
	if second[0].id <= first[len(first)-1].id {
		t.Errorf("the second run begins with event %d, the first one ended with %d", second[0].id, first[len(first)-1].id)
	}
	if after := devMessages(t, url, id); len(after) != 8 {
		t.Errorf("after the second run the session has %d messages, want 8: %+v", len(after), after)
	}

	// Killed in the middle of a run, it goes on by itself.
	s := openStream(t, t.Context(), "POST", url+"/api/sessions/"+id+"/agent/demo", `[{"role":"user","content":"tell me more"}]`, 0)
	for {
		if l, ok := s.next(); !ok || l.ev.EventType() == holdfast.TypeToolCallResponse {
			break
		}
	}
	p.Kill()
	s.close()
	p = start()
	awaitHTTP(t, url+"/readyz")
	await(t, "the run that was cut off has finished", func() bool {
		var doc struct{ Status string }
		a := request(t, "GET", url+"/v1/sessions/"+id, "")
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		return doc.Status == "idle"
	})
	if after := devMessages(t, url, id); len(after) != 12 || !strings.Contains(after[11].Message.Content, "tell me more") {
		t.Errorf("after the run that was cut off the session has %d messages, want 12: %+v", len(after), after)
	}

	// Ctrl-C once, with a stream open and a run under way.
	open := openStream(t, t.Context(), "GET", url+"/v1/sessions/"+id+"/events", "", 0)
	if _, ok := open.next(); !ok {
		t.Error("an empty stream")
	}
	began = time.Now()
	p.Signal(syscall.SIGINT)
	if err := p.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	t.Logf("ended %s after Ctrl-C", time.Since(began).Round(time.Millisecond))
	_ = open.body.Close() // the server is gone
}

// awaitHTTP polls until the address answers with 200.
func awaitHTTP(t testing.TB, url string) {
	t.Helper()
	await(t, url+" answers", func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

func devSession(t testing.TB, url string) string {
	t.Helper()
	a := request(t, "POST", url+"/api/sessions", `{"tools_approved":true}`)
	var doc struct {
		ID            string
		ToolsApproved bool `json:"tools_approved"`
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || doc.ID == "" || !doc.ToolsApproved {
		t.Fatalf("create a session: %+v, %v", a, err)
	}
	return doc.ID
}

// devRun makes a run over the original API and returns its stream; firstToken is
// called when the model's first words are there.
func devRun(t testing.TB, url, id, body string, firstToken func()) (lines []line) {
	t.Helper()
	s := openStream(t, t.Context(), "POST", url+"/api/sessions/"+id+"/agent/demo", body, 0)
	defer s.close()
	said := false
	for {
		l, ok := s.next()
		if !ok {
			return lines
		}
		if !said && l.ev.EventType() == holdfast.TypeAgentChoice {
			said = true
			firstToken()
		}
		lines = append(lines, l)
	}
}

type devMessage struct {
	AgentName string
	Message   struct{ Role, Content string }
}

func devMessages(t testing.TB, url, id string) []devMessage {
	t.Helper()
	a := request(t, "GET", url+"/api/sessions/"+id, "")
	var doc struct{ Messages []devMessage }
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || a.status != 200 {
		t.Fatalf("read the session: %+v, %v", a, err)
	}
	return doc.Messages
}

// resident returns how much memory the process has in RAM, in bytes.
func resident(t testing.TB, pid int) int64 {
	t.Helper()
	kib := ""
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		for l := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
				kib = strings.TrimSuffix(strings.TrimSpace(v), " kB")
			}
		}
	} else { // not Linux
		out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
		if err != nil {
			t.Fatalf("ask for the memory of a process: %v", err)
		}
		kib = strings.TrimSpace(string(out))
	}
	n, err := strconv.ParseInt(kib, 10, 64)
	if err != nil {
		t.Fatalf("memory of process %d: %v", pid, err)
	}
	return n << 10
}

package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the transcripts of the replays")

// A replay is what a provider answered, given to the program through base_url, and
// a transcript of what the program made of it: each request that it sent, and each
// event that a user sees. Parts of a file in testdata/replays, each with the name of
// the case in front:
//
//	model    PROVIDER MODEL {more keys of the model as YAML}
//	agent    more keys of the agent, a line each
//	env      in place of base_url, the variable of the provider's SDK
//	tools    NAME ARGUMENT RESULT: tools that the agent has, "-" for no argument
//	then     what the user says when the first run has ended, a line each
//	N        the answer to request N: an event stream (of Bedrock in the frames of AWS)
//	N.gzip   the same, compressed
//	N.cut    the same, and then the connection breaks
//	N.json   a whole answer
//	N.reset  no answer: the connection breaks
//	N.STATUS an error
//	want     the transcript
type replay struct {
	file, name string
	parts      map[string][]byte
}

// titles tells the requests for a title, which come beside the conversation and
// get no answer here.
var titles = []byte("Write a title of at most eight words")

// TestReplays plays every recorded answer against the released program.
func TestReplays(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/replays/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no replays: %v", err)
	}
	archives := map[string]*txtar.Archive{}
	var all []*replay
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		archives[f] = a
		if len(a.Files) == 0 {
			t.Fatalf("%s has no replays", f)
		}
		for _, p := range a.Files {
			name, part, _ := strings.Cut(p.Name, "/")
			if n := len(all); n == 0 || all[n-1].file != f || all[n-1].name != name {
				all = append(all, &replay{file: f, name: name, parts: map[string][]byte{}})
			}
			all[len(all)-1].parts[part] = p.Data
		}
	}

	upstream := &replayServer{cases: map[string]*replay{}, asked: map[string][][]byte{}}
	srv := httptest.NewServer(upstream)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	for _, r := range all {
		upstream.cases[r.id()] = r
		if err := os.WriteFile(filepath.Join(dir, r.id()+".yaml"), r.agentFile(t, srv.URL), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := freeAddress(t)
	env := []string{"KEY=sk-replay-0123456789"}
	for _, k := range []string{"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY", "AZURE_API_KEY", "XAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"} {
		env = append(env, k+"=sk-replay-0123456789")
	}
	env = append(env, "OPENAI_BASE_URL="+srv.URL+"/openai-chat-env/v1")
	testenv.Start(t, release(t).holdfast, env, "dev", "--listen", addr, "--data", t.TempDir(), "--agents", dir)
	awaitHTTP(t, "http://"+addr+"/readyz")

	got := map[string]string{}
	var mu sync.Mutex
	t.Run("all", func(t *testing.T) {
		for _, r := range all {
			t.Run(r.id(), func(t *testing.T) {
				t.Parallel()
				text := r.play(t, "http://"+addr, upstream)
				mu.Lock()
				got[r.id()] = text
				mu.Unlock()
				if want := string(r.parts["want"]); !*update && text != want {
					t.Errorf("(-want +got)\n%s", cmp.Diff(strings.Split(want, "\n"), strings.Split(text, "\n")))
				}
			})
		}
	})
	if len(upstream.early) > 0 {
		t.Errorf("the title was asked for before the answer, or something else was: %q", upstream.early)
	}
	if !*update {
		return
	}
	for f, a := range archives {
		var out []txtar.File
		for _, r := range all {
			if r.file != f {
				continue
			}
			for _, p := range a.Files {
				if name, part, _ := strings.Cut(p.Name, "/"); name == r.name && part != "want" {
					out = append(out, p)
				}
			}
			out = append(out, txtar.File{Name: r.name + "/want", Data: []byte(got[r.id()])})
		}
		a.Files = out
		if err := os.WriteFile(f, txtar.Format(a), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *replay) id() string {
	return strings.TrimSuffix(filepath.Base(r.file), ".txtar") + "-" + r.name
}

// agentFile composes the agent file of a replay whose provider is at url.
func (r *replay) agentFile(t *testing.T, url string) []byte {
	t.Helper()
	fields := strings.SplitN(strings.TrimSpace(string(r.parts["model"])), " ", 3)
	if len(fields) < 2 {
		t.Fatalf("%s names no model", r.id())
	}
	base := url + "/" + r.id()
	if !slices.Contains([]string{"google", "anthropic", "amazon-bedrock"}, fields[0]) {
		base += "/v1"
	}
	more := ""
	if len(fields) == 3 {
		more = ", " + strings.TrimSuffix(strings.TrimPrefix(fields[2], "{"), "}")
	}
	provider := fields[0]
	var b strings.Builder
	fmt.Fprintf(&b, "version: \"7\"\n")
	if provider == "custom" {
		fmt.Fprintf(&b, "providers:\n  custom: {base_url: %q, token_key: KEY}\n", base)
	}
	if r.parts["env"] == nil {
		more += fmt.Sprintf(", base_url: %q", base)
	}
	fmt.Fprintf(&b, "models:\n  m: {provider: %s, model: %q%s}\n", provider, fields[1], more)
	fmt.Fprintf(&b, "agents:\n  root:\n    model: m\n    description: Replays.\n    instruction: Be terse.\n")
	for l := range strings.Lines(string(r.parts["agent"])) {
		fmt.Fprintf(&b, "    %s\n", strings.TrimSpace(l))
	}
	if tools := r.parts["tools"]; len(tools) > 0 {
		b.WriteString("    toolsets:\n      - type: script\n        shell:\n")
		for l := range strings.Lines(string(tools)) {
			f := strings.Fields(l)
			fmt.Fprintf(&b, "          %s:\n            cmd: printf %%s %q\n            description: A tool.\n", f[0], f[2])
			if f[1] != "-" {
				fmt.Fprintf(&b, "            args: {%s: {type: string}}\n            required: [%s]\n", f[1], f[1])
			}
		}
	}
	return []byte(b.String())
}

// replayServer answers the requests of each case in their order.
type replayServer struct {
	cases map[string]*replay

	mu    sync.Mutex
	asked map[string][][]byte // by case, without the requests for titles
	early []string            // cases whose title was asked for before anything else
}

func (s *replayServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	id, path, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	r := s.cases[id]
	if err != nil || r == nil || bytes.Contains(body, titles) {
		s.mu.Lock()
		if len(s.asked[id]) == 0 {
			s.early = append(s.early, id)
		}
		s.mu.Unlock()
		http.Error(w, `{"error":{"message":"no such recording"}}`, http.StatusBadRequest)
		return
	}
	if req.URL.RawQuery != "" {
		path += "?" + req.URL.RawQuery
	}
	head := req.Method + " /" + path
	for _, h := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Anthropic-Version", "Anthropic-Beta"} {
		if v := req.Header.Get(h); v != "" {
			head += "\n  " + h + ": " + v
		}
	}
	s.mu.Lock()
	s.asked[id] = append(s.asked[id], append([]byte(head+"\n  "), body...))
	n := strconv.Itoa(len(s.asked[id]))
	s.mu.Unlock()
	for part, data := range r.parts {
		number, kind, _ := strings.Cut(part, ".")
		if number != n {
			continue
		}
		switch status, err := strconv.Atoi(kind); {
		case err == nil:
			w.Header().Set("Content-Type", "application/json")
			if status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "0")
			}
			w.WriteHeader(status)
		case kind == "json":
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		case kind == "reset":
			panic(http.ErrAbortHandler)
		case strings.HasPrefix(id, "bedrock-"):
			w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
			data = awsFrames(data)
		default:
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			if strings.HasPrefix(id, "gemini-") {
				data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
			}
		}
		if kind == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
			data = gzipped(data)
		}
		// In pieces that respect no border, as a network has them.
		for len(data) > 0 {
			n := min(len(data), 97)
			if _, err := w.Write(data[:n]); err != nil {
				return
			}
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			data = data[n:]
		}
		if kind == "cut" {
			panic(http.ErrAbortHandler)
		}
		return
	}
	http.Error(w, `{"error":{"message":"the recording has no such request"}}`, http.StatusBadRequest)
}

// gzipped compresses event by event, as a server does that does not want to keep
// its client waiting.
func gzipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for event := range bytes.SplitAfterSeq(data, []byte("\n\n")) {
		// Writes to a buffer do not fail.
		_, _ = z.Write(event)
		_ = z.Flush()
	}
	_ = z.Close()
	return b.Bytes()
}

// awsFrames turns events that are written as text (event: or exception:, data:)
// into messages of https://smithy.io/2.0/aws/amazon-eventstream.html.
func awsFrames(text []byte) []byte {
	var out []byte
	for event := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		head, payload, _ := strings.Cut(event, "\ndata: ")
		kind, name, _ := strings.Cut(head, ": ")
		var headers []byte
		for _, h := range [][2]string{{":" + kind + "-type", name}, {":content-type", "application/json"}, {":message-type", kind}} {
			headers = append(append(headers, byte(len(h[0]))), h[0]...)
			headers = append(headers, 7) // a string
			headers = append(binary.BigEndian.AppendUint16(headers, uint16(len(h[1]))), h[1]...)
		}
		frame := binary.BigEndian.AppendUint32(nil, uint32(12+len(headers)+len(payload)+4))
		frame = binary.BigEndian.AppendUint32(frame, uint32(len(headers)))
		frame = binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(frame))
		frame = append(append(frame, headers...), payload...)
		out = append(out, binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(frame))...)
	}
	return out
}

// invented are ids that the program makes up, and are another each time.
var invented = regexp.MustCompile(`call_[0-9a-f]{24,32}`)

// play runs the case and returns its transcript.
func (r *replay) play(t *testing.T, url string, upstream *replayServer) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	session := devSession(t, url)
	said := []string{"Capital of the UK?"}
	for l := range strings.Lines(string(r.parts["then"])) {
		said = append(said, strings.TrimSpace(l))
	}
	var b strings.Builder
	for i, text := range said {
		if i > 0 {
			fmt.Fprintf(&b, "user: %s\n", text)
		}
		body, err := json.Marshal([]map[string]string{{"role": "user", "content": text}})
		if err != nil {
			t.Fatal(err)
		}
		s := openStream(t, ctx, "POST", url+"/api/sessions/"+session+"/agent/"+r.id(), string(body), 0)
		transcribe(&b, s)
		s.close()
	}
	upstream.mu.Lock()
	asked := slices.Clone(upstream.asked[r.id()])
	upstream.mu.Unlock()
	for _, a := range asked {
		head, body, _ := bytes.Cut(a, []byte("\n  {"))
		var out bytes.Buffer
		if err := json.Indent(&out, append([]byte("{"), body...), "  ", " "); err != nil {
			t.Errorf("a request that is not JSON: %v: %s", err, body)
		}
		fmt.Fprintf(&b, "%s\n  %s\n", head, out.Bytes())
	}
	return invented.ReplaceAllString(b.String(), "call_*")
}

// transcribe writes down what a user sees of a run.
func transcribe(b *strings.Builder, s *stream) {
	var open string
	say := func(kind, text string) {
		if open != kind {
			if open != "" {
				b.WriteString("\n")
			}
			fmt.Fprintf(b, "%s: ", kind)
			open = kind
		}
		quoted := strconv.Quote(text)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	line := func(kind, format string, args ...any) {
		if open != "" {
			b.WriteString("\n")
		}
		open = ""
		fmt.Fprintf(b, kind+": "+format+"\n", args...)
	}
	for {
		l, ok := s.next()
		if !ok {
			break
		}
		switch ev := l.ev.(type) {
		case *holdfast.AgentChoiceEvent:
			say("text", ev.Content)
		case *holdfast.AgentChoiceReasoningEvent:
			say("reasoning", ev.Content)
		case *holdfast.ToolCallEvent:
			line("call", "%s %s %s", ev.ToolCall.ID, ev.ToolCall.Function.Name, ev.ToolCall.Function.Arguments)
		case *holdfast.ToolCallResponseEvent:
			line("result", "%s %q", ev.ToolCall.ID, ev.Response)
		case *holdfast.TokenUsageEvent:
			u := ev.Usage
			line("usage", "in %d out %d cached %d written %d reasoning %d", u.InputTokens, u.OutputTokens, u.CachedInputTokens, u.CacheWriteTokens, u.ReasoningTokens)
		case *holdfast.ErrorEvent:
			line("error", "%s %s", ev.Code, ev.Error)
		case *holdfast.StreamStoppedEvent:
			line("stopped", "%s", ev.Reason)
		}
	}
}

package mcptool_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
)

// graph is what the server of knowledge graphs answers.
type graph struct {
	Entities []struct {
		Name         string   `json:"name"`
		EntityType   string   `json:"entityType"`
		Observations []string `json:"observations"`
	} `json:"entities"`
	Relations []struct {
		From         string `json:"from"`
		To           string `json:"to"`
		RelationType string `json:"relationType"`
	} `json:"relations"`
}

// String is one line for each thing that the graph knows.
func (g graph) String() string {
	var b strings.Builder
	for _, e := range g.Entities {
		fmt.Fprintf(&b, "%s, a %s: %s\n", e.Name, e.EntityType, strings.Join(e.Observations, "; "))
	}
	for _, r := range g.Relations {
		fmt.Fprintf(&b, "%s %s %s\n", r.From, r.RelationType, r.To)
	}
	return b.String()
}

// known asks a server of knowledge graphs and returns what it answers, as text for
// the model and the same as structured content.
func known(t *testing.T, ts *mcptool.Toolset, name, arguments string) string {
	t.Helper()
	res := call(t, ts, tool.Call{Name: name, Arguments: arguments})
	if res.IsError {
		t.Fatalf("%s: %s", name, res.Output)
	}
	var text graph
	var meta struct{ StructuredContent graph }
	if err := json.Unmarshal([]byte(res.Output), &text); err != nil {
		t.Fatalf("%s: %v in %s", name, err, res.Output)
	}
	if err := json.Unmarshal(res.Meta, &meta); err != nil {
		t.Fatalf("%s: %v in the meta %s", name, err, res.Meta)
	}
	if diff := cmp.Diff(text.String(), meta.StructuredContent.String()); diff != "" {
		t.Errorf("%s: text and structured content differ:\n%s", name, diff)
	}
	return text.String()
}

// TestMemoryServer: a server that keeps a graph of what it was told in a file. Both
// a server that was killed and one that was closed have it again when they are back.
func TestMemoryServer(t *testing.T) {
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	cfg := mcptool.Config{
		Name: "memory", Command: "sh", Args: []string{"-c", `echo $$ >> "$PIDS"; exec node "$0"`, npmServer(t, "server-memory")},
		Env: map[string]string{"MEMORY_FILE_PATH": filepath.Join(dir, "graph.jsonl"), "PIDS": pids},
	}
	ts := open(t, cfg, mcptool.Options{})
	for _, name := range []string{"create_entities", "create_relations", "add_observations", "search_nodes", "open_nodes", "read_graph", "delete_entities"} {
		if _, ok := definitions(t, ts)[name]; !ok {
			t.Errorf("the server has no tool %s", name)
		}
	}
	do := func(name, arguments string) {
		t.Helper()
		if res := call(t, ts, tool.Call{Name: name, Arguments: arguments}); res.IsError {
			t.Fatalf("%s: %s", name, res.Output)
		}
	}
	do("create_entities", `{"entities":[
		{"name":"Ann","entityType":"person","observations":["likes tea"]},
		{"name":"Bob","entityType":"person","observations":[]},
		{"name":"Ulm","entityType":"town","observations":["has a tall church"]}]}`)
	do("create_relations", `{"relations":[{"from":"Ann","to":"Ulm","relationType":"lives in"}]}`)
	do("add_observations", `{"observations":[{"entityName":"Bob","contents":["plays the piano"]}]}`)
	wantError(t, call(t, ts, tool.Call{Name: "add_observations", Arguments: `{"observations":[{"entityName":"Eve","contents":["x"]}]}`}), "Eve")
	wantError(t, call(t, ts, tool.Call{Name: "create_entities", Arguments: `{"entities":"Eve"}`}), "nvalid")

	if diff := cmp.Diff("Bob, a person: plays the piano\n", known(t, ts, "search_nodes", `{"query":"piano"}`)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("Bob, a person: plays the piano\n", known(t, ts, "open_nodes", `{"names":["Bob"]}`)); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	whole := "Ann, a person: likes tea\nBob, a person: plays the piano\nUlm, a town: has a tall church\nAnn lives in Ulm\n"
	if diff := cmp.Diff(whole, known(t, ts, "read_graph", `{}`)); diff != "" {
		t.Errorf("the graph (-want +got):\n%s", diff)
	}

	// The server dies: the toolset starts it again, and the graph is there.
	started := servers(t, pids)
	p, err := os.FindProcess(started[len(started)-1])
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if res := call(t, ts, tool.Call{Name: "read_graph"}); !res.IsError {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the server does not come back: %s", res.Output)
		}
		<-time.After(10 * time.Millisecond) // a call that comes too early is refused at once
	}
	if diff := cmp.Diff(whole, known(t, ts, "read_graph", `{}`)); diff != "" {
		t.Errorf("the graph of the server that was killed (-want +got):\n%s", diff)
	}
	if again := servers(t, pids); len(again) <= len(started) {
		t.Errorf("servers %v, and none was started after the last was killed", again)
	}

	// The session ends and another one begins.
	do("delete_entities", `{"entityNames":["Ulm"]}`)
	if err := ts.Close(); err != nil {
		t.Fatal(err)
	}
	later := open(t, cfg, mcptool.Options{})
	if diff := cmp.Diff("Ann, a person: likes tea\nBob, a person: plays the piano\n", known(t, later, "read_graph", `{}`)); diff != "" {
		t.Errorf("the graph of another session (-want +got):\n%s", diff)
	}
}

// servers are the process ids of the servers that were started, in order.
func servers(t *testing.T, file string) (pids []int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		t.Fatal("no server was started")
	}
	return pids
}

// TestFilesystemServerLongResult: a result that is longer than what is kept of one
// is cut, says so, and does not come to clients whole by the back door of Meta; one
// that no message may carry fails the call alone.
func TestFilesystemServerLongResult(t *testing.T) {
	dir := t.TempDir()
	ts := open(t, mcptool.Config{Name: "files", Command: "node", Args: []string{npmServer(t, "server-filesystem"), dir}}, mcptool.Options{})
	file := func(name string, size int) (path, text string) {
		path, text = filepath.Join(dir, name), strings.Repeat("0123456789abcde\n", size/16)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path, text
	}
	read := func(path string) tool.Result {
		return call(t, ts, tool.Call{Name: "read_text_file", Arguments: fmt.Sprintf(`{"path":%q}`, path)})
	}
	path, text := file("long.txt", tool.MaxOutput+1<<10)
	res := read(path)
	head, marker, cut := strings.Cut(res.Output, "\n[output cut: ")
	if res.IsError || !cut || !strings.HasPrefix(text, head) || len(head) < tool.MaxOutput/2 || len(res.Output) > tool.MaxOutput {
		t.Errorf("%d bytes, error %v, cut %v, the end %q", len(res.Output), res.IsError, cut, res.Output[max(0, len(res.Output)-100):])
	}
	if want := fmt.Sprintf("the first %d of %d bytes are shown]", len(head), len(text)); marker != want {
		t.Errorf("the marker says %q, want %q", marker, want)
	}
	if len(res.Meta) > tool.MaxOutput {
		t.Errorf("the meta has %d bytes", len(res.Meta))
	}
	// Text and structured content, both of that length, are one message.
	path, _ = file("longer.txt", mcptool.MaxMessage/2+1<<10)
	if res := read(path); !res.IsError {
		t.Errorf("a message of more than %d bytes was taken: %d bytes of output", mcptool.MaxMessage, len(res.Output))
	}
	path, _ = file("short.txt", 16)
	for deadline := time.Now().Add(time.Minute); ; {
		res := read(path)
		if res.Output == "0123456789abcde\n" && !res.IsError {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the message that was too long: %.300s", res.Output)
		}
		<-time.After(10 * time.Millisecond)
	}
}

package mcptest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/mark3labs/mcp-go/server"
)

// Variable is the environment variable that makes a test binary a server: its
// value is a [Behaviour].
const Variable = "HOLDFAST_MCPTEST"

// Behaviour says what a server over stdio does.
type Behaviour string

// The behaviours. Those after Normal are as bad as their comment says, and
// behave up to there.
const (
	Normal Behaviour = "normal" // serves NewServer

	Refuses   Behaviour = "refuses"   // writes "no config" to stderr and exits with status 7
	Mute      Behaviour = "mute"      // reads, never answers, ignores SIGTERM and the end of its input for a minute
	Odd       Behaviour = "odd"       // odd schemas, names and content, in pages; text between messages
	Asks      Behaviour = "asks"      // asks the client for all it can before it answers a call with what it got
	EndlessLn Behaviour = "endless"   // answers a call with a line without end
	Chatters  Behaviour = "chatters"  // answers a call with notifications without end
	Deaf      Behaviour = "deaf"      // does not read after the list of tools
	OldOnly   Behaviour = "old-only"  // ignores methods that it does not know, as some old servers do
	Loops     Behaviour = "loops"     // its list of tools never ends
	Garbage   Behaviour = "garbage"   // answers a call with JSON of a wrong shape
	DiesOften Behaviour = "dies-once" // exits on the first call, of which the file in HOLDFAST_MCPTEST_MARK tells
)

// Mark is the variable that names a file for DiesOften.
const Mark = "HOLDFAST_MCPTEST_MARK"

// Main is called first in TestMain. In a process that is to be a server it
// serves and exits; otherwise it returns at once.
func Main() {
	b := Behaviour(os.Getenv(Variable))
	switch b {
	case "":
		return
	case Normal:
		if err := server.ServeStdio(NewServer(context.Background())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case Refuses:
		fmt.Fprintln(os.Stderr, "reading the settings\nno config")
		os.Exit(7)
	case Mute:
		signal.Ignore(syscall.SIGTERM)
		fmt.Fprintln(os.Stderr, "I say nothing")
		_, _ = io.Copy(io.Discard, os.Stdin)
		hang()
	default:
		raw{b}.serve()
	}
	os.Exit(0)
}

// hang outlasts any test. An empty select would not: without other goroutines the
// Go runtime calls that a deadlock and ends the process.
func hang() { <-time.After(time.Minute) }

// Command returns the command and environment of a server with this behaviour.
func Command(b Behaviour) (path string, env map[string]string) {
	path, err := os.Executable()
	if err != nil {
		panic(fmt.Sprintf("mcptest: the test binary cannot be found: %v", err))
	}
	return path, map[string]string{Variable: string(b)}
}

// raw is a server written by hand, so that it can do what no library does.
type raw struct{ b Behaviour }

type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func send(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func (s raw) serve() {
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal([]byte(line), &m) != nil || len(m.ID) == 0 {
			continue
		}
		switch m.Method {
		case "initialize":
			send(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"raw","version":"1"}}}`, m.ID)
		case "tools/list":
			s.list(m)
			if s.b == Deaf {
				hang()
			}
		case "tools/call":
			s.call(m, in)
		default:
			if s.b != OldOnly {
				send(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID)
			}
		}
	}
}

// OddSchema is the schema of the tool "odd" of Odd. It has to reach the model
// byte for byte.
const OddSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","allOf":[{"if":{"properties":{"a":{"const":1}}},"then":{"required":["b"]}}],"properties":{"a":{"type":["integer","null"],"x-note":1e400},"b":{"$ref":"#/$defs/b"}},"$defs":{"b":{"enum":[1,"two",null]}}}`

func (s raw) list(m message) {
	page := func(next string, tools ...string) {
		cursor := ""
		if next != "" {
			cursor = fmt.Sprintf(`,"nextCursor":%q`, next)
		}
		send(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[%s]%s}}`, m.ID, strings.Join(tools, ","), cursor)
	}
	switch s.b {
	case Odd:
		if !strings.Contains(string(m.Params), "page2") {
			fmt.Println("Server running on stdio!")
			page("page2",
				`{"name":"odd","title":"Odd","description":"d","inputSchema":`+OddSchema+`,"icons":7}`,
				`{"name":"no.dots/allowed here","inputSchema":{"type":"object"}}`,
				`{"name":"no-schema"}`,
				`{"name":"true-schema","inputSchema":true}`,
				`{"name":"no-type","inputSchema":{"properties":{"a":{}}}}`)
			return
		}
		page("",
			`{"name":"odd","description":"a second one"}`,
			`{"name":"no_dots_allowed_here","description":"collides"}`,
			`{"name":"`+strings.Repeat("long", 30)+`","description":["not","text"]}`,
			`{"description":"no name"}`, `"no object"`)
	case Loops:
		page("again", `{"name":"t","inputSchema":{"type":"object"}}`)
	default:
		page("", `{"name":"t","inputSchema":{"type":"object"}}`)
	}
}

func (s raw) call(m message, in *bufio.Reader) {
	text := func(text string) {
		raw, err := json.Marshal(text)
		if err != nil {
			panic(err)
		}
		send(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%s}]}}`, m.ID, raw)
	}
	switch s.b {
	case Odd:
		send(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"hologram","x":1},"nonsense",{"type":"text","text":"seen"}]}}`, m.ID)
	case Garbage:
		send(`{"jsonrpc":"2.0","id":%s,"result":[1,2]}`, m.ID)
	case Asks:
		var got []string
		for i, method := range []string{"ping", "roots/list", "sampling/createMessage", "elicitation/create", "no/such"} {
			send(`{"jsonrpc":"2.0","id":"ask-%d","method":%q,"params":{}}`, i, method)
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			var answer message
			if err := json.Unmarshal([]byte(line), &answer); err != nil {
				panic(err)
			}
			got = append(got, fmt.Sprintf("%s: %s%s", method, answer.Result, answer.Error))
		}
		text(strings.Join(got, "\n"))
	case EndlessLn:
		out := bufio.NewWriter(os.Stdout)
		for {
			if _, err := out.WriteString(`{"jsonrpc":"2.0","result":"`); err != nil {
				return
			}
		}
	case Chatters:
		out := bufio.NewWriter(os.Stdout)
		for {
			if _, err := out.WriteString(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"chatter"}}` + "\n"); err != nil {
				return
			}
		}
	case DiesOften:
		mark := os.Getenv(Mark)
		if _, err := os.Stat(mark); err != nil {
			if err := os.WriteFile(mark, nil, 0o600); err != nil {
				panic(err)
			}
			os.Exit(4)
		}
		text("alive")
	default:
		text("ok")
	}
}

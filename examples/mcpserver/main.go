// Command mcpserver is a small MCP server for the examples, written against the
// protocol alone (https://modelcontextprotocol.io/specification) to show what
// goes over the wire. A real one would use a library.
//
// It serves on standard input and output, a message a line, or by streamable
// HTTP with -http. It has two tools: convert, which only reads, and book_table,
// which has an effect and keeps it to one by the idempotency key of the call.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
)

// keyMeta is where Holdfast puts the key that is the same for all attempts of
// the same call.
const keyMeta = "holdfast.run/idempotency-key"

func main() {
	log.SetFlags(0)
	addr := flag.String("http", "", "serve HTTP on this host:port instead of standard input")
	flag.Parse()
	s := &server{name: os.Getenv("RESTAURANT"), booked: map[string]string{}}
	if *addr == "" {
		if err := s.serveStdio(os.Stdin, os.Stdout); err != nil {
			log.Fatal(err)
		}
		return
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/mcp\n", ln.Addr())
	log.Fatal(http.Serve(ln, http.HandlerFunc(s.serveHTTP)))
}

// message is a request or a notification, which has no id.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

type answer struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *failure        `json:"error,omitempty"`
}

// failure is an error of JSON-RPC 2.0, section 5.1.
type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type object = map[string]any

type server struct {
	name string

	mu     sync.Mutex
	booked map[string]string // by idempotency key; guarded by mu
}

func (s *server) serveStdio(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	enc := json.NewEncoder(out)
	for lines.Scan() {
		if a := s.answer(lines.Bytes()); a != nil {
			if err := enc.Encode(a); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
		}
	}
	return lines.Err()
}

func (s *server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed) // no stream from the server
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	a := s.answer(body)
	if a == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil {
		log.Print("answer: ", err)
	}
}

// answer returns what to say to a message, nil for nothing.
func (s *server) answer(line []byte) *answer {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return &answer{JSONRPC: "2.0", ID: json.RawMessage("null"), Error: &failure{-32700, "parse error"}}
	}
	if m.ID == nil {
		return nil
	}
	a := &answer{JSONRPC: "2.0", ID: m.ID}
	switch m.Method {
	case "initialize":
		a.Result = object{
			"protocolVersion": "2025-06-18",
			"capabilities":    object{"tools": object{}},
			"serverInfo":      object{"name": "restaurant", "version": "1.0.0"},
			"instructions":    "Convert before you serve.",
		}
	case "ping":
		a.Result = object{}
	case "tools/list":
		a.Result = object{"tools": tools}
	case "tools/call":
		a.Result, a.Error = s.call(m.Params)
	default:
		a.Error = &failure{-32601, "method not found: " + m.Method}
	}
	return a
}

var tools = []object{
	{
		"name": "convert", "description": "Convert Celsius to Fahrenheit.",
		"inputSchema": object{
			"type": "object", "properties": object{"celsius": object{"type": "number"}}, "required": []string{"celsius"},
		},
		"annotations": object{"readOnlyHint": true},
	},
	{
		"name": "book_table", "description": "Book a table.",
		"inputSchema": object{
			"type":       "object",
			"properties": object{"guest": object{"type": "string"}, "people": object{"type": "integer"}},
			"required":   []string{"guest", "people"},
		},
		// Once more with the same key changes nothing, so a crash in the middle is no
		// reason to ask a human.
		"annotations": object{"idempotentHint": true},
	},
}

func (s *server) call(params json.RawMessage) (any, *failure) {
	var p struct {
		Name      string `json:"name"`
		Arguments struct {
			Celsius float64 `json:"celsius"`
			Guest   string  `json:"guest"`
			People  int     `json:"people"`
		} `json:"arguments"`
		Meta map[string]any `json:"_meta"`
	}
	if err := json.Unmarshal(params, &p); err != nil {
		return nil, &failure{-32602, "invalid arguments: " + err.Error()}
	}
	switch p.Name {
	case "convert":
		return text("%g °C is %g °F.", p.Arguments.Celsius, p.Arguments.Celsius*9/5+32), nil
	case "book_table":
		key, _ := p.Meta[keyMeta].(string)
		s.mu.Lock()
		defer s.mu.Unlock()
		if key == "" || s.booked[key] == "" {
			s.booked[key] = fmt.Sprintf("A table for %d at %s is booked for %s.", p.Arguments.People, s.name, p.Arguments.Guest)
		}
		return text("%s", s.booked[key]), nil
	}
	return nil, &failure{-32602, "unknown tool: " + p.Name}
}

func text(format string, args ...any) object {
	return object{"content": []object{{"type": "text", "text": fmt.Sprintf(format, args...)}}}
}

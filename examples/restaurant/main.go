// Command restaurant is a small service for the examples: an HTTP API with its
// OpenAPI document, and an agent that speaks the A2A protocol
// (https://a2a-protocol.org). It is written against the protocols alone to show
// what goes over the wire.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
)

func main() {
	log.SetFlags(0)
	addr := flag.String("http", "127.0.0.1:8766", "serve on this host:port")
	flag.Parse()
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", ln.Addr())
	log.Fatal(http.Serve(ln, newRestaurant("http://"+ln.Addr().String())))
}

type object = map[string]any

// restaurant keeps bookings by idempotency key, so that a request that comes
// twice books once.
type restaurant struct {
	mu     sync.Mutex
	booked map[string]string // guarded by mu
	asked  map[string]bool   // tasks that wait for a number of guests; guarded by mu
}

func newRestaurant(self string) http.Handler {
	r := &restaurant{booked: map[string]string{}, asked: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dishes/{name}", r.dish)
	mux.HandleFunc("POST /bookings", r.book)
	mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, openAPI) })
	mux.HandleFunc("GET /.well-known/agent-card.json", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, object{
			"name": "Host", "description": "Seats guests.", "version": "1", "protocolVersion": "0.3.0", "url": self + "/a2a",
			"preferredTransport": "JSONRPC", "capabilities": object{}, "skills": []object{{"id": "seat", "name": "Seat", "description": "finds a table"}},
			"defaultInputModes": []string{"text/plain"}, "defaultOutputModes": []string{"text/plain"},
		})
	})
	mux.HandleFunc("POST /a2a", r.a2a)
	return mux
}

const openAPI = `openapi: 3.1.0
info: { title: Restaurant, version: "1" }
paths:
  /dishes/{name}:
    get:
      operationId: getDish
      summary: What a dish costs
      parameters:
        - { name: name, in: path, required: true, schema: { type: string } }
        - { name: currency, in: query, schema: { enum: [EUR, USD] } }
  /bookings:
    post:
      operationId: book
      summary: Book a table
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [guests]
              properties: { guests: { type: integer, minimum: 1 } }
`

func respond(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

func (r *restaurant) dish(w http.ResponseWriter, req *http.Request) {
	if req.PathValue("name") != "soup" {
		http.Error(w, "we have no "+req.PathValue("name"), http.StatusNotFound)
		return
	}
	currency := req.URL.Query().Get("currency")
	if currency == "" {
		currency = "EUR"
	}
	respond(w, object{"dish": "soup", "price": 7, "currency": currency})
}

func (r *restaurant) book(w http.ResponseWriter, req *http.Request) {
	var body struct {
		Guests int `json:"guests"`
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil || body.Guests < 1 {
		http.Error(w, "how many guests?", http.StatusUnprocessableEntity)
		return
	}
	key := req.Header.Get("Idempotency-Key")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.booked[key] == "" {
		r.booked[key] = fmt.Sprintf("a table for %d", body.Guests)
	}
	respond(w, object{"booked": r.booked[key]})
}

// a2a takes message/send. The first message begins a task, which asks for the
// number of guests; the second ends it.
func (r *restaurant) a2a(w http.ResponseWriter, req *http.Request) {
	var rpc struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Message struct {
				TaskID string `json:"taskId"`
				Parts  []struct {
					Text string `json:"text"`
				} `json:"parts"`
			} `json:"message"`
		} `json:"params"`
	}
	if err := json.NewDecoder(req.Body).Decode(&rpc); err != nil || rpc.Method != "message/send" || len(rpc.Params.Message.Parts) == 0 {
		respond(w, object{"jsonrpc": "2.0", "id": rpc.ID, "error": object{"code": -32601, "message": "only message/send is understood"}})
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	task, state, text := rpc.Params.Message.TaskID, "completed", "A table for "+rpc.Params.Message.Parts[0].Text+" is ready."
	if !r.asked[task] {
		task, state, text = fmt.Sprintf("task-%d", len(r.asked)+1), "input-required", "For how many?"
		r.asked[task] = true
	}
	respond(w, object{"jsonrpc": "2.0", "id": rpc.ID, "result": object{
		"kind": "task", "id": task, "contextId": "evening", "status": object{
			"state":   state,
			"message": object{"kind": "message", "messageId": task + state, "role": "agent", "parts": []object{{"kind": "text", "text": text}}},
		},
	}})
}

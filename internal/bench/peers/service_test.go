package peers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// message is one of a conversation, as OpenAI's API has it.
type message struct {
	Role       string     `json:"role"`
	Content    string     `json:"content"`
	ToolCalls  []toolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type toolCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// service is the world outside: a model that speaks OpenAI's API, streamed or not,
// and the tool it calls. The first message of the user says which run it is and
// how many steps that has ("run-7 steps=50"). It notes when each request came.
type service struct {
	*httptest.Server
	// delay is how long a model call takes; nil for no time. Set before use.
	delay time.Duration

	mu    sync.Mutex
	seen  map[string]*record // by run
	calls map[string]int     // executions of a tool call, by run and step
}

// of is the record of a run.
func (s *service) of(id string) *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[id]
}

// worked is when the last tool call of a run came.
func (s *service) worked(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[id].worked
}

// record is what the service saw of a run.
type record struct {
	asked  []time.Time // each model call, repeated ones included
	worked time.Time   // the last tool call
	done   chan struct{}
}

func newService(b *testing.B, delay time.Duration) *service {
	s := &service{delay: delay, seen: map[string]*record{}, calls: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.model)
	mux.HandleFunc("POST /tool", s.tool)
	s.Server = httptest.NewServer(mux)
	b.Cleanup(s.Close)
	return s
}

// run makes the first message of a run, and its record.
func (s *service) run(id string, steps int) (text string, r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r = &record{done: make(chan struct{})}
	s.seen[id] = r
	return fmt.Sprintf("%s steps=%d", id, steps), r
}

// times returns when model calls of a run came.
func (s *service) times(r *record) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), r.asked...)
}

func (s *service) model(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	var in struct {
		Messages []message `json:"messages"`
		Stream   bool      `json:"stream"`
	}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var id string
	var steps, step int
	for _, m := range in.Messages {
		switch m.Role {
		case "user":
			if _, err := fmt.Sscanf(m.Content, "%s steps=%d", &id, &steps); err != nil {
				http.Error(w, "not a run: "+m.Content, http.StatusBadRequest)
				return
			}
		case "tool":
			step++
		}
	}
	s.mu.Lock()
	r := s.seen[id]
	if r != nil {
		r.asked = append(r.asked, at)
	}
	s.mu.Unlock()
	if r == nil {
		http.Error(w, "no run "+id, http.StatusBadRequest)
		return
	}
	if s.delay > 0 {
		wait := time.NewTimer(s.delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-req.Context().Done():
			return
		}
	}
	answer := map[string]any{"role": "assistant", "content": "Done."}
	reason := "stop"
	if step < steps {
		answer["content"], reason = "", "tool_calls"
		answer["tool_calls"] = []map[string]any{{
			"index": 0, "id": fmt.Sprintf("call_%s_%d", id, step), "type": "function",
			"function": map[string]string{"name": "work", "arguments": fmt.Sprintf(`{"run":%q,"step":"%d"}`, id, step)},
		}}
	} else {
		s.mu.Lock()
		select {
		case <-r.done:
		default:
			close(r.done)
		}
		s.mu.Unlock()
	}
	choice := map[string]any{"index": 0, "finish_reason": reason}
	body := map[string]any{"id": "chatcmpl-1", "created": 1, "model": "peer", "choices": []any{choice}}
	usage := map[string]int{"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
	if !in.Stream {
		choice["message"], body["object"], body["usage"] = answer, "chat.completion", usage
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(body)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	choice["delta"], body["object"] = answer, "chat.completion.chunk"
	chunk, _ := json.Marshal(body)
	fmt.Fprintf(w, "data: %s\n\n", chunk)
	body["choices"], body["usage"] = []any{}, usage
	chunk, _ = json.Marshal(body)
	fmt.Fprintf(w, "data: %s\n\ndata: [DONE]\n\n", chunk)
}

func (s *service) tool(w http.ResponseWriter, req *http.Request) {
	var in struct{ Run, Step string }
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil || !strings.HasPrefix(in.Run, "run-") {
		http.Error(w, "not a call", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.calls[in.Run+"/"+in.Step]++
	if r := s.seen[in.Run]; r != nil {
		r.worked = time.Now()
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"result":"worked"}`)
}

// repeated is how many tool calls were executed more than once.
func (s *service) repeated() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.calls {
		if times > 1 {
			n++
		}
	}
	return n
}

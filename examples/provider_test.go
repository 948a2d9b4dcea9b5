package examples_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// providers stands in for the model providers of the examples, so that the
// files run as they are. It speaks OpenAI's two protocols in their wire format
// and refuses what no example may ask for.
type providers struct {
	mu       sync.Mutex
	requests []string // since the last call of take; guarded by mu
}

// credentials are the hosts that there are, and what each must be shown.
var credentials = map[string]string{
	"api.openai.com":      "Bearer of OPENAI_API_KEY",
	"api.mistral.ai":      "Bearer of MISTRAL_API_KEY",
	"gateway.example.com": "Bearer of GATEWAY_KEY",
	"localhost:11434":     "",
}

// stand makes p answer for http.DefaultClient, which is what models use.
func (p *providers) stand(t *testing.T) {
	before := http.DefaultClient.Transport
	http.DefaultClient.Transport = p
	t.Cleanup(func() { http.DefaultClient.Transport = before })
}

// RoundTrip implements [http.RoundTripper].
func (p *providers) RoundTrip(r *http.Request) (*http.Response, error) {
	want, known := credentials[r.URL.Host]
	if !known {
		return nil, fmt.Errorf("no example may ask %s", r.URL.Host)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if got := r.Header.Get("Authorization"); got != want && !(want == "" && got == "Bearer") {
		return reply(r, http.StatusUnauthorized, "application/json", `{"error":{"message":"wrong key","type":"invalid_request_error"}}`), nil
	}
	title := bytes.Contains(body, []byte("Write a title"))
	if !title {
		p.mu.Lock()
		p.requests = append(p.requests, fmt.Sprintf("%s %s %s", r.Method, r.URL, brief(body)))
		p.mu.Unlock()
	}
	text := "Hello from " + r.URL.Host + "."
	if title {
		text = "A title"
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/v1/chat/completions"):
		return reply(r, http.StatusOK, "text/event-stream", chat(text)), nil
	case strings.HasSuffix(r.URL.Path, "/v1/responses"):
		return reply(r, http.StatusOK, "text/event-stream", responses(text)), nil
	}
	return reply(r, http.StatusNotFound, "application/json", `{"error":{"message":"no such path"}}`), nil
}

// take returns the requests since the last call, without those for titles.
func (p *providers) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.requests
	p.requests = nil
	return out
}

func reply(r *http.Request, status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// brief is a request's body without what the conversation and the tools say,
// which other tests look at.
func brief(body []byte) string {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return string(body)
	}
	for _, key := range []string{"messages", "input", "instructions"} {
		delete(members, key)
	}
	var tools []struct {
		Name     string
		Function struct{ Name string }
	}
	if json.Unmarshal(members["tools"], &tools) == nil {
		var names []string
		for _, tool := range tools {
			names = append(names, tool.Name+tool.Function.Name)
		}
		slices.Sort(names)
		members["tools"], _ = json.Marshal(names)
	}
	out, err := json.Marshal(members)
	if err != nil {
		return string(body)
	}
	return string(out)
}

// chat is a stream of chat completions
// (https://platform.openai.com/docs/api-reference/chat-streaming).
func chat(text string) string {
	var b strings.Builder
	for word := range strings.SplitAfterSeq(text, " ") {
		fmt.Fprintf(&b, `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":%q},"finish_reason":null}]}`+"\n\n", word)
	}
	b.WriteString(`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}` + "\n\n" +
		"data: [DONE]\n\n")
	return b.String()
}

// responses is a stream of the responses API
// (https://platform.openai.com/docs/api-reference/responses-streaming).
func responses(text string) string {
	var b strings.Builder
	n := 0
	event := func(typ, members string) {
		fmt.Fprintf(&b, "event: %s\ndata: {\"type\":%q,\"sequence_number\":%d,%s}\n\n", typ, typ, n, members)
		n++
	}
	event("response.created", `"response":{"id":"r1","object":"response","status":"in_progress","model":"m","output":[]}`)
	item := func(status, content string) string {
		return fmt.Sprintf(`{"id":"m1","type":"message","status":%q,"role":"assistant","content":[%s]}`, status, content)
	}
	event("response.output_item.added", `"output_index":0,"item":`+item("in_progress", ""))
	for word := range strings.SplitAfterSeq(text, " ") {
		event("response.output_text.delta", fmt.Sprintf(`"item_id":"m1","output_index":0,"content_index":0,"delta":%q`, word))
	}
	whole := item("completed", fmt.Sprintf(`{"type":"output_text","text":%q,"annotations":[]}`, text))
	event("response.output_item.done", `"output_index":0,"item":`+whole)
	event("response.completed", `"response":{"id":"r1","object":"response","status":"completed","model":"m","output":[`+whole+
		`],"usage":{"input_tokens":9,"output_tokens":3,"total_tokens":12}}`)
	return b.String()
}

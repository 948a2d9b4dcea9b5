package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// talkerFile is an agent that says 200 numbered words, one every 5 ms.
const talkerFile = `version: "2"
agents:
  root:
    model: script
    description: Counts words.
    instruction: Count.
models:
  script:
    provider: scripted
    model: talker
    provider_opts:
      script:
        title: Words
        turns:
          - when: { matches: fail }
            say: Oh
            error: {code: model_auth, message: no key, after_words: 1}
          - delay: 5ms
            say: "%s"
`

// onceFile is an agent that may ask its model once and would do it twice.
const onceFile = `version: "2"
agents:
  root:
    model: script
    description: Stops.
    instruction: Think.
    max_iterations: 1
    toolsets: [{type: think}]
models:
  script:
    provider: scripted
    model: once
    provider_opts:
      script:
        title: Once
        turns:
          - when: { after_tool: think }
            say: Done.
          - call: [{name: think, arguments: {thought: "Hm."}}]
`

func numbered() string {
	var words []string
	for i := range 200 {
		words = append(words, fmt.Sprintf("w%04d", i))
	}
	return strings.Join(words, " ")
}

// slowFile is an agent that says a word every second, for a hundred of them.
const slowFile = `version: "2"
agents:
  root:
    model: script
    description: Takes its time.
    instruction: Count slowly.
models:
  script:
    provider: scripted
    model: slow
    provider_opts:
      script:
        title: Slow
        turns:
          - delay: 1s
            say: "%s"
`

const facadeKey = "first-key-of-acme-acme"

// startFacades runs everything with a talker beside the demo and one tenant.
func startFacades(t *testing.T) (base string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "talker.yaml"), fmt.Appendf(nil, talkerFile, numbered()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "slow.yaml"), fmt.Appendf(nil, slowFile, numbered()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "once.yaml"), []byte(onceFile), 0o600); err != nil {
		t.Fatal(err)
	}
	base, _ = start(t, filepath.Join(t.TempDir(), "data"), "HOLDFAST_AGENTS="+dir, "HOLDFAST_API_KEYS=acme:"+facadeKey+",other:another-key-of-other")
	return base
}

// cut breaks every answer off after some bytes, as a connection that is lost.
type cut struct {
	next  http.RoundTripper
	bytes int64
}

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err == nil {
		resp.Body = &cutBody{resp.Body, c.bytes}
	}
	return resp, err
}

var errCut = errors.New("the connection was lost")

type cutBody struct {
	io.ReadCloser
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		_ = b.Close()
		return 0, errCut
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func sdk(base, key string, opts ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{option.WithBaseURL(base + "/v1"), option.WithAPIKey(key)}, opts...)...)
}

func text(s string) responses.ResponseNewParamsInputUnion {
	return responses.ResponseNewParamsInputUnion{OfString: openai.String(s)}
}

// TestResponses: OpenAI's SDK streams a response, loses its connection, goes on
// where it was and has every event once; the response read later, and its stream
// from the beginning, say the same. It goes on in a conversation, forks it,
// approves a tool, cancels, and is refused what is not offered.
func TestResponses(t *testing.T) {
	base := startFacades(t)
	ctx := t.Context()
	c := sdk(base, facadeKey)
	lossy := sdk(base, facadeKey, option.WithHTTPClient(&http.Client{Transport: &cut{http.DefaultTransport, 20_000}}))

	stream := lossy.Responses.NewStreaming(ctx, responses.ResponseNewParams{Model: "talker", Input: text("count")})
	var got []string
	var said strings.Builder
	var id string
	var last int64
	parts := contentParts{}
	take := func(ev responses.ResponseStreamEventUnion) {
		if ev.SequenceNumber != int64(len(got)) {
			t.Fatalf("event %d has sequence_number %d: %s", len(got), ev.SequenceNumber, ev.RawJSON())
		}
		got, last = append(got, ev.RawJSON()), ev.SequenceNumber
		parts.check(t, ev)
		if ev.Type == "response.created" {
			id = ev.Response.ID
		}
		if ev.Type == "response.output_text.delta" {
			said.WriteString(ev.Delta)
		}
	}
	for stream.Next() {
		take(stream.Current())
	}
	if stream.Err() == nil || id == "" || said.Len() == 0 || said.Len() >= len(numbered()) {
		t.Fatalf("the stream was to break off in the middle: %v after %d events, %d bytes", stream.Err(), len(got), said.Len())
	}
	again := c.Responses.GetStreaming(ctx, id, responses.ResponseGetParams{StartingAfter: openai.Int(last)})
	var whole responses.Response
	for again.Next() {
		take(again.Current())
		whole = again.Current().Response
	}
	if err := again.Err(); err != nil {
		t.Fatal(err)
	}
	if said.String() != numbered() || whole.OutputText() != numbered() || whole.Status != "completed" {
		t.Errorf("status %q, deltas %q", whole.Status, said.String())
	}
	if whole.Usage.OutputTokens == 0 || whole.Usage.TotalTokens != whole.Usage.InputTokens+whole.Usage.OutputTokens {
		t.Errorf("usage: %s", whole.Usage.RawJSON())
	}
	later, err := c.Responses.Get(ctx, id, responses.ResponseGetParams{})
	if err != nil || later.RawJSON() != whole.RawJSON()+"\n" && later.RawJSON() != whole.RawJSON() {
		t.Errorf("read later (%v):\n%s\nwant\n%s", err, later.RawJSON(), whole.RawJSON())
	}
	var n int
	for all := c.Responses.GetStreaming(ctx, id, responses.ResponseGetParams{}); all.Next(); n++ {
		ev := all.Current()
		// The request's own answer also repeats what the request said.
		if ev.Type != "response.created" && ev.Type != "response.queued" && ev.Type != "response.in_progress" && (n >= len(got) || ev.RawJSON() != got[n]) {
			t.Fatalf("event %d of the stream read again: %s", n, ev.RawJSON())
		}
	}
	if n != len(got) {
		t.Errorf("%d events read again, want %d", n, len(got))
	}

	t.Run("the network cuts, again and again", func(t *testing.T) { overCutNetwork(t, base) })

	t.Run("it goes on in the session and in a fork of it", func(t *testing.T) {
		second, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "demo", Input: text("plan a trip"), PreviousResponseID: openai.String(id)})
		if err != nil {
			t.Fatal(err)
		}
		if second.Conversation.ID != whole.Conversation.ID || second.PreviousResponseID != id {
			t.Errorf("conversation %q, want %q", second.Conversation.ID, whole.Conversation.ID)
		}
		var kinds []string
		for _, item := range second.Output {
			kinds = append(kinds, item.Type)
			if call := item.AsMcpCall(); item.Type == "mcp_call" && (call.Name != "create_todos" || call.Output == "" || call.Status != "completed") {
				t.Errorf("call: %s", item.RawJSON())
			}
		}
		if got := strings.Join(kinds, " "); got != "reasoning message mcp_call message" {
			t.Errorf("output: %s", got)
		}
		branch, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "demo", Input: text("hello"), PreviousResponseID: openai.String(id)})
		if err != nil {
			t.Fatal(err)
		}
		if branch.Conversation.ID == whole.Conversation.ID {
			t.Error("a second answer to the same response is in the same session")
		}
		third, err := c.Responses.New(ctx, responses.ResponseNewParams{
			Input: text("hello"), Conversation: responses.ResponseNewParamsConversationUnion{OfString: openai.String(whole.Conversation.ID)},
		})
		if err != nil || third.Model != "demo" || third.Conversation.ID != whole.Conversation.ID {
			t.Errorf("in the conversation: %v %s", err, third.RawJSON())
		}
	})

	t.Run("a tool is approved", func(t *testing.T) {
		asked, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "demo", Input: text("remember the milk")})
		if err != nil {
			t.Fatal(err)
		}
		request := asked.Output[len(asked.Output)-1]
		if asked.Status != "completed" || request.Type != "mcp_approval_request" || request.Name != "add_memory" {
			t.Fatalf("status %q, last item %s", asked.Status, request.RawJSON())
		}
		_, err = c.Responses.New(ctx, responses.ResponseNewParams{Model: "demo", Input: text("and?"), PreviousResponseID: openai.String(asked.ID)})
		wantAPIError(t, err, http.StatusConflict, "previous_response_id", "conflict")
		yes := responses.ResponseNewParams{
			PreviousResponseID: openai.String(asked.ID),
			Input: responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
				responses.ResponseInputItemParamOfMcpApprovalResponse(request.ID, true),
			}},
		}
		for range 2 { // the same again is the same
			done, err := c.Responses.New(ctx, yes)
			if err != nil {
				t.Fatal(err)
			}
			if done.Status != "completed" || done.Output[0].Type != "mcp_call" || done.Output[0].AsMcpCall().ApprovalRequestID != request.ID || !strings.HasPrefix(done.OutputText(), "The tool said:") {
				t.Errorf("after the approval: %s", done.RawJSON())
			}
		}
		if still, err := c.Responses.Get(ctx, asked.ID, responses.ResponseGetParams{}); err != nil || still.Status != "completed" || len(still.Output) != len(asked.Output) {
			t.Errorf("the first response has changed: %v %s", err, still.RawJSON())
		}
	})

	t.Run("it waits for what OpenAI has no words for", func(t *testing.T) {
		r, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "once", Input: text("think")})
		if err != nil {
			t.Fatal(err)
		}
		var ours struct {
			Needs []struct{ Kind, Path string } `json:"holdfast_needs"`
		}
		if err := json.Unmarshal([]byte(r.RawJSON()), &ours); err != nil {
			t.Fatal(err)
		}
		if r.Status != "incomplete" || r.IncompleteDetails.Reason != "max_iterations" || len(ours.Needs) != 1 {
			t.Fatalf("a run that has used up its model calls: %s", r.RawJSON())
		}
		post(t, base+ours.Needs[0].Path, "", http.StatusOK, nil)
		rest, err := c.Responses.New(ctx, responses.ResponseNewParams{PreviousResponseID: openai.String(r.ID)})
		if err != nil || rest.Status != "completed" || rest.OutputText() != "Done." || rest.ID == r.ID {
			t.Errorf("what came after that: %v %s", err, rest.RawJSON())
		}
	})

	t.Run("in the background, and canceled", func(t *testing.T) {
		r, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "talker", Input: text("count"), Background: openai.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != "queued" && r.Status != "in_progress" {
			t.Errorf("status %q", r.Status)
		}
		gone, err := c.Responses.Cancel(ctx, r.ID)
		if err != nil || gone.Status != "cancelled" {
			t.Errorf("canceled: %v, %q", err, gone.Status)
		}
	})

	t.Run("what it was asked with, and its end", func(t *testing.T) { inputAndEnd(t, c, id) })

	t.Run("what is not offered is refused by name", func(t *testing.T) {
		for param, body := range map[string]string{
			"temperature": `{"model":"demo","input":"x","temperature":1}`,
			"tools":       `{"model":"demo","input":"x","tools":[{"type":"function","name":"f"}]}`,
			"store":       `{"model":"demo","input":"x","store":false}`,
			"no_such":     `{"model":"demo","input":"x","no_such":1}`,
		} {
			var answer struct {
				Error struct{ Param, Code, Message string }
			}
			post(t, base+"/v1/responses", body, http.StatusBadRequest, &answer)
			if answer.Error.Param != param || answer.Error.Code != "not_offered" || !strings.Contains(answer.Error.Message, param) {
				t.Errorf("%s: %+v", param, answer)
			}
		}
		_, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "nobody", Input: text("x")})
		wantAPIError(t, err, http.StatusNotFound, "model", "not_found")
		_, err = c.Responses.New(ctx, responses.ResponseNewParams{Model: "demo"})
		wantAPIError(t, err, http.StatusBadRequest, "input", "invalid")
		err = c.Post(ctx, "embeddings", map[string]string{"model": "demo"}, nil)
		wantAPIError(t, err, http.StatusNotFound, "", "not_found")
		other := sdk(base, "another-key-of-other")
		_, err = other.Responses.Get(ctx, id, responses.ResponseGetParams{})
		wantAPIError(t, err, http.StatusNotFound, "", "not_found")
		nobody := sdk(base, "no-key-of-anybody-at-all")
		_, err = nobody.Responses.Get(ctx, id, responses.ResponseGetParams{})
		wantAPIError(t, err, http.StatusUnauthorized, "", "unauthorized")
	})

	t.Run("chat", func(t *testing.T) { chat(t, base) })
}

// contentParts are the parts that a stream has opened: SDKs that put a response
// together fail on text for one that is not there.
type contentParts map[[2]int64]bool

func (p contentParts) check(t *testing.T, ev responses.ResponseStreamEventUnion) {
	t.Helper()
	at := [2]int64{ev.OutputIndex, ev.ContentIndex}
	switch ev.Type {
	case "response.content_part.added":
		p[at] = true
	case "response.output_text.delta", "response.output_text.done", "response.reasoning_text.delta", "response.reasoning_text.done", "response.content_part.done":
		if !p[at] {
			t.Errorf("%s for a part that is not there: %s", ev.Type, ev.RawJSON())
		}
	}
}

// overCutNetwork: a proxy resets every connection after some bytes. The SDK goes on
// behind the last event that it has, and has every event once.
func overCutNetwork(t *testing.T, base string) {
	proxy := cutter(t, strings.TrimPrefix(base, "http://"), 6_000)
	c := sdk("http://"+proxy, facadeKey, option.WithMaxRetries(0))
	parts, kinds, said, id, cuts := contentParts{}, map[string]bool{}, "", "", 0
	next := int64(0)
	stream := c.Responses.NewStreaming(t.Context(), responses.ResponseNewParams{Model: "demo", Input: text("plan a trip")})
	for {
		for stream.Next() {
			ev := stream.Current()
			if ev.SequenceNumber != next {
				t.Fatalf("event %d has sequence_number %d", next, ev.SequenceNumber)
			}
			next++
			kinds[ev.Type] = true
			parts.check(t, ev)
			if ev.Type == "response.created" {
				id = ev.Response.ID
			}
			if ev.Type == "response.completed" {
				said = ev.Response.OutputText()
			}
		}
		if stream.Err() == nil {
			break
		}
		if cuts++; id == "" || cuts > 100 {
			t.Fatalf("after %d cuts: %v", cuts, stream.Err())
		}
		stream = c.Responses.GetStreaming(t.Context(), id, responses.ResponseGetParams{StartingAfter: openai.Int(next - 1)})
	}
	if cuts == 0 || !kinds["response.reasoning_text.delta"] || !strings.HasPrefix(said, "Let me write that down.") {
		t.Errorf("%d cuts, %v, %q", cuts, kinds, said)
	}
}

// cutter is a proxy that resets each connection when the server has sent most
// bytes over it, and returns its address.
func cutter(t *testing.T, to string, most int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				return
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() {
				_, _ = io.CopyN(in, out, most)
				_ = in.(*net.TCPConn).SetLinger(0) // a reset, not an end
				_ = in.Close()
				_ = out.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// inputAndEnd: the input of a response is listed, and a response is deleted with
// its session, if that has no other.
func inputAndEnd(t *testing.T, c openai.Client, shared string) {
	ctx := t.Context()
	items := func(id string, p responses.InputItemListParams) (list []responses.ResponseItemUnion) {
		t.Helper()
		for page := c.Responses.InputItems.ListAutoPaging(ctx, id, p); ; {
			if !page.Next() {
				if page.Err() != nil {
					t.Fatal(page.Err())
				}
				return list
			}
			list = append(list, page.Current())
		}
	}
	asked, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "demo", Input: responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
		responses.ResponseInputItemParamOfMessage("remember the milk", responses.EasyInputMessageRoleUser),
		responses.ResponseInputItemParamOfMessage("and remember the bread", responses.EasyInputMessageRoleUser),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	request := asked.Output[len(asked.Output)-1].ID
	done, err := c.Responses.New(ctx, responses.ResponseNewParams{
		PreviousResponseID: openai.String(asked.ID),
		Input:              responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{responses.ResponseInputItemParamOfMcpApprovalResponse(request, false)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := items(asked.ID, responses.InputItemListParams{Order: "asc", Limit: openai.Int(1)}); len(got) != 2 || !strings.Contains(got[0].RawJSON(), `"text":"remember the milk"`) || got[1].Role != "user" {
		t.Errorf("the messages, page by page: %+v", got)
	}
	if got := items(asked.ID, responses.InputItemListParams{}); len(got) != 2 || !strings.Contains(got[1].RawJSON(), `"text":"remember the milk"`) {
		t.Errorf("the messages, newest first: %+v", got)
	}
	if got := items(done.ID, responses.InputItemListParams{}); len(got) != 1 || got[0].Type != "mcp_approval_response" || got[0].ApprovalRequestID != request || got[0].Approve {
		t.Errorf("the decision: %+v", got)
	}
	wantAPIError(t, c.Responses.Delete(ctx, shared), http.StatusConflict, "", "conflict")
	if err := c.Responses.Delete(ctx, done.ID); err != nil {
		t.Fatal(err)
	}
	_, err = c.Responses.Get(ctx, asked.ID, responses.ResponseGetParams{})
	wantAPIError(t, err, http.StatusNotFound, "", "not_found")
}

// chat: completions with and without a stream, in a session that goes on, and
// what a chat cannot say.
func chat(t *testing.T, base string) {
	ctx := t.Context()
	c := sdk(base, facadeKey)
	models, err := c.Models.List(ctx)
	if err != nil || len(models.Data) != 4 {
		t.Errorf("models: %v %+v", err, models)
	}
	var head *http.Response
	first := []openai.ChatCompletionMessageParamUnion{openai.UserMessage("plan a trip")}
	whole, err := c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: "demo", Messages: first}, option.WithResponseInto(&head))
	if err != nil {
		t.Fatal(err)
	}
	answer := whole.Choices[0].Message.Content
	if !strings.HasPrefix(answer, "Let me write that down.\n\nYour plan is") || whole.Choices[0].FinishReason != "stop" || whole.Usage.TotalTokens == 0 {
		t.Errorf("completion: %s", whole.RawJSON())
	}
	session := option.WithHeader("Holdfast-Session", head.Header.Get("Holdfast-Session"))
	second := append(first, openai.AssistantMessage(answer), openai.UserMessage("hello"))
	_, err = c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: "demo", Messages: second})
	wantAPIError(t, err, http.StatusBadRequest, "messages", "invalid")
	var said [2]string
	for i := range said { // the same messages again find the same answer
		stream := c.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
			Model: "demo", Messages: second, StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
		}, session)
		acc := openai.ChatCompletionAccumulator{}
		for stream.Next() {
			acc.AddChunk(stream.Current())
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if said[i] = acc.Choices[0].Message.Content; !strings.Contains(said[i], "You said: “hello”") || acc.Usage.TotalTokens == 0 {
			t.Errorf("stream %d: %q, usage %d", i, said[i], acc.Usage.TotalTokens)
		}
	}
	if said[0] != said[1] {
		t.Errorf("the answers differ: %q", said)
	}

	_, err = c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: "demo", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("remember the milk")}})
	wantAPIError(t, err, http.StatusConflict, "", "conflict")
	var api *openai.Error
	if errors.As(err, &api) && !strings.Contains(api.RawJSON(), "/decision") {
		t.Errorf("the refusal does not say where to decide: %s", api.RawJSON())
	}
	stream := c.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{Model: "talker", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("fail")}})
	for stream.Next() {
	}
	if stream.Err() == nil {
		t.Error("a run that failed looks like an answer")
	}
	_, err = c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: "demo", Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("x"), openai.UserMessage("y")}})
	wantAPIError(t, err, http.StatusBadRequest, "messages[0].role", "not_offered")
}

func wantAPIError(t *testing.T, err error, status int, param, code string) {
	t.Helper()
	var api *openai.Error
	if !errors.As(err, &api) || api.StatusCode != status || api.Param != param || api.Code != code {
		t.Errorf("error %v, want %d, param %q, code %q", err, status, param, code)
	}
}

// post is call with the key of the facades' tenant.
func post(t *testing.T, url, body string, want int, out any) {
	t.Helper()
	call(t, http.MethodPost, url, body, want, out, "Authorization", "Bearer "+facadeKey)
}

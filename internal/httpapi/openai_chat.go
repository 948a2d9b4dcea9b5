package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// chatParams and chatNeutral are the parameters of POST /v1/chat/completions, as
// those of the Responses API.
var (
	chatParams  = []string{"model", "messages", "stream", "stream_options"}
	chatNeutral = map[string][]string{
		"n": {"1"}, "parallel_tool_calls": {"true"}, "tool_choice": {`"auto"`}, "tools": {"[]"}, "modalities": {`["text"]`},
		"service_tier": {`"auto"`, `"default"`}, "response_format": {`{"type":"text"}`}, "store": {"false"}, "logprobs": {"false"},
	}
)

// sessionHeader names the session of a chat, in requests and in answers.
const sessionHeader = "Holdfast-Session"

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	model    string
	messages []holdfast.Message
	// answered says that the messages have answers of the assistant among them.
	answered bool
	stream   bool
	usage    bool
}

func parseChatRequest(body []byte) (q chatRequest, err error) {
	p, err := readParams(body, chatParams, chatNeutral)
	if err != nil {
		return q, err
	}
	var list []json.RawMessage
	var options map[string]json.RawMessage
	if err := errors.Join(p.get("model", &q.model), p.get("messages", &list), p.get("stream", &q.stream), p.get("stream_options", &options)); err != nil {
		return q, err
	}
	for name, v := range options {
		switch {
		case name == "include_usage" && json.Unmarshal(v, &q.usage) == nil:
		case name == "include_obfuscation" && string(v) == "false":
		default:
			return q, notOfferedParam("stream_options."+name, "only include_usage is offered")
		}
	}
	if q.model == "" {
		return q, badParam("model", "missing; want the name of an agent (GET /v1/models)")
	}
	for i, raw := range list {
		at := fmt.Sprintf("messages[%d]", i)
		var m struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			return q, badParam(at, "want an object with role and content")
		}
		switch m.Role {
		case "user":
			if err := onlyMembers(at, raw, "role", "content"); err != nil {
				return q, err
			}
			u, err := openAIContent(at+".content", m.Content)
			if err != nil {
				return q, err
			}
			q.messages = append(q.messages, u)
		case "assistant":
			q.answered = true
		case "system", "developer":
			return q, notOfferedParam(at+".role", "%q is not offered: instructions are in the agent's file", m.Role)
		case "tool", "function":
			return q, notOfferedParam(at+".role", "%q is not offered: an agent calls its own tools", m.Role)
		default:
			return q, badParam(at+".role", "%q is no role", m.Role)
		}
	}
	if len(q.messages) == 0 {
		return q, badParam("messages", "want a message of the user")
	}
	return q, nil
}

// createChat answers POST /v1/chat/completions. The session of a chat is named by
// a header. What the user has said in it is not said again, and the answers that
// the client sends along are passed over: the session has its own. The same
// messages again find the run that had them.
func (a *API) createChat(w http.ResponseWriter, r *http.Request) error {
	if err := wantJSON(r); err != nil {
		return err
	}
	ctx := r.Context()
	body, err := readBody(w, r, a.cfg.MaxBody)
	if err != nil {
		return err
	}
	q, err := parseChatRequest(body)
	if err != nil {
		return err
	}
	run := runRequest{
		ref: holdfast.SessionRef{Tenant: tenantOf(ctx), Session: r.Header.Get(sessionHeader)}, messages: q.messages,
		history: true,
	}
	var done func()
	run.key, run.fresh, done = a.retries.keyOf(r, body)
	defer done()
	if err := checkKey(run.key); err != nil {
		return err
	}
	info, err := a.usableAgent(ctx, q.model)
	if err != nil {
		return &paramError{"model", err}
	}
	run.agent = info.Name
	switch {
	case run.ref.Session != "":
		if err := run.ref.Validate(); err != nil {
			return &paramError{sessionHeader, err}
		}
		if err := a.ensure(ctx, run.ref); err != nil {
			return &paramError{sessionHeader, err}
		}
	case q.answered:
		return badParam("messages", "a conversation goes on in its session, where the agent's own answers are: send the header %s, which came with the first answer, or one id of your own for each conversation from the beginning", sessionHeader)
	default:
		v, _, err := a.createOnce(ctx, "", run.key, &holdfast.SessionCreatedEvent{Agent: info.Name})
		if err != nil {
			return err
		}
		run.ref = v.Info.Session
	}
	w.Header().Set(sessionHeader, run.ref.Session)
	b, err := a.begin(ctx, run)
	if err != nil {
		return err
	}
	f := &chatFold{usage: q.usage, model: q.model, id: "chatcmpl-" + b.run, created: time.Now().Unix()}
	f.sink = &partSink{part: b.part(), session: run.ref.Session, tell: f.tell}
	if !q.stream {
		if err := a.await(w, ctx, b.ref, b.after, f.sink); err != nil {
			return &startedError{err}
		}
		if err := f.failure(); err != nil {
			return &startedError{err}
		}
		writeJSON(w, http.StatusOK, "application/json", f.whole())
		return nil
	}
	_, release, err := a.hub.open(ctx, b.ref)
	if err != nil {
		return &startedError{err}
	}
	defer release()
	if f.sink.wire, err = a.startWire(w, typeSSE, beatSSE); err != nil {
		a.logError(ctx, "a stream could not begin", err)
		return nil
	}
	a.streamed(ctx, a.follow(ctx, b.ref, b.after, f.sink))
	return nil
}

// chatFold makes a completion, or the chunks of one, from the log: what the
// outermost agent says, its messages with an empty line between them.
type chatFold struct {
	sink    *partSink
	usage   bool
	model   string
	id      string
	created int64

	text strings.Builder
	// from is where in text the message of the model call under way begins.
	from    int
	talking bool
	broken  bool // what was sent cannot be taken back
	began   bool
}

type (
	chatChunk struct {
		ID      string       `json:"id"`
		Object  string       `json:"object"`
		Created int64        `json:"created"`
		Model   string       `json:"model"`
		Choices []chatChoice `json:"choices"`
		Usage   *chatUsage   `json:"usage,omitempty"`
	}
	chatChoice struct {
		Index        int          `json:"index"`
		Message      *chatMessage `json:"message,omitempty"`
		Delta        *chatDelta   `json:"delta,omitempty"`
		Logprobs     *struct{}    `json:"logprobs"`
		FinishReason *string      `json:"finish_reason"`
	}
	chatMessage struct {
		Role    string  `json:"role"`
		Content string  `json:"content"`
		Refusal *string `json:"refusal"`
	}
	chatDelta struct {
		Role    string  `json:"role,omitempty"`
		Content *string `json:"content,omitempty"`
	}
	chatUsage struct {
		PromptTokens            int64         `json:"prompt_tokens"`
		PromptTokensDetails     inputDetails  `json:"prompt_tokens_details"`
		CompletionTokens        int64         `json:"completion_tokens"`
		CompletionTokensDetails outputDetails `json:"completion_tokens_details"`
		TotalTokens             int64         `json:"total_tokens"`
	}
)

// failure returns why there is no completion, nil if there is one.
func (f *chatFold) failure() error {
	p := f.sink.part
	switch {
	case f.broken:
		return holdfast.Errorf(holdfast.CodeUnavailable, "the answer broke off and is being given again; send the same messages with the header %s: %s", sessionHeader, f.sink.session)
	case !p.finished:
		n := p.needs[0]
		return &needsError{p.needs, holdfast.Errorf(holdfast.CodeConflict, "the run waits for somebody: %s Then send the same messages again with the header %s: %s", n.Message, sessionHeader, f.sink.session)}
	case p.reason == "max_iterations":
		return nil
	}
	return p.err()
}

func (f *chatFold) finish() *string {
	reason := "stop"
	if f.sink.part.reason == "max_iterations" {
		reason = "length"
	}
	return &reason
}

func (f *chatFold) tokens() *chatUsage {
	u := newOpenAIUsage(f.sink.part.usage)
	return &chatUsage{u.InputTokens, u.InputTokensDetails, u.OutputTokens, u.OutputTokensDetails, u.TotalTokens}
}

// whole is the completion in one piece.
func (f *chatFold) whole() chatChunk {
	return chatChunk{
		ID: f.id, Object: "chat.completion", Created: f.created, Model: f.model, Usage: f.tokens(),
		Choices: []chatChoice{{Message: &chatMessage{Role: "assistant", Content: f.text.String()}, FinishReason: f.finish()}},
	}
}

// tell folds an event of the part.
func (f *chatFold) tell(t told, _ *item) error {
	if t.outer {
		switch ev := t.event.(type) {
		case *holdfast.AgentChoiceEvent:
			if err := f.said(ev.Content); err != nil {
				return err
			}
		case *holdfast.ModelCallFinishedEvent:
			f.talking = f.talking && ev.Purpose != ""
		case *holdfast.ModelCallVoidedEvent:
			if f.talking && f.sink.wire != nil {
				f.broken, f.sink.part.ended = true, true
			}
			kept := f.text.String()[:f.from]
			f.text.Reset()
			f.text.WriteString(kept)
			f.talking = false
		}
	}
	if f.sink.wire == nil || !f.sink.part.ended {
		return nil
	}
	if err := f.failure(); err != nil {
		_, failure := openAIFailureOf(err)
		return f.data(openAIError{failure})
	}
	if err := f.chunk(chatChoice{Delta: &chatDelta{}, FinishReason: f.finish()}); err != nil {
		return err
	}
	if f.usage {
		if err := f.data(chatChunk{ID: f.id, Object: "chat.completion.chunk", Created: f.created, Model: f.model, Choices: []chatChoice{}, Usage: f.tokens()}); err != nil {
			return err
		}
	}
	return f.sink.wire.write([]byte("data: [DONE]\n\n"))
}

// said adds a delta of text.
func (f *chatFold) said(delta string) error {
	if !f.talking {
		if f.from = f.text.Len(); f.from > 0 {
			delta = "\n\n" + delta
		}
		f.talking = true
	}
	f.text.WriteString(delta)
	if f.sink.wire == nil {
		return nil
	}
	d := &chatDelta{Content: &delta}
	if !f.began {
		f.began, d.Role = true, "assistant"
	}
	return f.chunk(chatChoice{Delta: d})
}

func (f *chatFold) chunk(c chatChoice) error {
	return f.data(chatChunk{ID: f.id, Object: "chat.completion.chunk", Created: f.created, Model: f.model, Choices: []chatChoice{c}})
}

// data sends one event without a name.
func (f *chatFold) data(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return f.sink.wire.write(slices.Concat([]byte("data: "), data, []byte("\n\n")))
}

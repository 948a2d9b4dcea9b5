package httpapi

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// responseFold makes a response and the events of its stream from the log. Both
// are a function of the log and of the id alone: the event with a certain
// sequence_number is the same whenever and wherever it is asked for, which is why
// a stream can be resumed without an expiry.
type responseFold struct {
	id   responseID
	sink *partSink
	// background, previous and metadata are what the request said; they are in its
	// own answer.
	background *bool
	previous   *string
	metadata   map[string]string

	next   int64 // sequence_number of the next event
	behind int64 // events up to this one are not wanted, -1 for all
	buf    []byte

	began  bool
	output []any
	// talk and think are what the agent is saying, with its place in output; -1 for
	// nothing.
	talk, think         int
	talkText, thinkText strings.Builder
	calls               map[string]int // tool calls that are open, by id
	approved            map[string]bool
}

// newResponseFold returns the fold of a response; it is the sink's tell.
func newResponseFold(id responseID, command string) *responseFold {
	f := &responseFold{id: id, behind: -1, talk: -1, think: -1, calls: map[string]int{}, approved: map[string]bool{}, output: []any{}}
	p := newPart(id.run, id.from)
	p.command = command
	f.sink = &partSink{part: p, session: id.session, tell: f.tell}
	return f
}

// response returns the response as of the last event.
func (f *responseFold) response() *openAIResponse {
	p := f.sink.part
	f.fill()
	id := f.id
	if p.run != "" {
		id.run = p.run
	}
	r := &openAIResponse{
		ID: id.String(), Object: "response", CreatedAt: seconds(p.created), Status: responseQueued, Background: f.background,
		Model: plainName(p.agent), Output: slices.Clone(f.output), ParallelToolCalls: true, PreviousResponseID: f.previous,
		Conversation: conversation{id.session}, ToolChoice: "auto", Tools: []any{}, Metadata: f.metadata, Run: id.run,
	}
	if r.Metadata == nil {
		r.Metadata = map[string]string{}
	}
	if p.begun {
		r.Status = responseInProgress
	}
	if !p.ended {
		return r
	}
	at := seconds(p.closed)
	r.Usage = newOpenAIUsage(p.usage)
	switch {
	case p.only(needApproval):
		r.Status, r.CompletedAt = responseCompleted, &at
	case !p.finished:
		r.Status, r.Needs = responseIncomplete, p.needs
		kinds := map[string]string{needAuthorization: "authorization_required", needInput: "input_required", needIterations: "max_iterations", needApproval: "approval_required"}
		i := slices.IndexFunc(p.needs, func(n wanted) bool { return n.Kind != needApproval })
		r.IncompleteDetails = &incomplete{kinds[p.needs[i].Kind]}
	case p.reason == "stop":
		r.Status, r.CompletedAt = responseCompleted, &at
	case p.reason == "canceled" || p.reason == "rolled_back":
		r.Status = responseCancelled
	case p.reason == "max_iterations" || p.reason == "rejected":
		r.Status, r.IncompleteDetails = responseIncomplete, &incomplete{p.reason}
	default:
		err := p.err()
		r.Status = responseFailed
		r.Error = &responseError{"server_error", holdfast.PublicMessage(err)}
		if holdfast.CodeOf(err) == holdfast.CodeModelRate {
			r.Error.Code = "rate_limit_exceeded"
		}
	}
	return r
}

// emit gives the next event to the stream.
func (f *responseFold) emit(ev responseEvent) error {
	ev.Sequence = f.next
	f.next++
	if f.sink.wire == nil || ev.Sequence <= f.behind {
		return nil
	}
	data, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	f.buf = append(f.buf[:0], "event: "...)
	f.buf = append(f.buf, ev.Type...)
	f.buf = append(f.buf, "\ndata: "...)
	f.buf = append(f.buf, data...)
	f.buf = append(f.buf, "\n\n"...)
	return f.sink.wire.write(f.buf)
}

// emitAll gives events to the stream, in order.
func (f *responseFold) emitAll(evs ...responseEvent) error {
	for _, ev := range evs {
		if err := f.emit(ev); err != nil {
			return err
		}
	}
	return nil
}

// whole is an event with the response in it.
func (f *responseFold) whole(typ string) responseEvent {
	return responseEvent{Type: typ, Response: f.response()}
}

// tell folds an event of the part.
func (f *responseFold) tell(t told, it *item) error {
	p := f.sink.part
	if !f.began {
		f.began = true
		evs := []responseEvent{f.whole("response.created")}
		if p.begun {
			evs = append(evs, f.whole("response.in_progress"))
		} else {
			evs = append(evs, f.whole("response.queued"))
		}
		if err := f.emitAll(evs...); err != nil {
			return err
		}
	} else if it.typ == holdfast.TypeRunStarted {
		if err := f.emit(f.whole("response.in_progress")); err != nil {
			return err
		}
	}
	if t.outer {
		if err := f.said(t.event, it); err != nil {
			return err
		}
	}
	if p.ended {
		return f.end()
	}
	return nil
}

// said folds what the outermost agent did.
func (f *responseFold) said(ev holdfast.Event, it *item) error {
	switch ev := ev.(type) {
	case *holdfast.AgentChoiceEvent:
		return f.text(ev.Content, it)
	case *holdfast.AgentChoiceReasoningEvent:
		return f.reasoning(ev.Content, it)
	case *holdfast.ModelCallFinishedEvent:
		if ev.Purpose != "" {
			return nil
		}
		if ev.FinishReason == "error" || ev.FinishReason == "canceled" {
			return f.quiet(responseIncomplete)
		}
		return f.quiet(responseCompleted)
	case *holdfast.ModelCallVoidedEvent:
		f.void()
		return f.quiet(responseIncomplete)
	case *holdfast.ToolCallDecidedEvent:
		f.approved[ev.ToolCallID] = true
	case *holdfast.ToolCallEvent:
		return f.call(ev.ToolCall, it)
	case *holdfast.ToolCallResponseEvent:
		return f.answer(ev, it)
	}
	return nil
}

// add opens an item and returns its place.
func (f *responseFold) add(item any) (int, error) {
	i := len(f.output)
	f.output = append(f.output, item)
	return i, f.emit(responseEvent{Type: "response.output_item.added", OutputIndex: &i, Item: item})
}

func itemID(kind string, it *item) string {
	return kind + "_" + it.run + "_" + strconv.FormatUint(it.seq, 10)
}

var zero = 0

// text adds to the message that is being said.
func (f *responseFold) text(delta string, it *item) error {
	if f.think >= 0 {
		if err := f.thought(responseCompleted); err != nil {
			return err
		}
	}
	if f.talk < 0 {
		m := messageItem{ID: itemID("msg", it), Type: "message", Status: responseInProgress, Role: "assistant", Content: []messageText{}}
		i, err := f.add(m)
		if err != nil {
			return err
		}
		f.talk = i
		f.talkText.Reset()
		if err := f.emit(responseEvent{Type: "response.content_part.added", OutputIndex: &i, ContentIndex: &zero, ItemID: m.ID, Part: messageText{"output_text", "", []any{}}}); err != nil {
			return err
		}
	}
	i := f.talk
	f.talkText.WriteString(delta)
	return f.emit(responseEvent{Type: "response.output_text.delta", OutputIndex: &i, ContentIndex: &zero, ItemID: f.output[i].(messageItem).ID, Delta: &delta, Logprobs: &[]any{}})
}

// reasoning adds to what the model thinks aloud.
func (f *responseFold) reasoning(delta string, it *item) error {
	if f.think < 0 {
		r := reasoningItem{ID: itemID("rs", it), Type: "reasoning", Status: responseInProgress, Summary: []any{}, Content: []reasoningText{}}
		i, err := f.add(r)
		if err != nil {
			return err
		}
		f.think = i
		f.thinkText.Reset()
		// SDKs that put a response together want the part before what is in it.
		if err := f.emit(responseEvent{Type: "response.content_part.added", OutputIndex: &i, ContentIndex: &zero, ItemID: r.ID, Part: reasoningText{"reasoning_text", ""}}); err != nil {
			return err
		}
	}
	i := f.think
	f.thinkText.WriteString(delta)
	return f.emit(responseEvent{Type: "response.reasoning_text.delta", OutputIndex: &i, ContentIndex: &zero, ItemID: f.output[i].(reasoningItem).ID, Delta: &delta})
}

// void takes back what a model call said that broke off. What was sent cannot be
// taken back: the item ends as incomplete and has no content.
func (f *responseFold) void() {
	f.talkText.Reset()
	f.thinkText.Reset()
}

// fill puts what is being said into the output.
func (f *responseFold) fill() {
	if i := f.talk; i >= 0 && f.talkText.Len() > 0 {
		m := f.output[i].(messageItem)
		m.Content = []messageText{{"output_text", f.talkText.String(), []any{}}}
		f.output[i] = m
	}
	if i := f.think; i >= 0 && f.thinkText.Len() > 0 {
		r := f.output[i].(reasoningItem)
		r.Content = []reasoningText{{"reasoning_text", f.thinkText.String()}}
		f.output[i] = r
	}
}

// quiet closes what the agent was saying.
func (f *responseFold) quiet(status string) error {
	if err := f.thought(status); err != nil {
		return err
	}
	i := f.talk
	if i < 0 {
		return nil
	}
	f.fill()
	f.talk = -1
	m := f.output[i].(messageItem)
	m.Status = status
	f.output[i] = m
	if len(m.Content) > 0 {
		text := m.Content[0].Text
		err := f.emitAll(
			responseEvent{Type: "response.output_text.done", OutputIndex: &i, ContentIndex: &zero, ItemID: m.ID, Text: &text, Logprobs: &[]any{}},
			responseEvent{Type: "response.content_part.done", OutputIndex: &i, ContentIndex: &zero, ItemID: m.ID, Part: m.Content[0]})
		if err != nil {
			return err
		}
	}
	return f.emit(responseEvent{Type: "response.output_item.done", OutputIndex: &i, Item: m})
}

// thought closes what the model was thinking.
func (f *responseFold) thought(status string) error {
	i := f.think
	if i < 0 {
		return nil
	}
	f.fill()
	f.think = -1
	r := f.output[i].(reasoningItem)
	r.Status = status
	f.output[i] = r
	if len(r.Content) > 0 {
		text := r.Content[0].Text
		err := f.emitAll(
			responseEvent{Type: "response.reasoning_text.done", OutputIndex: &i, ContentIndex: &zero, ItemID: r.ID, Text: &text},
			responseEvent{Type: "response.content_part.done", OutputIndex: &i, ContentIndex: &zero, ItemID: r.ID, Part: r.Content[0]})
		if err != nil {
			return err
		}
	}
	return f.emit(responseEvent{Type: "response.output_item.done", OutputIndex: &i, Item: r})
}

// call opens a tool call that is about to run. One that runs again after a crash
// is the same.
func (f *responseFold) call(c holdfast.ToolCall, it *item) error {
	if _, open := f.calls[c.ID]; open {
		return nil
	}
	item := callItem{ID: "mcp_" + c.ID, Type: "mcp_call", Status: responseInProgress, ServerLabel: it.agent, Name: c.Function.Name}
	if f.approved[c.ID] {
		id := approvalPrefix + c.ID
		item.ApprovalRequestID = &id
	}
	i, err := f.add(item)
	if err != nil {
		return err
	}
	item.Arguments = c.Function.Arguments
	f.output[i], f.calls[c.ID] = item, i
	return f.emitAll(
		responseEvent{Type: "response.mcp_call.in_progress", OutputIndex: &i, ItemID: item.ID},
		responseEvent{Type: "response.mcp_call_arguments.delta", OutputIndex: &i, ItemID: item.ID, Delta: &item.Arguments},
		responseEvent{Type: "response.mcp_call_arguments.done", OutputIndex: &i, ItemID: item.ID, Arguments: &item.Arguments})
}

// answer closes a tool call.
func (f *responseFold) answer(ev *holdfast.ToolCallResponseEvent, it *item) error {
	if _, open := f.calls[ev.ToolCallID]; !open { // it was rejected, or began before this part
		c := ev.ToolCall
		c.ID = ev.ToolCallID
		if err := f.call(c, it); err != nil {
			return err
		}
	}
	i := f.calls[ev.ToolCallID]
	delete(f.calls, ev.ToolCallID)
	item := f.output[i].(callItem)
	typ := "response.mcp_call.completed"
	if item.Status = responseCompleted; ev.Result.IsError {
		item.Status, typ = responseFailed, "response.mcp_call.failed"
		item.Error = &callError{"mcp_tool_execution_error", []reasoningText{{"text", ev.Response}}}
	} else {
		item.Output = &ev.Response
	}
	f.output[i] = item
	return f.emitAll(
		responseEvent{Type: typ, OutputIndex: &i, ItemID: item.ID},
		responseEvent{Type: "response.output_item.done", OutputIndex: &i, Item: item})
}

// end closes the response.
func (f *responseFold) end() error {
	if err := f.quiet(responseIncomplete); err != nil {
		return err
	}
	for _, n := range f.sink.part.needs {
		if n.Kind != needApproval {
			continue
		}
		item := approvalItem{ID: approvalPrefix + n.ID, Type: "mcp_approval_request", ServerLabel: n.agent, Name: n.call.Function.Name, Arguments: n.call.Function.Arguments}
		i, err := f.add(item)
		if err != nil {
			return err
		}
		if err := f.emit(responseEvent{Type: "response.output_item.done", OutputIndex: &i, Item: item}); err != nil {
			return err
		}
	}
	last := f.whole("response.incomplete") // of a canceled response the status says so
	switch last.Response.Status {
	case responseCompleted, responseFailed:
		last.Type = "response." + last.Response.Status
	}
	return f.emit(last)
}

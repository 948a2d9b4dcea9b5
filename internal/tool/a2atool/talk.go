package a2atool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/a2a"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// talk is one message to the agent and what came of it.
type talk struct {
	*agent
	wire     *wire
	progress func(string) // may be nil

	task    a2a.TaskID // "" until the agent made one
	context string
	state   a2a.TaskState // "" if the agent answered with a message
	answer  *a2a.Message  // the agent's last words
	// artifacts are what the task made, in the order in which they began.
	artifacts []*a2a.Artifact
	size      int // bytes of artifacts
}

// done reports whether the agent has nothing more to say by itself.
func (t *talk) done() bool {
	return t.state == "" && t.answer != nil || t.state.Terminal() ||
		t.state == a2a.TaskStateInputRequired || t.state == a2a.TaskStateAuthRequired
}

// run sends the message and waits for the end of what it begins.
func (t *talk) run(ctx context.Context, m *a2a.Message) error {
	blocking := true
	params := &a2a.MessageSendParams{Message: m, Config: &a2a.MessageSendConfig{
		AcceptedOutputModes: []string{"text/plain", "application/json"}, Blocking: &blocking,
	}}
	if !t.streams {
		event, err := t.wire.ask(ctx, t.peer, opSend, params)
		if err != nil {
			return err
		}
		if err := t.take(event); err != nil {
			return err
		}
		return t.poll(ctx)
	}
	first := true
	for event, err := range t.wire.stream(ctx, t.peer, params) {
		if err == nil {
			err = t.take(event)
		}
		// A stream of 1.0 begins with the task as it is (section 3.1.2): one that is
		// answered may still say that it waits.
		if _, whole := event.(*a2a.Task); first && whole && m.TaskID != "" && !t.state.Terminal() {
			t.state, t.answer = a2a.TaskStateWorking, nil
		}
		first = false
		var refused *rpcError
		switch {
		case err == nil:
		case t.task == "" || ctx.Err() != nil || errors.As(err, &refused) || errors.Is(err, errTooLong):
			return err
		default:
			return t.poll(ctx) // the stream broke, the task goes on
		}
		if t.done() {
			return nil
		}
	}
	return t.poll(ctx)
}

// poll asks for the task until it has ended.
func (t *talk) poll(ctx context.Context) error {
	for wait := minPoll; !t.done(); wait = min(2*wait, maxPoll) {
		if t.task == "" {
			return errors.New("the agent ended without an answer")
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		event, err := t.wire.ask(ctx, t.peer, opGet, &a2a.TaskQueryParams{ID: t.task})
		if err != nil {
			return err
		}
		if err := t.take(event); err != nil {
			return err
		}
	}
	return nil
}

// cancel tells the agent that nobody waits for the task any more. Whether it
// listens does not matter here.
func (t *talk) cancel(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	_, _ = t.wire.ask(ctx, t.peer, opCancel, &a2a.TaskIDParams{ID: t.task})
}

// take folds an event into what is known.
func (t *talk) take(event a2a.Event) error {
	info := event.TaskInfo()
	if info.ContextID != "" {
		t.context = info.ContextID
	}
	switch e := event.(type) {
	case *a2a.Message:
		t.answer, t.state = e, ""
		t.report(e.Parts)
		return nil
	case *a2a.Task:
		t.task, t.size, t.artifacts = e.ID, 0, nil
		for _, a := range e.Artifacts {
			if err := t.artifact(a, false); err != nil {
				return err
			}
		}
		t.status(e.Status)
	case *a2a.TaskStatusUpdateEvent:
		t.task = e.TaskID
		t.status(e.Status)
	case *a2a.TaskArtifactUpdateEvent:
		t.task = e.TaskID
		if e.Artifact == nil {
			return nil
		}
		t.report(e.Artifact.Parts)
		return t.artifact(e.Artifact, e.Append)
	}
	return nil
}

func (t *talk) status(s a2a.TaskStatus) {
	t.state = s.State
	if s.Message != nil {
		t.answer = s.Message
		t.report(s.Message.Parts)
	}
}

// artifact adds a part of the answer. All together are bounded: an agent could
// send for ever.
func (t *talk) artifact(a *a2a.Artifact, more bool) error {
	if a == nil {
		return nil
	}
	for _, p := range a.Parts {
		t.size += len(partText(p)) + 1
	}
	if t.size > MaxMessage {
		return errTooLong
	}
	i := slices.IndexFunc(t.artifacts, func(have *a2a.Artifact) bool { return have.ID == a.ID })
	switch {
	case i < 0:
		t.artifacts = append(t.artifacts, a)
	case more:
		t.artifacts[i].Parts = append(t.artifacts[i].Parts, a.Parts...)
	default:
		t.artifacts[i] = a
	}
	return nil
}

// report hands out what the agent says while it works.
func (t *talk) report(parts a2a.ContentParts) {
	if text := partsText(parts, ""); t.progress != nil && text != "" {
		t.progress(tool.Bound(text))
	}
}

// result is what the model reads.
func (t *talk) result() tool.Result {
	var paragraphs []string
	if t.answer != nil {
		paragraphs = append(paragraphs, partsText(t.answer.Parts, "\n"))
	}
	for _, a := range t.artifacts {
		text := partsText(a.Parts, "")
		if a.Name != "" && len(t.artifacts) > 1 {
			text = a.Name + ":\n" + text
		}
		paragraphs = append(paragraphs, text)
	}
	paragraphs = slices.DeleteFunc(paragraphs, func(s string) bool { return strings.TrimSpace(s) == "" })
	text := strings.Join(paragraphs, "\n\n")
	note := ""
	switch t.state {
	case a2a.TaskStateInputRequired:
		note = fmt.Sprintf("[The agent waits for an answer. Give it by calling this tool again with task_id %q.]", t.task)
	case a2a.TaskStateAuthRequired:
		note = "[The agent needs an authorization that it did not get, and stopped.]"
	case a2a.TaskStateFailed, a2a.TaskStateRejected, a2a.TaskStateCanceled:
		note = fmt.Sprintf("[The agent's task is %s.]", t.state)
	default:
		if text == "" {
			note = "The agent ended and said nothing."
		}
	}
	failed := note != "" && t.state != a2a.TaskStateInputRequired && t.state != a2a.TaskStateCompleted && t.state != ""
	// The note must survive a text that is cut.
	text = tool.BoundTo(text, tool.MaxOutput-len(note)-1)
	return tool.Result{Output: strings.Trim(text+"\n"+note, "\n"), IsError: failed, Meta: t.meta()}
}

// meta gives clients the artifacts whole, unless they are too large.
func (t *talk) meta() json.RawMessage {
	if len(t.artifacts) == 0 || t.size > tool.MaxOutput {
		return nil
	}
	raw, err := json.Marshal(struct {
		Artifacts []*a2a.Artifact `json:"artifacts"`
	}{t.artifacts})
	if err != nil {
		return nil // for clients alone; the model has the text
	}
	return raw
}

func partsText(parts a2a.ContentParts, between string) string {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = partText(p)
	}
	return strings.Join(texts, between)
}

func partText(p a2a.Part) string {
	switch p := p.(type) {
	case a2a.TextPart:
		return p.Text
	case a2a.DataPart:
		raw, err := json.Marshal(p.Data)
		if err != nil {
			return "[data that cannot be read]"
		}
		return string(raw)
	case a2a.FilePart:
		switch f := p.File.(type) {
		case a2a.FileURI:
			return fmt.Sprintf("[file %s: %s]", f.Name, f.URI)
		case a2a.FileBytes:
			return fmt.Sprintf("[file %s, %s, %d bytes]", f.Name, f.MimeType, len(strings.TrimRight(f.Bytes, "="))*3/4)
		}
	}
	return "[a part that cannot be read]"
}

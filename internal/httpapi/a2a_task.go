package httpapi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/a2a"

	holdfast "github.com/holdfast-run/holdfast"
)

// a2aTask folds a run into a task.
type a2aTask struct {
	sink    *partSink
	session string
	// yield, if not nil, is given what the stream says.
	yield func(a2a.Event) error

	artifacts []*a2a.Artifact
	talking   bool
	text      strings.Builder // of the last artifact, while the agent talks
	// history are the messages of the user.
	history []*a2a.Message
	begun   bool
	// state is what the stream has said last; moved is the task's own, since then.
	state, moved a2a.TaskState
	since        time.Time
	// historyLength bounds the history of the task with which a stream begins.
	historyLength *int
}

func newA2ATask(p *part, session string) *a2aTask {
	t := &a2aTask{session: session}
	t.sink = &partSink{part: p, session: session, tell: t.tell}
	return t
}

// TaskInfo implements a2a.TaskInfoProvider.
func (t *a2aTask) TaskInfo() a2a.TaskInfo {
	return a2a.TaskInfo{TaskID: taskID(t.session, t.sink.part.run), ContextID: t.session}
}

// status is where the task stands.
func (t *a2aTask) status() a2a.TaskStatus {
	p := t.sink.part
	st := a2a.TaskStatus{State: a2a.TaskStateSubmitted}
	say := func(parts ...a2a.Part) {
		info := t.TaskInfo()
		st.Message = &a2a.Message{
			ID: fmt.Sprintf("status-%d", p.last), Role: a2a.MessageRoleAgent, TaskID: info.TaskID, ContextID: info.ContextID, Parts: parts,
		}
	}
	switch {
	case p.ended && !p.finished:
		st.State = a2a.TaskStateInputRequired
		if p.only(needAuthorization) {
			st.State = a2a.TaskStateAuthRequired
		}
		var text []string
		for _, n := range p.needs {
			text = append(text, strings.TrimSpace(n.Message+" "+n.URL))
		}
		say(a2a.TextPart{Text: strings.Join(text, "\n")}, a2a.DataPart{Data: map[string]any{"needs": needsData(p.needs)}})
	case p.finished:
		if st.State = overState(p.reason); st.State == a2a.TaskStateFailed {
			say(a2a.TextPart{Text: holdfast.PublicMessage(p.err())})
		}
	case p.begun:
		st.State = a2a.TaskStateWorking
	}
	if !t.since.IsZero() {
		since := t.since
		st.Timestamp = &since
	}
	return st
}

// overState is the state of a task whose run finished for reason.
func overState(reason string) a2a.TaskState {
	switch reason {
	case "stop":
		return a2a.TaskStateCompleted
	case "canceled", "rolled_back":
		return a2a.TaskStateCanceled
	case "rejected":
		return a2a.TaskStateRejected
	}
	return a2a.TaskStateFailed
}

// needsData is what a program needs to ask its user.
func needsData(needs []wanted) []any {
	var list []any
	for _, n := range needs {
		d := map[string]any{"kind": n.Kind, "id": n.ID, "message": n.Message}
		if n.URL != "" {
			d["url"] = n.URL
		}
		if n.Kind == needApproval {
			d["tool"], d["arguments"] = n.call.Function.Name, n.call.Function.Arguments
		}
		if len(n.schema) > 0 {
			d["schema"] = n.schema
		}
		list = append(list, d)
	}
	return list
}

// task is the task as it is now, with at most length messages of its history, nil
// for all.
func (t *a2aTask) task(length *int) *a2a.Task {
	info := t.TaskInfo()
	t.fill()
	history := t.history
	if length != nil {
		history = history[max(0, len(history)-max(0, *length)):]
	}
	return &a2a.Task{ID: info.TaskID, ContextID: info.ContextID, Status: t.status(), Artifacts: slices.Clone(t.artifacts), History: slices.Clone(history)}
}

// joined says that somebody who has the task as it is now hears what comes.
func (t *a2aTask) joined() { t.begun, t.state = true, t.status().State }

// tell folds an event of the part.
func (t *a2aTask) tell(ev told, it *item) error {
	now := t.status().State
	moved := now != t.moved
	if moved {
		t.moved, t.since = now, ev.time
	}
	if m, ok := ev.event.(*holdfast.UserMessageEvent); ok {
		t.history = append(t.history, t.asked(m, it))
	}
	if !t.begun {
		t.begun, t.state = true, now
		if err := t.give(t.task(t.historyLength)); err != nil {
			return err
		}
	}
	if ev.outer {
		if err := t.said(ev.event, it); err != nil {
			return err
		}
	}
	p := t.sink.part
	if over := p.ended && (p.finished || !p.reopens); now == t.state && !over {
		return nil
	}
	t.state = now
	return t.give(&a2a.TaskStatusUpdateEvent{TaskID: t.TaskInfo().TaskID, ContextID: t.session, Status: t.status(), Final: p.ended && (p.finished || !p.reopens)})
}

// asked is a message of the user in the history.
func (t *a2aTask) asked(ev *holdfast.UserMessageEvent, it *item) *a2a.Message {
	info := t.TaskInfo()
	m := &a2a.Message{ID: fmt.Sprintf("message-%d", it.seq), Role: a2a.MessageRoleUser, TaskID: info.TaskID, ContextID: info.ContextID, Parts: a2a.ContentParts{}}
	if text := cmp.Or(ev.Typed, ev.Message); text != "" {
		m.Parts = append(m.Parts, a2a.TextPart{Text: text})
	}
	for _, p := range ev.Parts {
		switch {
		case p.Type == "text":
			m.Parts = append(m.Parts, a2a.TextPart{Text: p.Text})
		case p.ImageURL != nil:
			m.Parts = append(m.Parts, a2a.FilePart{File: a2a.FileURI{FileMeta: a2a.FileMeta{MimeType: "image/*"}, URI: p.ImageURL.URL}})
		}
	}
	return m
}

// fill puts what is being said into its artifact.
func (t *a2aTask) fill() {
	if t.talking {
		last := len(t.artifacts) - 1
		t.artifacts[last] = &a2a.Artifact{ID: t.artifacts[last].ID, Parts: a2a.ContentParts{a2a.TextPart{Text: t.text.String()}}}
	}
}

func (t *a2aTask) give(ev a2a.Event) error {
	if t.yield == nil {
		return nil
	}
	return t.yield(ev)
}

// said folds what the outermost agent says: an artifact for each message.
func (t *a2aTask) said(ev holdfast.Event, it *item) error {
	switch ev := ev.(type) {
	case *holdfast.AgentChoiceEvent:
		if !t.talking {
			t.talking = true
			t.text.Reset()
			t.artifacts = append(t.artifacts, &a2a.Artifact{ID: a2a.ArtifactID(fmt.Sprintf("message-%d", it.seq)), Parts: a2a.ContentParts{a2a.TextPart{}}})
		}
		now := t.artifacts[len(t.artifacts)-1]
		first := t.text.Len() == 0
		t.text.WriteString(ev.Content)
		return t.give(&a2a.TaskArtifactUpdateEvent{
			TaskID: t.TaskInfo().TaskID, ContextID: t.session, Append: !first,
			Artifact: &a2a.Artifact{ID: now.ID, Parts: a2a.ContentParts{a2a.TextPart{Text: ev.Content}}},
		})
	case *holdfast.ModelCallFinishedEvent:
		if !t.talking || ev.Purpose != "" {
			return nil
		}
		t.fill()
		t.talking = false
		now := t.artifacts[len(t.artifacts)-1]
		return t.give(&a2a.TaskArtifactUpdateEvent{TaskID: t.TaskInfo().TaskID, ContextID: t.session, Append: true, LastChunk: true, Artifact: &a2a.Artifact{ID: now.ID, Parts: a2a.ContentParts{}}})
	case *holdfast.ModelCallVoidedEvent:
		t.text.Reset() // it is said again, in the place of what came
	}
	return nil
}

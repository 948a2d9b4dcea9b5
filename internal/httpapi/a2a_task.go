package httpapi

import (
	"fmt"
	"slices"
	"strings"

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
	begun     bool
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
	say := func(parts ...a2a.Part) { st.Message = a2a.NewMessageForTask(a2a.MessageRoleAgent, t, parts...) }
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
	case p.finished && p.reason == "stop":
		st.State = a2a.TaskStateCompleted
	case p.finished && (p.reason == "canceled" || p.reason == "rolled_back"):
		st.State = a2a.TaskStateCanceled
	case p.finished && p.reason == "rejected":
		st.State = a2a.TaskStateRejected
	case p.finished:
		st.State = a2a.TaskStateFailed
		say(a2a.TextPart{Text: holdfast.PublicMessage(p.err())})
	case p.begun:
		st.State = a2a.TaskStateWorking
	}
	if p.ended && !p.closed.IsZero() {
		st.Timestamp = &p.closed
	}
	return st
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

// task is the task as it is now.
func (t *a2aTask) task() *a2a.Task {
	info := t.TaskInfo()
	t.fill()
	return &a2a.Task{ID: info.TaskID, ContextID: info.ContextID, Status: t.status(), Artifacts: slices.Clone(t.artifacts)}
}

// tell folds an event of the part.
func (t *a2aTask) tell(ev told, it *item) error {
	if !t.begun {
		t.begun = true
		if err := t.give(t.task()); err != nil {
			return err
		}
	} else if it.typ == holdfast.TypeRunStarted {
		if err := t.give(&a2a.TaskStatusUpdateEvent{TaskID: t.TaskInfo().TaskID, ContextID: t.session, Status: t.status()}); err != nil {
			return err
		}
	}
	if ev.outer {
		if err := t.said(ev.event, it); err != nil {
			return err
		}
	}
	if !t.sink.part.ended {
		return nil
	}
	return t.give(&a2a.TaskStatusUpdateEvent{TaskID: t.TaskInfo().TaskID, ContextID: t.session, Status: t.status(), Final: true})
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

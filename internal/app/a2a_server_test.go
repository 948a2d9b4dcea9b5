package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/a2aproject/a2a-go/a2aclient"
	"github.com/a2aproject/a2a-go/a2aclient/agentcard"
)

// bearer sends the API key with every request.
type bearer struct {
	a2aclient.PassthroughInterceptor
	key string
}

func (b bearer) Before(ctx context.Context, r *a2aclient.Request) (context.Context, error) {
	r.Meta["Authorization"] = []string{"Bearer " + b.key}
	return ctx, nil
}

// a2aClient speaks to an agent with the client of the protocol's own SDK.
func a2aClient(t *testing.T, base, agent, key string) *a2aclient.Client {
	t.Helper()
	card, err := agentcard.DefaultResolver.Resolve(t.Context(), base+"/v1/agents/"+agent+"/a2a", agentcard.WithRequestHeader("Authorization", "Bearer "+key))
	if err != nil {
		t.Fatal(err)
	}
	if card.Name != agent || !card.Capabilities.Streaming || card.URL != base+"/v1/agents/"+agent+"/a2a" {
		t.Errorf("card: %+v", card)
	}
	c, err := a2aclient.NewFromCard(t.Context(), card, a2aclient.WithInterceptors(bearer{key: key}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Destroy() })
	return c
}

func message(text string, task *a2a.Task) *a2a.MessageSendParams {
	m := a2a.NewMessage(a2a.MessageRoleUser, a2a.TextPart{Text: text})
	if task != nil {
		m.TaskID, m.ContextID = task.ID, task.ContextID
	}
	return &a2a.MessageSendParams{Message: m}
}

// artifactText is what the agent said in a task.
func artifactText(task *a2a.Task) string {
	var all []string
	for _, a := range task.Artifacts {
		all = append(all, a.Parts[0].(a2a.TextPart).Text)
	}
	return strings.Join(all, "|")
}

// TestA2AServer: the SDK's client streams a task, sends a message twice, gets
// input-required and answers, cancels, and is refused what is another's.
func TestA2AServer(t *testing.T) {
	base := startFacades(t)
	ctx := t.Context()
	c := a2aClient(t, base, "demo", facadeKey)
	send := func(p *a2a.MessageSendParams) *a2a.Task {
		t.Helper()
		res, err := c.SendMessage(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		return res.(*a2a.Task)
	}

	asked := send(message("remember the milk", nil))
	if asked.Status.State != a2a.TaskStateInputRequired || asked.Status.Message == nil {
		t.Fatalf("status: %+v", asked.Status)
	}
	data, err := json.Marshal(asked.Status.Message.Parts)
	if err != nil || !strings.Contains(string(data), `"tool":"add_memory"`) {
		t.Errorf("what it needs: %s, %v", data, err)
	}
	if _, err := c.SendMessage(ctx, message("perhaps", asked)); !errors.Is(err, a2a.ErrInvalidParams) {
		t.Errorf("an answer that is none: %v", err)
	}
	push := message("hello", nil)
	push.Config = &a2a.MessageSendConfig{PushConfig: &a2a.PushConfig{URL: "https://push.example"}}
	if _, err := c.SendMessage(ctx, push); !errors.Is(err, a2a.ErrPushNotificationNotSupported) {
		t.Errorf("a message that wants push notifications: %v", err)
	}
	if _, err := c.SetTaskPushConfig(ctx, &a2a.TaskPushConfig{TaskID: asked.ID, Config: *push.Config.PushConfig}); !errors.Is(err, a2a.ErrPushNotificationNotSupported) {
		t.Errorf("push notifications of a task: %v", err)
	}
	done := send(message("approve", asked))
	if done.ID != asked.ID || done.Status.State != a2a.TaskStateCompleted || !strings.HasPrefix(artifactText(done), "For that I need your approval.|The tool said:") {
		t.Errorf("answered: %+v, %q", done.Status, artifactText(done))
	}
	if _, err := c.SendMessage(ctx, message("more", done)); !errors.Is(err, a2a.ErrInvalidParams) {
		t.Errorf("a message to a task that is over: %v", err)
	}
	if got, err := c.GetTask(ctx, &a2a.TaskQueryParams{ID: done.ID}); err != nil || artifactText(got) != artifactText(done) || got.Status.State != done.Status.State {
		t.Errorf("the task read again: %+v, %v", got, err)
	}

	twice := message("hello", nil)
	twice.Message.ContextID = done.ContextID
	first, second := send(twice), send(twice)
	if first.ID != second.ID || first.ContextID != done.ContextID || first.ID == done.ID {
		t.Errorf("the same message twice: tasks %s and %s in %s", first.ID, second.ID, first.ContextID)
	}

	talker := a2aClient(t, base, "talker", facadeKey)
	var said strings.Builder
	var last a2a.TaskState
	for ev, err := range talker.SendStreamingMessage(ctx, message("count", nil)) {
		if err != nil {
			t.Fatal(err)
		}
		switch ev := ev.(type) {
		case *a2a.TaskArtifactUpdateEvent:
			for _, p := range ev.Artifact.Parts {
				said.WriteString(p.(a2a.TextPart).Text)
			}
		case *a2a.TaskStatusUpdateEvent:
			last = ev.Status.State
		}
	}
	if said.String() != numbered() || last != a2a.TaskStateCompleted {
		t.Errorf("streamed %q, state %q", said.String(), last)
	}

	now := false
	slow := message("count", nil)
	slow.Config = &a2a.MessageSendConfig{Blocking: &now}
	res, err := talker.SendMessage(ctx, slow)
	if err != nil {
		t.Fatal(err)
	}
	task := res.(*a2a.Task)
	events := 0
	for ev, err := range talker.ResubscribeToTask(ctx, &a2a.TaskIDParams{ID: task.ID}) {
		if err != nil {
			t.Fatal(err)
		}
		if events++; events == 3 { // it is under way
			gone, err := talker.CancelTask(ctx, &a2a.TaskIDParams{ID: task.ID})
			if err != nil || gone.Status.State != a2a.TaskStateCanceled {
				t.Fatalf("canceled: %+v, %v", gone, err)
			}
		}
		if st, ok := ev.(*a2a.TaskStatusUpdateEvent); ok {
			last = st.Status.State
		}
	}
	if last != a2a.TaskStateCanceled {
		t.Errorf("the stream of a canceled task ends as %q", last)
	}
	if _, err := talker.CancelTask(ctx, &a2a.TaskIDParams{ID: task.ID}); !errors.Is(err, a2a.ErrTaskNotCancelable) {
		t.Errorf("canceled twice: %v", err)
	}

	other := a2aClient(t, base, "demo", "another-key-of-other")
	if _, err := other.GetTask(ctx, &a2a.TaskQueryParams{ID: done.ID}); !errors.Is(err, a2a.ErrTaskNotFound) {
		t.Errorf("another tenant's task: %v", err)
	}
}

package client_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

const askingAgent = `version: "2"
agents:
  root:
    model: script
    description: Asks.
    instruction: Ask.
    toolsets: [{type: user_prompt}]
models:
  script:
    provider: scripted
    model: asking
    provider_opts:
      script:
        turns:
          - when: { after_tool: user_prompt }
            say: "You answered {{.Tool}}"
          - call:
              - name: user_prompt
                arguments: { message: "How many?", schema: { type: object, properties: { n: { type: integer } }, required: [n] } }
`

func putAskingAgent(t *testing.T, c *client.Client) {
	t.Helper()
	if _, err := c.PutAgentFile(t.Context(), "asking", []byte(askingAgent)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // other tests count the agents
		if err := c.DeleteAgent(context.Background(), "asking.yaml"); err != nil {
			t.Error(err)
		}
	})
}

// TestRunIsAsked: Run asks nobody, and does not wait for an answer that nobody
// gives.
func TestRunIsAsked(t *testing.T) {
	c := newClient(t)
	putAskingAgent(t, c)
	r, err := client.NewRemoteRuntime(c, client.WithRemoteAgentFilename("asking"))
	if err != nil {
		t.Fatal(err)
	}
	messages, err := r.Run(t.Context(), holdfast.NewSession("go"))
	if holdfast.CodeOf(err) != holdfast.CodeForbidden || !strings.Contains(err.Error(), "How many?") || len(messages) < 2 {
		t.Errorf("%v, %d messages", err, len(messages))
	}
}

func TestAnswerInput(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	putAskingAgent(t, c)
	doc, err := c.CreateSession(ctx, client.NewSession{Agent: "asking"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.StartRun(ctx, doc.ID, client.NewRun{Messages: []client.Message{{Content: "go"}}})
	if err != nil {
		t.Fatal(err)
	}
	question, answer := "", ""
	for e, err := range c.Events(ctx, doc.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch ev := e.Event.(type) {
		case *holdfast.ElicitationRequestEvent:
			question = ev.ID
			d, err := c.GetSession(ctx, doc.ID)
			if err != nil || len(d.Questions) != 1 || d.Questions[0].ID != ev.ID || d.Questions[0].Message != "How many?" {
				t.Fatalf("questions: %+v, %v", d, err)
			}
			_, err = c.AnswerInput(ctx, doc.ID, ev.ID, client.InputAnswer{Action: client.InputAccept, Content: json.RawMessage(`{"n":"x"}`)})
			if holdfast.CodeOf(err) != holdfast.CodeInvalidInput {
				t.Fatalf("an answer that does not fit: %v", err)
			}
			got, err := c.AnswerInput(ctx, doc.ID, ev.ID, client.InputAnswer{Action: client.InputAccept, Content: json.RawMessage(`{"n":7}`)})
			if err != nil || got.Run != s.Run {
				t.Fatalf("%+v %v", got, err)
			}
		case *holdfast.AgentChoiceEvent:
			answer += ev.Content
		}
		if e.Event.EventType() == holdfast.TypeRunFinished {
			break
		}
	}
	if !strings.Contains(answer, `{"n":7}`) {
		t.Errorf("the run says %q", answer)
	}
	if _, err := c.AnswerInput(ctx, doc.ID, question, client.InputAnswer{Action: client.InputDecline}); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("after the run: %v", err)
	}
	if _, err := c.DecideAuthorization(ctx, doc.ID, "none", true); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("no authorization is pending: %v", err)
	}
	if _, err := c.VouchAuthorization(ctx, doc.ID, "none", client.Vouch{Random: "r", Connection: "c", Verifier: "v"}); holdfast.CodeOf(err) != holdfast.CodeForbidden {
		t.Errorf("a verifier that was made up: %v", err)
	}

	// What it took, and where it is found.
	rows := 0
	for range 50 { // each waits for the archive for up to 0.1 s
		for u, err := range c.Usage(ctx, client.UsageQuery{From: time.Now().Add(-24 * time.Hour), To: time.Now().Add(24 * time.Hour), Session: doc.ID, By: []string{"session", "agent", "model"}}) {
			if err != nil {
				t.Fatal(err)
			}
			if rows++; u.Session != doc.ID || u.Agent != "asking.yaml" || u.Calls < 1 {
				t.Errorf("usage %+v", u)
			}
		}
		if rows > 0 {
			break
		}
	}
	if rows != 1 {
		t.Errorf("%d rows of usage", rows)
	}
	found := 0
	for f, err := range c.SearchSessions(ctx, client.SessionFilter{Text: doc.ID, Agent: "asking"}, 10) {
		if err != nil {
			t.Fatal(err)
		}
		if found++; f.ID != doc.ID {
			t.Errorf("found %s", f.ID)
		}
	}
	if found != 1 {
		t.Errorf("found %d sessions", found)
	}
}

func TestScheduledAndAccount(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	doc, err := c.CreateSession(ctx, client.NewSession{Agent: "demo", Metadata: map[string]string{"kind": "account-test"}})
	must(err)
	run := client.NewRun{Messages: []client.Message{{Content: "later"}}}
	s, err := c.SendMessage(ctx, doc.ID, client.NewMessage{NewRun: run, Delay: 48 * time.Hour})
	must(err)
	at := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	first, err := c.SendMessage(ctx, doc.ID, client.NewMessage{NewRun: run, At: at})
	must(err)
	list, err := c.Scheduled(ctx, doc.ID)
	must(err)
	if len(list) != 2 || list[0].Run != first.Run || !list[0].At.Equal(at) || list[1].Run != s.Run || list[0].Messages[0].Content != "later" {
		t.Errorf("scheduled: %+v", list)
	}
	must(c.CancelScheduled(ctx, doc.ID, s.Run))
	if list, err = c.Scheduled(ctx, doc.ID); err != nil || len(list) != 1 {
		t.Errorf("scheduled: %+v, %v", list, err)
	}

	hook, err := c.CreateWebhook(ctx, client.NewWebhook{URL: "https://hooks.example/x", Events: []string{"run.finished"}})
	must(err)
	if !strings.HasPrefix(hook.Secret, "whsec_") {
		t.Errorf("webhook %+v", hook)
	}
	hooks, err := c.Webhooks(ctx)
	must(err)
	if len(hooks) != 1 || hooks[0].ID != hook.ID || hooks[0].Secret != "" {
		t.Errorf("webhooks %+v", hooks)
	}
	must(c.EnableWebhook(ctx, hook.ID))
	if d, err := c.Deliveries(ctx, hook.ID); err != nil || len(d) != 0 {
		t.Errorf("deliveries %+v, %v", d, err)
	}
	what, off := "for people", true
	changed, err := c.ChangeWebhook(ctx, hook.ID, client.WebhookChange{Description: &what, Disabled: &off})
	must(err)
	if changed.Description != what || changed.Disabled == "" || changed.URL != hook.URL {
		t.Errorf("changed: %+v", changed)
	}
	if _, err := c.RedeliverFailed(ctx, hook.ID, time.Time{}); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("to a disabled one: %v", err)
	}
	must(c.EnableWebhook(ctx, hook.ID))
	if n, err := c.RedeliverFailed(ctx, hook.ID, time.Now().Add(-time.Hour)); err != nil || n != 0 {
		t.Errorf("again: %d, %v", n, err)
	}
	if _, err := c.Redeliver(ctx, hook.ID, "msg_none"); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("again: %v", err)
	}
	rotated, err := c.RotateWebhookSecret(ctx, hook.ID, time.Hour)
	must(err)
	if rotated.Secret == "" || rotated.Secret == hook.Secret {
		t.Errorf("rotated: %+v", rotated)
	}
	one, err := c.Webhook(ctx, hook.ID)
	must(err)
	if one.Secret != "" || one.Description != what || one.Disabled != "" {
		t.Errorf("webhook: %+v", one)
	}
	if d, next, err := c.FindDeliveries(ctx, hook.ID, client.DeliveryQuery{State: "failed", Limit: 10}); err != nil || len(d) != 0 || next != "" {
		t.Errorf("deliveries %+v, %q, %v", d, next, err)
	}
	must(c.DeleteWebhook(ctx, hook.ID))
	if err := c.DeleteWebhook(ctx, hook.ID); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("deleted twice: %v", err)
	}

	must(c.PutSecret(ctx, "API_KEY", "hush"))
	secrets, err := c.Secrets(ctx)
	must(err)
	if len(secrets) != 1 || secrets[0].Name != "API_KEY" || secrets[0].CreatedAt.IsZero() {
		t.Errorf("secrets %+v", secrets)
	}
	must(c.DeleteSecret(ctx, "API_KEY"))
	must(c.PutOAuthClient(ctx, "own", client.OAuthClient{ClientID: "id", ClientSecret: "hush", ServerURL: "https://mcp.example/mcp"}))
	clients, err := c.OAuthClients(ctx)
	must(err)
	if len(clients) != 1 || clients[0].Name != "own" || clients[0].ClientID != "id" {
		t.Errorf("clients %+v", clients)
	}
	must(c.DeleteOAuthClient(ctx, "own"))
	if grants, err := c.Connections(ctx, "ann"); err != nil || len(grants) != 0 {
		t.Errorf("connections %+v, %v", grants, err)
	}
	if err := c.Disconnect(ctx, "none"); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("no such connection: %v", err)
	}
}

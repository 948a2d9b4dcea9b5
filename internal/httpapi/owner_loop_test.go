package httpapi_test

import (
	"encoding/json"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// loopScript is what an owner plays that then waits for something other than a
// decision on a tool call, nil for a word that it does not know.
func loopScript(word string) []step {
	var held holdfast.Event
	switch word {
	case "ask":
		held = &holdfast.ElicitationRequestEvent{
			AgentContext: root, ID: "q1", Message: "What is your name?",
			Schema: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}`),
		}
	case "limit":
		held = &holdfast.MaxIterationsReachedEvent{AgentContext: root, MaxIterations: 1}
	case "oauth":
		held = &holdfast.AuthorizationRequiredEvent{
			AgentContext: root, ServerURL: "https://mcp.example", Confirmation: "pending", FlowID: "f1", AuthorizationURL: "https://login.example",
		}
	default:
		return nil
	}
	return []step{{hold: held}, say("Thanks.")}
}

// loopEffect is what becomes of the commands that settle what loopScript waits
// for.
func (p *played) loopEffect(c events.Command) (evs []holdfast.Event, run string, err error) {
	read := func(body any) {
		if err == nil {
			err = json.Unmarshal(c.Body, body)
		}
	}
	switch c.Kind {
	case events.KindCompact:
		if len(p.said) == 0 {
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "there is nothing to summarize")
		}
		return []holdfast.Event{&holdfast.SessionCompactionEvent{AgentContext: root, Status: "started"}}, "", nil
	case events.KindInput:
		var b events.InputBody
		if read(&b); err != nil {
			return nil, "", err
		}
		q, ok := p.held.(*holdfast.ElicitationRequestEvent)
		given := b.ID + " " + b.Action + " " + string(b.Content)
		switch {
		case given == p.given:
			return nil, p.active, nil
		case ok && b.ID != "" && q.ID != b.ID:
			return nil, "", holdfast.Errorf(holdfast.CodeNotFound, "no question %s waits for an answer", b.ID)
		case !ok:
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "nothing waits for an answer")
		}
		if b.Action == "accept" {
			var in struct{ Name *string }
			if json.Unmarshal(b.Content, &in) != nil || in.Name == nil {
				return nil, "", holdfast.Errorf(holdfast.CodeInvalidInput, "content: name is missing in %s", b.Content)
			}
		}
		p.given, p.held = given, nil
		return []holdfast.Event{&holdfast.ElicitationAnsweredEvent{AgentContext: root, ID: b.ID, Action: b.Action, Content: b.Content, Command: c.ID}}, p.active, nil
	case events.KindResume:
		var b events.ResumeBody
		if read(&b); err != nil {
			return nil, "", err
		}
		if _, ok := p.held.(*holdfast.MaxIterationsReachedEvent); !ok || b.Run != p.active {
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "run %s does not wait at its limit of iterations", b.Run)
		}
		p.held = nil
		return []holdfast.Event{&holdfast.RunContinuedEvent{Run: b.Run, Iterations: b.Iterations, Command: c.ID}}, p.active, nil
	case events.KindAuthorize:
		var b events.AuthorizeBody
		if read(&b); err != nil {
			return nil, "", err
		}
		if f, ok := p.held.(*holdfast.AuthorizationRequiredEvent); !ok || b.Flow != "" && f.FlowID != b.Flow {
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "no such authorization is pending")
		}
		if !b.Confirm {
			p.held = nil
		}
		return nil, p.active, nil
	case events.KindAnswer:
		var b events.AnswerBody
		if read(&b); err != nil {
			return nil, "", err
		}
		if f, ok := p.held.(*holdfast.AuthorizationRequiredEvent); !ok || f.FlowID != b.Flow {
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "no such authorization is pending")
		}
		p.held = nil
		return nil, p.active, nil
	case events.KindVouch:
		var b events.VouchBody
		if read(&b); err != nil {
			return nil, "", err
		}
		switch f, ok := p.held.(*holdfast.AuthorizationRequiredEvent); {
		case !ok || f.FlowID != b.Flow:
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "no such authorization is pending")
		case b.User != "ann":
			return nil, "", holdfast.Errorf(holdfast.CodeForbidden, "the user who is logged in is not the one of the session")
		}
		p.held = nil
		return nil, p.active, nil
	}
	return nil, "", holdfast.Errorf(holdfast.CodeNotOffered, "command %q", c.Kind)
}

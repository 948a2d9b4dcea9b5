package runtime

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// The tools that the loop itself provides.
const (
	ToolTransfer = "transfer_task"
	ToolHandoff  = "handoff"
)

func jsonMarshal(v any) (json.RawMessage, error) { return json.Marshal(v) }

// systemPrompt is the agent's instruction and what it must know beside it. All
// of it comes from the agent file, the tools and the log.
func (d *drive) systemPrompt(team *agent.Team, a *agent.Agent, box *toolbox) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(a.Instruction))
	part := func(text string) {
		if text == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteString("\n\n")
		}
		b.WriteString(text)
	}
	if a.AddDate {
		part("Today's date: " + d.s.Run.Started.UTC().Format(time.DateOnly))
	}
	for _, text := range d.surroundings(a) {
		part(text)
	}
	if len(a.SubAgents) > 0 {
		part("You may give a task to one of these agents with the tool " + ToolTransfer + ":\n" + roster(team, a.SubAgents))
	}
	if len(a.Handoffs) > 0 {
		part("You may hand the conversation over to one of these agents with the tool " + ToolHandoff + ":\n" + roster(team, a.Handoffs))
	}
	for _, text := range box.instructions() {
		part(text)
	}
	for _, text := range d.s.top().Hooks.contexts() {
		part(strings.TrimSpace(text))
	}
	return b.String()
}

func roster(team *agent.Team, names []string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "- %s", n)
		if a := team.Agent(n); a != nil && a.Description != "" {
			fmt.Fprintf(&b, ": %s", strings.TrimSpace(a.Description))
		}
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n")
}

// transferArgs are the arguments of transfer_task.
type transferArgs struct {
	Agent          string `json:"agent"`
	Task           string `json:"task"`
	ExpectedOutput string `json:"expected_output"`
}

// taskMessage is what a sub-agent is told, made from the call that started it.
func taskMessage(c *Call, at time.Time) holdfast.Message {
	var args transferArgs
	_ = json.Unmarshal([]byte(c.Function.Arguments), &args) // checked before the transfer
	text := strings.TrimSpace(args.Task)
	if args.ExpectedOutput != "" {
		text += "\n\nExpected output: " + strings.TrimSpace(args.ExpectedOutput)
	}
	return holdfast.Message{Role: holdfast.RoleUser, Content: text, CreatedAt: at}
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// press does what a key asks for.
func (ch *chat) press(ctx context.Context, k key) {
	leaving := ch.leaving
	ch.leaving, ch.notice = false, ""
	empty := len(ch.editor.text) == 0
	if empty && ch.answer(ctx, k) {
		return
	}
	switch k.name {
	case "interrupt":
		switch {
		case !empty:
			ch.editor.take()
		case ch.running && !leaving:
			ch.cancel(ctx)
			ch.leaving = true
		case leaving:
			ch.over = true
		default:
			ch.leaving, ch.notice = true, "Ctrl-C again leaves the chat"
		}
	case "escape":
		if ch.running {
			ch.cancel(ctx)
		}
	case "eof":
		if empty {
			ch.over = true
		} else {
			ch.editor.press(key{name: "delete"})
		}
	case "enter":
		ch.enter(ctx)
	case "tab":
		ch.complete()
	case "redraw":
		ch.screen.clear()
	case "suspend":
		ch.halt = ch.suspend != nil
	default:
		ch.editor.press(k)
	}
}

// answer takes a key as the answer to what the chat asks. It returns false if it
// asks nothing, or the key is none of the answers.
func (ch *chat) answer(ctx context.Context, k key) bool {
	choice := strings.ToLower(k.text)
	switch {
	case len(ch.pending) > 0:
		p := ch.pending[0]
		d := client.Decision{}
		switch choice {
		case "y":
			d.Decision = client.ResumeTypeApprove
		case "a":
			d.Decision = client.ResumeTypeApproveSession
			if ch.approvedAll {
				d.Decision = client.ResumeTypeApprove // there is no more to approve than this call
			}
		case "n":
			d.Decision = client.ResumeTypeReject
		case "v":
			ch.showTool(&chatTool{call: p.ToolCall})
			return true
		default:
			return false
		}
		ch.decide(ctx, p, d)
	case len(ch.forms) > 0:
		return false // it is written
	case ch.limit != nil:
		run := ch.run
		switch choice {
		case "y":
			ch.beside(ctx, func(ctx context.Context) error {
				_, err := ch.client.Continue(ctx, ch.session, run, 0)
				return err
			}, ch.orFail)
		case "n":
			ch.beside(ctx, func(ctx context.Context) error {
				return ch.client.ResumeSession(ctx, ch.session, client.ResumeTypeReject)
			}, ch.orFail)
		default:
			return false
		}
		ch.limit = nil
	case ch.auth != nil:
		if choice != "y" && choice != "n" {
			return false
		}
		id := ch.session
		ch.beside(ctx, func(ctx context.Context) error {
			return ch.client.ResumeStartAuthorizationFlow(ctx, id, choice == "y")
		}, ch.orFail)
		ch.auth = nil
	default:
		return false
	}
	return true
}

// decide sends a decision. The question goes at once, so that a second press of
// the key answers the next one; it comes back if the answer does not arrive.
func (ch *chat) decide(ctx context.Context, p *holdfast.ToolCallConfirmationEvent, d client.Decision) {
	ch.pending = ch.pending[1:]
	id := ch.session
	ch.beside(ctx, func(ctx context.Context) error {
		_, err := ch.client.Decide(ctx, id, p.ToolCall.ID, d)
		return err
	}, func(err error) {
		if err != nil && holdfast.CodeOf(err) != holdfast.CodeConflict && id == ch.session {
			ch.pending = append(ch.pending, p)
		}
		ch.orFail(err)
	})
}

func (ch *chat) cancel(ctx context.Context) {
	ch.notice = "canceling …"
	id := ch.session
	ch.beside(ctx, func(ctx context.Context) error {
		_, err := ch.client.Cancel(ctx, id, "")
		return err
	}, func(err error) {
		ch.notice = ""
		if holdfast.CodeOf(err) != holdfast.CodeConflict { // the refusal is an event, which says why
			ch.orFail(err)
		}
	})
}

// enter sends what was written, or does it.
func (ch *chat) enter(ctx context.Context) {
	written := ch.editor.take()
	text := strings.TrimSpace(written)
	command := strings.HasPrefix(text, "/") && text != "/decline" && text != "/dismiss"
	switch {
	case len(ch.forms) > 0 && len(ch.pending) == 0 && !command:
		ch.fill(ctx, written)
	case text == "":
	case strings.HasPrefix(text, "//"):
		ch.send(ctx, text[1:], "")
	case strings.HasPrefix(text, "/"):
		ch.command(ctx, text)
	default:
		ch.send(ctx, text, "")
	}
}

func (ch *chat) send(ctx context.Context, text, mode string) {
	ch.queue = append(ch.queue, text)
	id := ch.session
	run := client.NewRun{Agent: ch.agent, AgentName: ch.agentName, Messages: []client.Message{{Content: text}}, Mode: mode}
	ch.beside(ctx, func(ctx context.Context) error {
		_, err := ch.client.StartRun(ctx, id, run)
		return err
	}, func(err error) {
		if err == nil || id != ch.session {
			return
		}
		if i := slices.Index(ch.queue, text); i >= 0 {
			ch.queue = slices.Delete(ch.queue, i, i+1)
		}
		if len(ch.editor.text) == 0 {
			ch.editor.set(text) // nothing that was written is lost
		}
		ch.orFail(err)
	})
}

// chatCommands are what can be written behind a slash.
var chatCommands = []struct{ name, args, what string }{
	{"/help", "", "show this"},
	{"/new", "", "begin a new session"},
	{"/tools", "[N]", "show the last tool calls whole, N of them"},
	{"/steer", "TEXT", "say something to the run under way, at its next step"},
	{"/cancel", "", "stop the run (Esc does, too)"},
	{"/compact", "", "replace what was said by a summary, for the model"},
	{"/fork", "", "go on in a session of its own, from here"},
	{"/session", "", "show the session's id, title and cost"},
	{"/quit", "", "leave (Ctrl-D does, too)"},
}

// entry adds a line to a list of what can be written or pressed.
func (ch *chat) entry(name, what string) {
	const column = 21
	ch.add(wrap([]span{{fmt.Sprintf("  %-18s %s", name, what), ""}}, ch.columns(), strings.Repeat(" ", column), ch.style.on)...)
}

func (ch *chat) command(ctx context.Context, text string) {
	name, arg, _ := strings.Cut(text, " ")
	arg = strings.TrimSpace(arg)
	switch name {
	case "/help":
		for _, c := range chatCommands {
			ch.entry(c.name+" "+c.args, c.what)
		}
		for _, c := range ch.custom {
			ch.entry(clean(c.name), clean(firstLine(c.what))+" (of the agent)")
		}
		for _, c := range [][2]string{
			{"//TEXT", "say /TEXT to the agent"},
			{"Alt-Enter, Ctrl-J", "a new line"},
			{"Up, Down", "what you wrote before"},
			{"Ctrl-L, Ctrl-Z", "an empty screen; back to the shell, fg goes on"},
		} {
			ch.entry(c[0], c[1])
		}
	case "/new":
		ch.switchTo(ctx, func(ctx context.Context) (*client.Document, error) {
			return ch.client.CreateSession(ctx, client.NewSession{Agent: ch.agent, ToolsApproved: ch.approved})
		})
	case "/fork":
		id, seq := ch.session, ch.after
		ch.switchTo(ctx, func(ctx context.Context) (*client.Document, error) {
			return ch.client.ForkSession(ctx, id, client.NewFork{Seq: seq})
		})
	case "/tools":
		n := 1
		if arg != "" {
			if _, err := fmt.Sscan(arg, &n); err != nil || n < 1 {
				ch.add(ch.style.red("/tools wants a number"))
				return
			}
		}
		if len(ch.tools) == 0 {
			ch.add(ch.style.dim("no tool was called yet"))
		}
		for _, t := range ch.tools[max(0, len(ch.tools)-n):] {
			ch.showTool(t)
		}
	case "/steer":
		if arg != "" {
			ch.send(ctx, arg, "steer")
		}
	case "/cancel":
		ch.cancel(ctx)
	case "/compact":
		id := ch.session
		ch.beside(ctx, func(ctx context.Context) error {
			_, err := ch.client.Compact(ctx, id)
			return err
		}, ch.orFail)
	case "/session":
		title := ""
		if ch.title != "" {
			title = ch.title + " · "
		}
		ch.paragraph(fmt.Sprintf("%s · %s%d tokens · $%.4f", ch.session, title, ch.tokens, ch.cost), "", "")
	case "/quit", "/exit":
		ch.over = true
	default:
		if ch.isCustom(name) {
			ch.send(ctx, text, "")
			return
		}
		ch.add(ch.fold(ch.style.red("there is no command "+oneLine(name, 40)+"; ") + "see /help, or write /" + oneLine(name, 40) + " to say it"))
	}
}

// switchTo goes on with another session.
func (ch *chat) switchTo(ctx context.Context, make func(context.Context) (*client.Document, error)) {
	var doc *client.Document
	ch.beside(ctx, func(ctx context.Context) (err error) {
		doc, err = make(ctx)
		return err
	}, func(err error) {
		if err != nil {
			ch.orFail(err)
			return
		}
		ch.endText()
		ch.cancelRun()
		ch.adopt(doc)
		ch.follow(ctx)
	})
}

// showTool shows a tool call whole.
func (ch *chat) showTool(t *chatTool) {
	ch.add(ch.style.bold(clean(t.call.Function.Name)))
	ch.paragraph(pretty(t.call.Function.Arguments), "", "  ")
	if t.settled {
		look := lookDim
		if t.failed {
			look = "31"
		}
		ch.paragraph(strings.TrimRight(t.output, "\n"), look, "  → ")
	}
}

// complete completes the name of a command.
func (ch *chat) complete() {
	text := string(ch.editor.text)
	var fits []string
	for _, c := range chatCommands {
		if text != "" && strings.HasPrefix(c.name, text) {
			fits = append(fits, c.name)
		}
	}
	for _, c := range ch.custom {
		if text != "" && strings.HasPrefix(c.name, text) && !slices.Contains(fits, c.name) {
			fits = append(fits, clean(c.name))
		}
	}
	if len(fits) == 1 {
		ch.editor.set(fits[0] + " ")
	} else if len(fits) > 1 {
		ch.notice = strings.Join(fits, "  ")
	}
}

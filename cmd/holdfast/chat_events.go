package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// take shows one event.
func (ch *chat) take(e chatEntry) error {
	if e.session != ch.session {
		return nil // of the session before
	}
	if e.err != nil {
		return e.err
	}
	ch.after, ch.away = e.Seq, false
	if _, ok := e.Event.(*holdfast.AgentChoiceReasoningEvent); !ok {
		ch.endThought(e.Time)
	}
	switch ev := e.Event.(type) {
	case *holdfast.UserMessageEvent:
		ch.endText()
		if i := slices.Index(ch.queue, cmp.Or(ev.Typed, ev.Message)); i >= 0 {
			ch.queue = slices.Delete(ch.queue, i, i+1)
		}
		ch.said(ev.Message)
	case *holdfast.RunStartedEvent:
		ch.running, ch.run, ch.began = true, ev.Run, time.Now()
	case *holdfast.AgentChoiceEvent:
		ch.speak(ev.AgentName)
		ch.write(ev.Content)
	case *holdfast.AgentChoiceReasoningEvent:
		if ch.thinking.Len() == 0 {
			ch.thought = e.Time
		}
		ch.thinking.WriteString(ev.Content)
	case *holdfast.PartialToolCallEvent:
		if name := ev.ToolCall.Function.Name; name != "" {
			ch.writing = name
		}
	case *holdfast.ToolCallEvent:
		ch.endText()
		ch.writing = ""
		ch.unask(ev.ToolCall.ID)
		if i := slices.IndexFunc(ch.tools, func(t *chatTool) bool { return t.call.ID == ev.ToolCall.ID && !t.settled }); i >= 0 {
			ch.tools[i].began = time.Now() // it is made again
			break
		}
		ch.tools = append(ch.tools, &chatTool{call: ev.ToolCall, began: time.Now()})
	case *holdfast.ToolCallResponseEvent:
		ch.endText()
		ch.unask(ev.ToolCallID)
		if !slices.ContainsFunc(ch.tools, func(t *chatTool) bool { return t.call.ID == ev.ToolCallID && !t.settled }) {
			ch.tools = append(ch.tools, &chatTool{call: ev.ToolCall}) // it was rejected
		}
		ch.toolDone(ev.ToolCallID, ev.Response, ev.Result.IsError)
	case *holdfast.ToolCallConfirmationEvent:
		ch.endText()
		ch.writing = ""
		ch.pending = append(ch.pending, ev)
	case *holdfast.ToolCallDecidedEvent:
		ch.unask(ev.ToolCallID)
		ch.approvedAll = ch.approvedAll || ev.Decision == string(client.ResumeTypeApproveSession)
	case *holdfast.MaxIterationsReachedEvent:
		ch.endText()
		ch.limit = ev
	case *holdfast.RunContinuedEvent:
		ch.limit = nil
	case *holdfast.AuthorizationRequiredEvent:
		ch.authorization(ev)
	case *holdfast.ElicitationRequestEvent:
		ch.addForm(formOf(ev))
	case *holdfast.ElicitationAnsweredEvent:
		ch.dropForm(ev.ID)
	case *holdfast.ModelCallVoidedEvent:
		ch.partial, ch.flushed, ch.writing, ch.table = "", 0, "", nil
		ch.md = markdown{}
		ch.add(ch.style.dim("(what the model had said is void: it is asked again)"))
	case *holdfast.ModelFallbackEvent:
		ch.endText()
		ch.add(ch.fold(ch.style.yellow("model " + clean(ev.FailedModel) + " failed; " + clean(ev.FallbackModel) + " takes over")))
	case *holdfast.AgentSwitchingEvent:
		ch.endText()
	case *holdfast.TokenUsageEvent:
		ch.tokens += ev.Usage.InputTokens + ev.Usage.OutputTokens
		ch.cost = ev.Usage.Cost
	case *holdfast.SessionTitleEvent:
		ch.title = ev.Title
	case *holdfast.SessionCompactionEvent:
		ch.endText()
		if ev.Status == "completed" {
			ch.add(ch.style.dim("(the conversation so far is summarized for the model; the log keeps it)"))
		}
	case *holdfast.WarningEvent:
		ch.endText()
		ch.paragraph("! "+ev.Message, "33", "")
	case *holdfast.ErrorEvent:
		ch.endText()
		ch.paragraph("✗ "+ev.Error, "31", "")
	case *holdfast.CommandRefusedEvent:
		ch.endText()
		ch.paragraph("✗ "+ev.Message, "31", "")
	case *holdfast.StreamStoppedEvent:
		ch.endText()
		ch.speaker = ""
	case *holdfast.RunFinishedEvent:
		ch.runFinished(ev)
	case *holdfast.SessionDeletedEvent:
		return errors.New("the session was deleted")
	}
	return nil
}

func (ch *chat) runFinished(ev *holdfast.RunFinishedEvent) {
	ch.endText()
	if ev.Run != "" && ev.Run != ch.run {
		return
	}
	ch.running, ch.writing, ch.limit, ch.pending, ch.forms = false, "", nil, nil, nil
	for _, t := range ch.tools {
		t.settled = true // what was not by now never will be
	}
	if ev.Reason != "stop" {
		ch.add(ch.style.dim("(the run ended: " + ev.Reason + ")"))
	}
	ch.add("")
}

func (ch *chat) authorization(ev *holdfast.AuthorizationRequiredEvent) {
	ch.endText()
	ch.auth = nil
	switch ev.Confirmation {
	case "pending":
		ch.auth = ev
		ch.add(ch.fold(ch.style.yellow("⚿ " + clean(ev.ServerURL) + " wants your authorization")))
		if ev.AuthorizationURL != "" {
			// Not broken into lines: the terminal does, and it stays a link.
			ch.add("  open this link in a browser; the run goes on by itself:", "  "+clean(ev.AuthorizationURL))
		}
	default:
		ch.add(ch.fold(ch.style.dim("⚿ " + clean(ev.ServerURL) + ": authorization " + ev.Confirmation)))
	}
}

// said shows what the user said.
func (ch *chat) said(text string) {
	for i, line := range strings.Split(clean(text), "\n") {
		mark := "> "
		if i > 0 {
			mark = "  "
		}
		ch.add(wrap([]span{{mark, "1;36"}, {line, lookBold}}, ch.columns(), "  ", ch.style.on)...)
	}
	ch.speaker = ""
}

// speak says whose words follow, where that is not clear.
func (ch *chat) speak(agent string) {
	if agent == ch.speaker || agent == "" {
		return
	}
	ch.endText()
	if ch.speaker != "" || agent != "root" {
		ch.add(ch.style.cyan("◆ " + clean(agent)))
	}
	ch.speaker = agent
}

// write takes what the model says.
func (ch *chat) write(text string) {
	text = clean(text)
	for {
		line, rest, ended := strings.Cut(text, "\n")
		ch.partial += line
		if !ended {
			return
		}
		ch.endLine()
		text = rest
	}
}

// endLine puts the line that the model has written into the text. Rows of a table
// wait for those that come: only the whole says how wide its columns are.
func (ch *chat) endLine() {
	if ch.inTable() {
		ch.table = append(ch.table, ch.partial)
		ch.partial = ""
		return
	}
	ch.endTable()
	ch.settleRows()
	spans, indent := ch.md.line(ch.partial, true)
	rows := wrap(spans, ch.columns(), indent, ch.style.on)
	ch.add(rows[min(ch.flushed, len(rows)):]...)
	ch.partial, ch.flushed = "", 0
}

// inTable reports whether the line that the model writes is a row of a table.
func (ch *chat) inTable() bool {
	return ch.md.fence == "" && ch.flushed == 0 && row.MatchString(ch.partial)
}

func (ch *chat) endTable() {
	ch.add(tableLines(ch.table, ch.columns(), ch.style.on)...)
	ch.table = nil
}

// endText ends what the model has written so far.
func (ch *chat) endText() {
	if ch.partial != "" {
		ch.endLine()
	}
	ch.endTable()
}

// settleRows begins the rest of a long line anew if the terminal has become wider or
// narrower: its first rows are in the text, and stay as they are.
func (ch *chat) settleRows() {
	if ch.flushed == 0 || ch.wrapped == ch.columns() {
		return
	}
	spans, indent := ch.md.line(ch.partial, false)
	rows := wrap(spans, ch.wrapped, indent, ch.style.on)
	ch.add(rows[min(ch.flushed, len(rows)):]...)
	ch.partial, ch.flushed = "", 0
}

// liveText is the line that the model writes, with the rows above it of a table. What
// of a long one stands fast goes into the text.
func (ch *chat) liveText() []string {
	if ch.inTable() {
		return tableLines(append(slices.Clone(ch.table), ch.partial), ch.columns(), ch.style.on)
	}
	above := tableLines(ch.table, ch.columns(), ch.style.on)
	if ch.settleRows(); ch.partial == "" {
		return above
	}
	const keep = 3
	spans, indent := ch.md.line(ch.partial, false)
	rows := wrap(spans, ch.columns(), indent, ch.style.on)
	if n := len(rows) - keep; n > ch.flushed && ch.table == nil && !strings.HasPrefix(strings.TrimSpace(ch.partial), "|") {
		ch.add(rows[ch.flushed:n]...)
		ch.flushed, ch.wrapped = n, ch.columns()
	}
	return append(above, rows[min(ch.flushed, len(rows)):]...)
}

func (ch *chat) endThought(at time.Time) {
	if ch.thinking.Len() == 0 {
		return
	}
	words := len(strings.Fields(ch.thinking.String()))
	ch.add(ch.style.dim(fmt.Sprintf("∴ thought for %.1f s, %d words", max(0, at.Sub(ch.thought).Seconds()), words)))
	ch.thinking.Reset()
}

// unask takes back the question about a call.
func (ch *chat) unask(call string) {
	ch.pending = slices.DeleteFunc(ch.pending, func(p *holdfast.ToolCallConfirmationEvent) bool { return p.ToolCall.ID == call })
}

// toolDone folds a call that has its result into a line.
func (ch *chat) toolDone(call, output string, failed bool) {
	for _, t := range ch.tools {
		if t.call.ID != call || t.settled {
			continue
		}
		t.output, t.failed, t.settled = output, failed, true
		mark := ch.style.green("✓")
		if failed {
			mark = ch.style.red("✗")
		}
		more := ""
		if n := strings.Count(strings.TrimSpace(output), "\n"); n > 0 {
			more = fmt.Sprintf(" (%d lines)", n+1)
		}
		line := mark + " " + toolLine(t.call, max(16, ch.columns()/3))
		room := ch.columns() - textWidth(line) - len(" → ") - len(more)
		ch.add(ch.fold(line + ch.style.dim(" → "+oneLine(output, max(8, room))+more)))
	}
}

// toolLine is a call in a line.
func toolLine(call holdfast.ToolCall, most int) string {
	return clean(call.Function.Name) + "(" + oneLine(compact(call.Function.Arguments), most) + ")"
}

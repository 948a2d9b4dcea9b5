package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// spinner turns while something is under way.
var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// repaint shows what there is: the text with what is new in it, and under it what
// is under way, what the chat asks, the line that the user writes and the state.
func (ch *chat) repaint() {
	live := ch.liveText()
	live = append(live, ch.underWay()...)
	live = append(live, ch.question()...)
	input, line, column := ch.input()
	at := len(live) + line
	live = append(append(live, input...), ch.state())
	_, rows := ch.size()
	if most := max(3, rows-1); len(live) > most { // the terminal is too low for all: its end, or from the cursor on
		from := min(len(live)-most, at)
		live, at = live[from:from+most], at-from
	}
	ch.screen.paint(ch.finished, live, at, column)
	ch.finished = nil
}

// underWay are the lines of what is not finished.
func (ch *chat) underWay() (lines []string) {
	turn := spinner[ch.frame%len(spinner)]
	if s := ch.thinking.String(); s != "" {
		words := strings.Fields(clean(s))
		lines = append(lines, ch.fold(ch.style.dim(turn+" thinking: … "+strings.Join(words[max(0, len(words)-10):], " "))))
	}
	for _, t := range ch.tools {
		if !t.settled && ch.running {
			lines = append(lines, ch.fold(fmt.Sprintf("%s %s %s", ch.style.yellow(turn), toolLine(t.call, 60), ch.style.dim(fmt.Sprintf("%ds", int(time.Since(t.began).Seconds()))))))
		}
	}
	if ch.writing != "" {
		lines = append(lines, ch.fold(ch.style.dim(turn+" writes a call of "+clean(ch.writing))))
	}
	for _, q := range ch.queue {
		lines = append(lines, ch.fold(ch.style.dim("> "+oneLine(q, 200)+"  (sent)")))
	}
	return lines
}

// question is what the chat asks.
func (ch *chat) question() []string {
	// What can be pressed, a key and what it does in turn; no key is left out in a narrow
	// terminal.
	keys := func(offered ...string) []string {
		spans := []span{{"  ", ""}}
		for i := 0; i < len(offered); i += 2 {
			// Spaces that hold a key and its meaning together in one line.
			spans = append(spans, span{"[" + offered[i] + "]", lookBold}, span{"\u00a0" + strings.ReplaceAll(offered[i+1], " ", "\u00a0"), ""}, span{"  ", ""})
		}
		lines := wrap(spans, ch.columns(), "  ", ch.style.on)
		for i, l := range lines {
			lines[i] = strings.TrimRight(strings.ReplaceAll(l, "\u00a0", " "), " ")
		}
		return lines
	}
	switch {
	case len(ch.pending) > 0:
		p := ch.pending[0]
		why := " wants to run"
		if p.Reason != "" {
			why = " was interrupted; whether it had its effect is not known. Run it again?"
		}
		if ch.approvedAll && p.Reason == "" {
			why = " wants to run; its agent file, or a hook, has it asked each time"
		}
		lines := wrap([]span{{"? " + toolLine(p.ToolCall, 400), "33"}, {why, ""}}, ch.columns(), "  ", ch.style.on)
		if len(lines) > 6 {
			lines = append(lines[:5], "  … (v shows it whole)")
		}
		offered := []string{"y", "yes", "a", "all in this session", "n", "no", "v", "view"}
		if ch.approvedAll {
			offered = slices.Delete(offered, 2, 4) // it would change nothing
		}
		lines = append(lines, keys(offered...)...)
		if n := len(ch.pending) - 1; n > 0 {
			lines = append(lines, ch.fold(ch.style.dim(fmt.Sprintf("  and %d more wait", n))))
		}
		return lines
	case len(ch.forms) > 0 && !ch.forms[0].sent:
		lines := wrap([]span{{"? " + ch.forms[0].ask(), "33"}}, ch.columns(), "  ", ch.style.on)
		return append(lines, keys("/decline", "says no", "/dismiss", "gives no answer")...)
	case ch.limit != nil:
		return append(wrap([]span{{fmt.Sprintf("? the run has made its %d model calls. Go on?", ch.limit.MaxIterations), "33"}}, ch.columns(), "  ", ch.style.on),
			keys("y", "go on", "n", "stop")...)
	case ch.auth != nil:
		return keys("y", "authorize", "n", "refuse")
	}
	return nil
}

// input is the line that the user writes, and where the cursor is in it.
func (ch *chat) input() (rows []string, line, column int) {
	const mark = "> "
	most := ch.columns() - len(mark)
	row, used := "", 0
	flush := func() {
		prefix := "  "
		if len(rows) == 0 {
			prefix = ch.style.cyan(mark)
		}
		rows = append(rows, prefix+row)
		row, used = "", 0
	}
	for i, r := range ch.editor.text {
		w := runeWidth(r)
		if used+w > most {
			flush()
		}
		if i == ch.editor.at {
			line, column = len(rows), used
		}
		if r == '\n' {
			flush()
			continue
		}
		if r == '\t' {
			r, w = ' ', 1
		}
		row += string(r)
		used += w
	}
	if ch.editor.at == len(ch.editor.text) {
		line, column = len(rows), used
	}
	flush()
	return rows, line, column + len(mark)
}

// state is the last line.
func (ch *chat) state() string {
	switch {
	case ch.away:
		return ch.fold(ch.style.yellow(spinner[ch.frame%len(spinner)] + " the connection is lost; connecting again. Nothing is lost with it"))
	case ch.notice != "":
		return ch.fold(ch.style.yellow(ch.notice))
	}
	var parts []string
	if ch.running && len(ch.pending) == 0 && len(ch.forms) == 0 && ch.limit == nil && ch.auth == nil {
		parts = append(parts, fmt.Sprintf("%s %ds, Esc stops it", spinner[ch.frame%len(spinner)], int(time.Since(ch.began).Seconds())))
	}
	if ch.title != "" {
		parts = append(parts, oneLine(ch.title, 50))
	}
	if ch.tokens > 0 {
		parts = append(parts, fmt.Sprintf("%d tokens", ch.tokens))
	}
	if ch.cost > 0 {
		parts = append(parts, fmt.Sprintf("$%.4f", ch.cost))
	}
	return ch.fold(ch.style.dim(strings.Join(parts, " · ")))
}

// pretty is JSON over several lines, or the text as it is.
func pretty(s string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(s), "", "  ") != nil {
		return s
	}
	return b.String()
}

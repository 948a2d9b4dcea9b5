package main

import (
	"fmt"
	"io"
	"strings"
)

// screen shows a growing text with a few lines under it that change: the text goes
// into the terminal's own history, so that one can scroll, search and copy it.
type screen struct {
	w    io.Writer
	size func() (columns, rows int)

	// What is under the text now: how many lines, and in which of them the cursor is.
	lines, cursor int
	err           error
}

// paint adds finished lines to the text and shows live under it, with the cursor
// in a line and column of live. Lines must not be wider than the terminal.
func (s *screen) paint(finished, live []string, line, column int) {
	var b strings.Builder
	b.WriteString("\x1b[?25l") // no cursor while it jumps
	if s.cursor > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.cursor)
	}
	b.WriteString("\r\x1b[J")
	for _, l := range finished {
		b.WriteString(l + "\r\n")
	}
	b.WriteString(strings.Join(live, "\r\n"))
	s.lines, s.cursor = len(live), line
	if up := len(live) - 1 - line; up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r")
	if column > 0 {
		fmt.Fprintf(&b, "\x1b[%dC", column)
	}
	b.WriteString("\x1b[?25h")
	if _, err := io.WriteString(s.w, b.String()); err != nil && s.err == nil {
		s.err = fmt.Errorf("write to the terminal: %w", err)
	}
}

// leave takes away what is under the text.
func (s *screen) leave() { s.paint(nil, []string{""}, 0, 0) }

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

	// What is under the text now: how wide each line is down to that of the cursor, in
	// which column that is, and the columns that the terminal had.
	widths  []int
	column  int
	columns int
	err     error
}

// above is how many rows of the terminal are between the first line under the text
// and the cursor. A terminal that has become narrower has broken lines anew.
func (s *screen) above() int {
	if len(s.widths) == 0 {
		return 0
	}
	last := len(s.widths) - 1
	columns, _ := s.size()
	if columns >= s.columns || columns <= 0 {
		return last
	}
	rows := s.column / columns
	for _, w := range s.widths[:last] {
		rows += max(1, (w+columns-1)/columns)
	}
	return rows
}

// paint adds finished lines to the text and shows live under it, with the cursor
// in a line and column of live. Lines must not be wider than the terminal.
func (s *screen) paint(finished, live []string, line, column int) {
	var b strings.Builder
	b.WriteString("\x1b[?25l") // no cursor while it jumps
	if up := s.above(); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r\x1b[J")
	for _, l := range finished {
		b.WriteString(l + "\r\n")
	}
	b.WriteString(strings.Join(live, "\r\n"))
	s.widths = s.widths[:0]
	for _, l := range live[:line+1] {
		s.widths = append(s.widths, textWidth(l))
	}
	s.column = column
	s.columns, _ = s.size()
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

// clear begins with an empty screen; what was there has scrolled away.
func (s *screen) clear() {
	s.widths = nil
	if _, err := io.WriteString(s.w, "\x1b[H\x1b[2J"); err != nil && s.err == nil {
		s.err = fmt.Errorf("write to the terminal: %w", err)
	}
}

// leave takes away what is under the text.
func (s *screen) leave() { s.paint(nil, []string{""}, 0, 0) }

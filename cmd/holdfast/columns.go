package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// runeWidth is how many columns a character takes: two for those that are wide or
// fullwidth in East Asia, emoji among them (Unicode Standard Annex 11).
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return 0
		}
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf), r >= 0xfe00 && r <= 0xfe0f:
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// textWidth is how many columns a text takes. Control sequences of ours that set
// colours take none.
func textWidth(s string) int {
	n := 0
	for i := 0; i < len(s); {
		if s[i] == 0x1b {
			i += escapeLen(s[i:])
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		n += runeWidth(r)
		i += size
	}
	return n
}

// escapeLen is the length of the control sequence with which s begins.
func escapeLen(s string) int {
	if len(s) < 2 || s[1] != '[' {
		return 1
	}
	for i := 2; i < len(s); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i + 1
		}
	}
	return len(s)
}

// cut cuts a line to so many columns and says with "…" that it did. Control
// sequences of ours in it take no room.
func cut(s string, most int, colours bool) string {
	if textWidth(s) <= most {
		return s
	}
	var b strings.Builder
	n := 0
	for i := 0; i < len(s); {
		if s[i] == 0x1b {
			l := escapeLen(s[i:])
			b.WriteString(s[i : i+l])
			i += l
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if n += runeWidth(r); n > most-1 {
			break
		}
		b.WriteRune(r)
		i += size
	}
	b.WriteString("…")
	if colours {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// tabStop is how far tabulators reach.
const tabStop = 4

// span is a piece of text in one look: sgr is the parameter of the control sequence
// that sets it (ECMA-48, section 8.3.117), "" for none.
type span struct{ text, sgr string }

// wrap breaks spans into lines of at most so many columns, at spaces where it can.
// Every line but the first begins with indent. Each line is complete in itself:
// it sets its looks and takes them back.
func wrap(spans []span, columns int, indent string, colours bool) []string {
	type cell struct {
		r   rune
		sgr string
	}
	columns = max(columns, 8)
	if textWidth(indent) > columns/2 {
		indent = "" // it leaves no room
	}
	var lines []string
	var line []cell
	used, space := 0, -1 // columns of the line, and where its last space stands
	flush := func(cells []cell) {
		var b strings.Builder
		sgr := ""
		for _, c := range cells {
			if colours && c.sgr != sgr {
				if sgr != "" {
					b.WriteString("\x1b[0m")
				}
				if c.sgr != "" {
					b.WriteString("\x1b[" + c.sgr + "m")
				}
				sgr = c.sgr
			}
			b.WriteRune(c.r)
		}
		if sgr != "" {
			b.WriteString("\x1b[0m")
		}
		lines = append(lines, b.String())
	}
	restart := func(rest []cell) {
		next := make([]cell, 0, len(rest)+len(indent))
		for _, r := range indent {
			next = append(next, cell{r, ""})
		}
		line = append(next, rest...)
		used, space = 0, -1
		for _, c := range line {
			used += runeWidth(c.r)
		}
	}
	put := func(r rune, sgr string) {
		w := runeWidth(r)
		for used+w > columns {
			switch {
			case r == ' ':
				flush(line)
				restart(nil)
				return
			case space >= 0:
				flush(line[:space])
				restart(line[space+1:])
			default:
				flush(line)
				restart(nil)
			}
		}
		if r == ' ' && len(line) > utf8.RuneCountInString(indent) {
			space = len(line)
		}
		line = append(line, cell{r, sgr})
		used += w
	}
	for _, s := range spans {
		for _, r := range s.text {
			n := 1
			if r == '\t' {
				r, n = ' ', tabStop-used%tabStop
			}
			for range n {
				put(r, s.sgr)
			}
		}
	}
	flush(line)
	return lines
}

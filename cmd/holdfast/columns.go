package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// wide are the ranges whose characters take two columns of a terminal: East Asian
// wide and fullwidth (Unicode Standard Annex 11), and emoji.
var wide = [][2]rune{
	{0x1100, 0x115f},
	{0x231a, 0x231b},
	{0x23e9, 0x23ec},
	{0x2614, 0x2615},
	{0x26a1, 0x26a1},
	{0x2705, 0x2705},
	{0x270a, 0x270b},
	{0x2728, 0x2728},
	{0x274c, 0x274c},
	{0x2753, 0x2755},
	{0x2757, 0x2757},
	{0x2795, 0x2797},
	{0x2b50, 0x2b50},
	{0x2b55, 0x2b55},
	{0x2e80, 0x303e},
	{0x3041, 0x33ff},
	{0x3400, 0x4dbf},
	{0x4e00, 0x9fff},
	{0xa000, 0xa4cf},
	{0xa960, 0xa97f},
	{0xac00, 0xd7a3},
	{0xf900, 0xfaff},
	{0xfe30, 0xfe6f},
	{0xff00, 0xff60},
	{0xffe0, 0xffe6},
	{0x1f300, 0x1f64f},
	{0x1f680, 0x1f6ff},
	{0x1f900, 0x1f9ff},
	{0x1fa70, 0x1faff},
	{0x20000, 0x3fffd},
}

// runeWidth is how many columns a character takes.
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
	for _, w := range wide {
		if r < w[0] {
			return 1
		}
		if r <= w[1] {
			return 2
		}
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
	for _, s := range spans {
		for _, r := range s.text {
			if r == '\t' {
				r = ' '
			}
			w := runeWidth(r)
			if used+w > columns {
				switch {
				case r == ' ':
					flush(line)
					restart(nil)
					continue
				case space >= 0:
					flush(line[:space])
					restart(line[space+1:])
				default:
					flush(line)
					restart(nil)
				}
			}
			if r == ' ' && len(lines) == 0 && len(line) > 0 || r == ' ' && len(line) > len(indent) {
				space = len(line)
			}
			line = append(line, cell{r, s.sgr})
			used += w
		}
	}
	flush(line)
	return lines
}

package main

import (
	"regexp"
	"strings"
)

// Looks of Markdown, as parameters of the control sequence that sets them.
const (
	lookBold    = "1"
	lookDim     = "2"
	lookItalic  = "3"
	lookStrike  = "9"
	lookCode    = "36"
	lookHeading = "1;36"
	lookLink    = "4;34"
)

// markdown renders Markdown line by line, as it comes from a model. It keeps no
// more than whether it is in a block of code: a line that is shown is never
// changed by one that comes later.
type markdown struct {
	fence string // what ends the block of code, "" outside
}

var (
	listItem = regexp.MustCompile(`^(\s*)([-*+]|\d{1,4}[.)])\s+(\[[ xX]\]\s+)?`)
	heading  = regexp.MustCompile(`^#{1,6}\s+`)
	rule     = regexp.MustCompile(`^\s*([-*_])(\s*[-*_]){2,}\s*$`)
	fencing  = regexp.MustCompile("^\\s*(```+|~~~+)\\s*([A-Za-z0-9_+.#-]*)")
	row      = regexp.MustCompile(`^\s*\|.*\|\s*$`)
)

// line renders a line without its newline. indent is how lines begin into which it
// is broken. done says that the line is complete: only then does it change what
// the lines behind it are.
func (m *markdown) line(text string, done bool) (spans []span, indent string) {
	if m.fence != "" {
		if f := fencing.FindStringSubmatch(text); f != nil && strings.HasPrefix(f[1], m.fence) && f[2] == "" {
			if done {
				m.fence = ""
			}
			return []span{{"  " + f[1], lookDim}}, ""
		}
		return []span{{"  " + strings.ReplaceAll(text, "\t", "    "), lookCode}}, "  "
	}
	if f := fencing.FindStringSubmatch(text); f != nil {
		if done {
			m.fence = f[1]
		}
		return []span{{"  " + f[1] + f[2], lookDim}}, ""
	}
	switch {
	case rule.MatchString(text):
		return []span{{strings.Repeat("─", 24), lookDim}}, ""
	case heading.MatchString(text):
		spans := inline(heading.ReplaceAllString(text, ""), lookHeading)
		return spans, ""
	case strings.HasPrefix(strings.TrimLeft(text, " "), ">"):
		quote := strings.TrimPrefix(strings.TrimPrefix(strings.TrimLeft(text, " "), ">"), " ")
		return append([]span{{"│ ", lookDim}}, inline(quote, lookItalic)...), "│ "
	case row.MatchString(text):
		var spans []span
		for i, cell := range strings.Split(text, "|") {
			if i > 0 {
				spans = append(spans, span{"│", lookDim})
			}
			spans = append(spans, inline(cell, "")...)
		}
		return spans, "  "
	}
	if l := listItem.FindStringSubmatch(text); l != nil {
		mark := l[2]
		if strings.ContainsAny(mark, "-*+") {
			mark = "•"
		}
		switch strings.TrimSpace(l[3]) {
		case "[ ]":
			mark = "☐"
		case "[x]", "[X]":
			mark = "☑"
		}
		spans := append([]span{{l[1], ""}, {mark + " ", lookCode}}, inline(text[len(l[0]):], "")...)
		return spans, strings.Repeat(" ", len(l[1])+textWidth(mark)+1)
	}
	return inline(text, ""), ""
}

// marks are what frames a piece of a line, longest first.
var marks = []struct{ mark, look string }{
	{"**", lookBold},
	{"__", lookBold},
	{"~~", lookStrike},
	{"*", lookItalic},
	{"_", lookItalic},
}

var link = regexp.MustCompile(`^!?\[([^\]\n]*)\]\(([^)\s]+)[^)]*\)`)

// inline renders the inside of a line. A mark that is not closed is text.
func inline(text, look string) (spans []span) {
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			spans = append(spans, span{plain.String(), look})
			plain.Reset()
		}
	}
	for i := 0; i < len(text); {
		rest := text[i:]
		if rest[0] == '\\' && len(rest) > 1 && strings.IndexByte("\\`*_~[]()#+-.!|>", rest[1]) >= 0 {
			plain.WriteByte(rest[1])
			i += 2
			continue
		}
		if rest[0] == '`' {
			n := len(rest) - len(strings.TrimLeft(rest, "`"))
			if end := strings.Index(rest[n:], rest[:n]); end >= 0 {
				flush()
				spans = append(spans, span{rest[n : n+end], both(look, lookCode)})
				i += n + end + n
				continue
			}
		}
		if l := link.FindStringSubmatch(rest); l != nil {
			flush()
			spans = append(spans, inline(l[1], both(look, lookLink))...)
			if l[2] != l[1] {
				spans = append(spans, span{" (" + l[2] + ")", both(look, lookDim)})
			}
			i += len(l[0])
			continue
		}
		if inner, n, l := marked(text, i); n > 0 {
			flush()
			spans = append(spans, inline(inner, both(look, l))...)
			i += n
			continue
		}
		plain.WriteByte(rest[0])
		i++
	}
	flush()
	return spans
}

// marked returns what is between marks that begin at text[i], how long it is with
// its marks (0 for none) and its look.
func marked(text string, i int) (inner string, length int, look string) {
	for _, m := range marks {
		rest := text[i:]
		if !strings.HasPrefix(rest, m.mark) {
			continue
		}
		n := len(m.mark)
		end := strings.Index(rest[n:], m.mark)
		switch {
		case end <= 0, rest[n] == ' ', rest[n+end-1] == ' ':
			continue
		case m.mark[0] == '_' && (i > 0 && word(text[i-1]) || n+end+n < len(rest) && word(rest[n+end+n])):
			continue // snake_case
		}
		return rest[n : n+end], n + end + n, m.look
	}
	return "", 0, ""
}

func word(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= 0x80
}

func both(a, b string) string {
	if a == "" {
		return b
	}
	return a + ";" + b
}

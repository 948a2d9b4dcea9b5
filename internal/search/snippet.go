package search

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// snippetBefore and snippetSize are how many bytes of a message are shown before
	// the first hit, and in all.
	snippetBefore = 60
	snippetSize   = 240
)

// Part is a piece of a [Snippet].
type Part struct {
	Text string
	// Hit says that the query looks for it.
	Hit bool
}

// Snippet is the part of a message where the query is met first, in pieces, so
// that whoever shows it marks the hits in a way that is his own. White space and
// control characters are single spaces. The text is that of a user or a model, as
// it was said.
func (q Query) Snippet(text string) []Part {
	hits := q.hits(split(text))
	from := 0
	if len(hits) > 0 && hits[0].start > snippetBefore {
		from = wordStart(text, hits[0].start-snippetBefore, hits[0].start)
	}
	to := len(text)
	if to-from > snippetSize {
		to = from + len(cut(text[from:], snippetSize))
		// Not in the middle of a word, unless it is longer than what is shown.
		if space := strings.LastIndexFunc(text[from:to], unicode.IsSpace); space > snippetSize/2 && (len(hits) == 0 || from+space >= hits[0].end) {
			to = from + space
		}
	}
	var parts []Part
	add := func(s string, hit bool) {
		if s = spaced(s); s != "" {
			parts = append(parts, Part{s, hit})
		}
	}
	if from > 0 {
		parts = append(parts, Part{Text: "…"})
	}
	at := from
	for _, h := range hits {
		if h.start >= to {
			break
		}
		add(text[at:h.start], false)
		add(text[h.start:min(h.end, to)], true)
		at = min(h.end, to)
	}
	add(text[at:to], false)
	if to < len(text) {
		parts = append(parts, Part{Text: "…"})
	}
	return joined(parts)
}

// joined makes one of neighbours that are alike.
func joined(parts []Part) []Part {
	var out []Part
	for _, p := range parts {
		if n := len(out); n > 0 && out[n-1].Hit == p.Hit {
			out[n-1].Text += p.Text
			continue
		}
		out = append(out, p)
	}
	return out
}

// wordStart is the first beginning of a word between two places of a text, the
// first character if there is none.
func wordStart(text string, from, to int) int {
	for from < to && !utf8.RuneStart(text[from]) {
		from++
	}
	if space := strings.IndexFunc(text[from:to], unicode.IsSpace); space >= 0 {
		_, size := utf8.DecodeRuneInString(text[from+space:])
		return from + space + size
	}
	return from
}

// spaced makes one space of each run of white space and control characters.
func spaced(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			gap = true
			continue
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteRune(r)
	}
	if gap {
		b.WriteByte(' ')
	}
	return b.String()
}

// span is a part of a text.
type span struct{ start, end int }

// hits are the parts of a text that the query looks for, in order; they do not
// overlap.
func (q Query) hits(words []word) (hits []span) {
	for _, c := range q.Any {
		for _, t := range c.All {
			for i := range words {
				if end, ok := t.at(words[i:]); ok {
					hits = append(hits, span{words[i].start, end})
				}
			}
		}
	}
	slices.SortFunc(hits, func(a, b span) int { return a.start - b.start })
	out := hits[:0]
	for _, h := range hits {
		if n := len(out); n > 0 && h.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, h.end)
			continue
		}
		out = append(out, h)
	}
	return out
}

// at reports whether the term begins with the first of the words, and where it ends.
func (t Term) at(words []word) (end int, ok bool) {
	if len(words) < len(t.Words) {
		return 0, false
	}
	final := len(t.Words) - 1
	for i, want := range t.Words {
		got := &words[i]
		switch {
		case got.text == want:
		case i == final && t.Prefix && strings.HasPrefix(got.text, want):
			if got.kind == pair { // of the two characters the first one
				return got.first, true
			}
		default:
			return 0, false
		}
	}
	return words[final].end, true
}

package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// MaxQuery is the most characters of a query.
	MaxQuery = 1000
	// maxTerms and maxWords are the most terms and words of a query.
	maxTerms = 64
	maxWords = 200
)

// Query is what is looked for: messages for which one of Any holds.
type Query struct {
	Any []Clause
}

// Clause holds for a message that has all of All, at least one, and none of None.
type Clause struct {
	All, None []Term
}

// Term is a word, or several that must follow each other.
type Term struct {
	// Words is never empty, and no word is. They are letters, digits and marks alone.
	Words []string
	// Prefix says that the last word may go on.
	Prefix bool
}

// Parse reads a query as people type it: words, "words in this order", -word that
// must not be there, "or" between alternatives, word* for its beginning. All other
// signs part words. What cannot be asked is CodeInvalid; an odd use of signs is
// not: it means the words.
func Parse(text string) (Query, error) {
	if utf8.RuneCountInString(text) > MaxQuery {
		return Query{}, holdfast.Errorf(holdfast.CodeInvalid, "q: more than %d characters", MaxQuery)
	}
	items := lex(norm.NFC.String(strings.ToValidUTF8(text, " ")))
	var q Query
	var c Clause
	terms, words := 0, 0
	finish := func() error {
		switch {
		case len(c.All) > 0:
			q.Any = append(q.Any, c)
		case len(c.None) > 0:
			return holdfast.Errorf(holdfast.CodeInvalid, "q: there must be a word to look for, not only words to leave out")
		}
		c = Clause{}
		return nil
	}
	for i, it := range items {
		// It is a word at the beginning, at the end, and behind another "or".
		if it.or && i > 0 && i+1 < len(items) && !items[i-1].or {
			if err := finish(); err != nil {
				return Query{}, err
			}
			continue
		}
		t, ok := it.term()
		if !ok {
			continue
		}
		if terms, words = terms+1, words+len(t.Words); terms > maxTerms || words > maxWords {
			return Query{}, holdfast.Errorf(holdfast.CodeInvalid, "q: more than %d terms, or %d words", maxTerms, maxWords)
		}
		if it.not {
			c.None = append(c.None, t)
		} else {
			c.All = append(c.All, t)
		}
	}
	if err := finish(); err != nil {
		return Query{}, err
	}
	if len(q.Any) == 0 {
		return Query{}, holdfast.Errorf(holdfast.CodeInvalid, "q: there is no word in it")
	}
	return q, nil
}

// item is a piece of a query between spaces, or between quotes.
type item struct {
	text string
	// not has the sign of what is to be left out before it, or is the word "or".
	not, or, prefix bool
}

func lex(s string) (items []item) {
	for {
		s = strings.TrimLeftFunc(s, unicode.IsSpace)
		if s == "" {
			return items
		}
		var it item
		if rest, ok := strings.CutPrefix(s, "-"); ok {
			s, it.not = rest, true
			if r, _ := utf8.DecodeRuneInString(s); s == "" || unicode.IsSpace(r) {
				continue // a dash by itself
			}
		}
		if rest, ok := strings.CutPrefix(s, `"`); ok {
			it.text, s, _ = strings.Cut(rest, `"`)
			s, it.prefix = strings.CutPrefix(s, "*")
		} else {
			end := strings.IndexFunc(s, func(r rune) bool { return r == '"' || unicode.IsSpace(r) })
			if end < 0 {
				end = len(s)
			}
			it.text, s = s[:end], s[end:]
			it.prefix = strings.HasSuffix(it.text, "*")
			it.or = !it.not && strings.EqualFold(it.text, "or")
		}
		items = append(items, it)
	}
}

// term is what an item looks for; there may be nothing in it.
func (it item) term() (Term, bool) {
	words := split(it.text)
	n := len(words)
	t := Term{Prefix: it.prefix}
	switch {
	case n == 0:
		return Term{}, false
	case words[n-1].kind != last:
	case n > 1 && words[n-2].kind == pair && words[n-2].end == words[n-1].end:
		// The pairs before it say it all: in the message the run may go on.
		words, t.Prefix = words[:n-1], false
	default:
		t.Prefix = true
	}
	for _, w := range words {
		t.Words = append(t.Words, w.text)
	}
	return t, true
}

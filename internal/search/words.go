package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// MaxText is how many bytes of a message are indexed and kept, from its beginning.
	MaxText = 16 << 10
	// maxWord is how many bytes of a word count.
	maxWord = 100
	// maxSame is how often one word counts in a message. Postgres keeps 255 places of
	// a word, and every store is to answer alike.
	maxSame = 250
)

// word is a word of a text.
type word struct {
	text string
	// start and end are where it stands in the text; first is the end of its first
	// character.
	start, first, end int
	kind              kind
}

// kind says what a word is made of.
type kind uint8

const (
	plain kind = iota // letters and digits between others
	pair              // two neighbours in a run of a dense script
	last              // the last character of such a run
)

// dense are the scripts whose words no spaces part, and Korean, whose particles
// are written to the word. A run of them is cut into pairs that overlap, and its
// last character: any part of two characters or more is a sequence of pairs, and
// one character is the beginning of a pair, or the last one.
var dense = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
	{R16: []unicode.Range16{{Lo: 0x30fc, Hi: 0x30fc, Stride: 1}}}, // the mark of long vowels belongs to two scripts
}

// isWord reports whether a character is part of a word.
func isWord(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r)
}

func isDense(r rune) bool { return r >= 0x0e00 && unicode.In(r, dense...) }

// split cuts a text into its words, in order.
func split(text string) []word {
	var words []word
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRuneInString(text[at:])
		switch {
		case !isWord(r):
			at += size
		case isDense(r):
			words, at = splitDense(words, text, at)
		default:
			first, end := 0, at
			for end < len(text) {
				r, size := utf8.DecodeRuneInString(text[end:])
				if !isWord(r) || isDense(r) {
					break
				}
				end += size
				if first == 0 {
					first = end
				}
			}
			words = appendWord(words, word{text: text[at:end], start: at, first: first, end: end})
			at = end
		}
	}
	return words
}

// splitDense cuts the run of dense characters that begins at a place. Marks belong
// to the character before them.
func splitDense(words []word, text string, at int) ([]word, int) {
	var ends []int // of the characters
	end := at
	for end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		mark := len(ends) > 0 && unicode.IsMark(r)
		if !mark && !isDense(r) {
			break
		}
		end += size
		if mark {
			ends[len(ends)-1] = end
		} else {
			ends = append(ends, end)
		}
	}
	start := at
	for i, first := range ends {
		w := word{start: start, first: first, end: first, kind: last}
		if i+1 < len(ends) {
			w.end, w.kind = ends[i+1], pair
		}
		w.text = text[w.start:w.end]
		words = appendWord(words, w)
		start = first
	}
	return words, end
}

// appendWord folds a word and adds what remains of it.
func appendWord(words []word, w word) []word {
	if w.text = fold(w.text); w.text != "" {
		words = append(words, w)
	}
	return words
}

// fold is a word as it is compared.
func fold(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	s = cut(s, 4*maxWord) // before it is worked on: a word may be a megabyte
	if !ascii {
		// Compatibility forms may have signs in them that are no part of a word.
		s = strings.Map(func(r rune) rune {
			if !isWord(r) {
				return -1
			}
			return r
		}, norm.NFKC.String(s))
	}
	return cut(strings.ToLower(s), maxWord)
}

// cut returns at most so many bytes from the beginning of a text, whole characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// Words are the words of a message as a [Store] indexes them, in order. "" stands
// in the place of one that is not indexed, because it was there often enough.
func Words(text string) []string {
	words := split(text)
	out := make([]string, len(words))
	seen := make(map[string]int, len(words))
	for i := range words {
		w := words[i].text
		if seen[w]++; seen[w] <= maxSame {
			out[i] = w
		}
	}
	return out
}

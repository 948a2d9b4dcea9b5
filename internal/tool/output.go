package tool

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bound makes text of a tool fit for a [Result]: valid UTF-8 of at most
// [MaxOutput] bytes. What is longer loses its end and gets a last line that says
// how much is missing.
func Bound(text string) string { return BoundTo(text, MaxOutput) }

// BoundTo is [Bound] with a limit of its own, for tools that know how many bytes
// of theirs are worth keeping. A limit too small for the marker leaves the
// marker alone.
func BoundTo(text string, limit int) string {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	if len(text) <= limit {
		return text
	}
	// The marker's own length counts; the number of digits is that of the total at most.
	keep := max(limit-len(cutMarker(len(text), len(text))), 0)
	for keep > 0 && !utf8.RuneStart(text[keep]) {
		keep--
	}
	return text[:keep] + cutMarker(keep, len(text))
}

func cutMarker(kept, total int) string {
	return fmt.Sprintf("\n[output cut: the first %d of %d bytes are shown]", kept, total)
}

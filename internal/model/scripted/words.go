package scripted

import "unicode/utf8"

// wordEnd is the end of the piece of s that begins at i: a word and the white
// space around it up to the next word, so that the pieces joined are s.
func wordEnd(s string, i int) int {
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	for i < len(s) && !isSpace(s[i]) {
		i++
	}
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

func isSpace(b byte) bool {
	return b == ' ' || b == '\n' || b == '\t' || b == '\r'
}

func countWords(s string) int64 {
	n := int64(0)
	for i := 0; i < len(s); n++ {
		i = wordEnd(s, i)
	}
	return n
}

// runeEnd is the first position from i on that does not split a rune.
func runeEnd(s string, i int) int {
	for i < len(s) && !utf8.RuneStart(s[i]) {
		i++
	}
	return min(i, len(s))
}

// filler is what say_words is made of. Every word ends in a space; the last one
// of an answer is replaced by lastFiller.
var filler = [...]string{
	"anchor ", "beacon ", "cable ", "deck ", "ebb ", "fathom ", "gale ", "harbor ",
	"inlet ", "jetty ", "keel ", "lantern ", "mast ", "narrows ", "oar ", "pier ",
	"quay ", "reef ", "sail ", "tide ", "undertow ", "vessel ", "wake ", "yaw ",
}

const lastFiller = "zenith."

// fillerWord is the i-th of n words: the same for every call, and free.
func fillerWord(i, n int) string {
	if i == n-1 {
		return lastFiller
	}
	return filler[i%len(filler)]
}

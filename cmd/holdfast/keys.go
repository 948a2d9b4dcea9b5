package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// key is a press of a key, or a paste. name is "" for a character or a paste, which
// are in text.
type key struct {
	name string
	text string
}

// sequences are what terminals send for keys without a character (xterm and
// ECMA-48 forms).
var sequences = map[string]string{
	"[A": "up", "[B": "down", "[C": "right", "[D": "left", "[H": "home", "[F": "end",
	"OA": "up", "OB": "down", "OC": "right", "OD": "left", "OH": "home", "OF": "end",
	"[1~": "home", "[3~": "delete", "[4~": "end", "[7~": "home", "[8~": "end",
	"[1;5C": "word-right", "[1;5D": "word-left", "[1;3C": "word-right", "[1;3D": "word-left",
	"b": "word-left", "f": "word-right", "\r": "newline", "\n": "newline", "\x7f": "kill-word",
	// Shift-Enter and Alt-Enter of terminals that tell them from Enter.
	"[13;2u": "newline", "[13;3u": "newline", "[27;2;13~": "newline", "[27;3;13~": "newline",
}

// controls are the control characters that are keys.
var controls = map[byte]string{
	1: "home", 2: "left", 3: "interrupt", 4: "eof", 5: "end", 6: "right", 8: "backspace", 9: "tab", 10: "newline", 11: "kill-end",
	12: "redraw", 13: "enter", 14: "down", 16: "up", 21: "kill-begin", 23: "kill-word", 26: "suspend", 127: "backspace",
}

const (
	pasteBegin = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// keyReader makes keys of the bytes of a terminal in raw mode.
type keyReader struct{ rest string }

// feed returns the keys in what has come. A lone escape at the end is the escape
// key; of a sequence that has begun the rest is still to come.
func (k *keyReader) feed(data []byte) (keys []key) {
	k.rest += string(data)
	for k.rest != "" {
		if strings.HasPrefix(k.rest, pasteBegin) {
			end := strings.Index(k.rest, pasteEnd)
			if end < 0 {
				return keys // the rest of the paste is still to come
			}
			text := strings.ReplaceAll(k.rest[len(pasteBegin):end], "\r\n", "\n")
			keys = append(keys, key{text: clean(strings.ReplaceAll(text, "\r", "\n"))})
			k.rest = k.rest[end+len(pasteEnd):]
			continue
		}
		c := k.rest[0]
		switch {
		case c == 0x1b:
			name, n := escape(k.rest)
			if n == 0 {
				return keys
			}
			if name != "" {
				keys = append(keys, key{name: name})
			}
			k.rest = k.rest[n:]
		case c < 0x20 || c == 0x7f:
			if name := controls[c]; name != "" {
				keys = append(keys, key{name: name})
			}
			k.rest = k.rest[1:]
		default:
			if !utf8.FullRuneInString(k.rest) {
				return keys
			}
			r, n := utf8.DecodeRuneInString(k.rest)
			if text := clean(string(r)); r != utf8.RuneError && text != "" {
				keys = append(keys, key{text: text})
			}
			k.rest = k.rest[n:]
		}
	}
	return keys
}

// escape reads a sequence that begins with an escape. A sequence that says
// nothing to us has no name; one that is not whole has no length.
func escape(s string) (name string, length int) {
	if len(s) == 1 {
		return "escape", 1
	}
	switch s[1] {
	case '[':
		n := escapeLen(s)
		if last := s[n-1]; n == 2 || last < 0x40 || last > 0x7e {
			return "", 0
		}
		return sequences[s[1:n]], n
	case 'O':
		if len(s) < 3 {
			return "", 0
		}
		return sequences[s[1:3]], 3
	case 0x1b:
		return "escape", 1
	}
	return sequences[s[1:2]], 2
}

// editor is a line, or several, that the user writes.
type editor struct {
	text    []rune
	at      int // the cursor stands before this character
	history []string
	past    int    // how far back in the history, 0 for the line itself
	draft   string // the line while the history is shown
}

func (e *editor) set(s string) { e.text = []rune(s); e.at = len(e.text) }

func (e *editor) insert(s string) {
	add := []rune(s)
	e.text = append(e.text[:e.at:e.at], append(add, e.text[e.at:]...)...)
	e.at += len(add)
}

// remember puts a text into the history.
func (e *editor) remember(s string) {
	if strings.TrimSpace(s) != "" && (len(e.history) == 0 || e.history[len(e.history)-1] != s) {
		e.history = append(e.history, s)
	}
}

// take returns what was written and begins anew.
func (e *editor) take() string {
	s := string(e.text)
	e.remember(s)
	e.set("")
	e.past = 0
	return s
}

// press changes the line; it returns false for keys that are none of its own.
func (e *editor) press(k key) bool {
	switch k.name {
	case "":
		e.insert(k.text)
	case "newline":
		e.insert("\n")
	case "left":
		e.at = max(0, e.at-1)
	case "right":
		e.at = min(len(e.text), e.at+1)
	case "home":
		e.at = 0
	case "end":
		e.at = len(e.text)
	case "word-left":
		e.at = e.wordLeft()
	case "word-right":
		for e.at < len(e.text) && e.text[e.at] == ' ' {
			e.at++
		}
		for e.at < len(e.text) && e.text[e.at] != ' ' {
			e.at++
		}
	case "backspace":
		e.cut(max(0, e.at-1), e.at)
	case "delete":
		e.cut(e.at, min(len(e.text), e.at+1))
	case "kill-word":
		e.cut(e.wordLeft(), e.at)
	case "kill-begin":
		e.cut(0, e.at)
	case "kill-end":
		e.cut(e.at, len(e.text))
	case "up":
		if !e.line(-1) {
			e.recall(1)
		}
	case "down":
		if !e.line(1) {
			e.recall(-1)
		}
	default:
		return false
	}
	return true
}

func (e *editor) wordLeft() int {
	at := e.at
	for at > 0 && e.text[at-1] == ' ' {
		at--
	}
	for at > 0 && e.text[at-1] != ' ' {
		at--
	}
	return at
}

func (e *editor) cut(from, to int) {
	e.text = append(e.text[:from:from], e.text[to:]...)
	e.at = from
}

// line moves the cursor to the line above or below, if there is one.
func (e *editor) line(by int) bool {
	begin := e.at
	for begin > 0 && e.text[begin-1] != '\n' {
		begin--
	}
	column, to := e.at-begin, begin
	if by < 0 {
		if begin == 0 {
			return false
		}
		for to--; to > 0 && e.text[to-1] != '\n'; to-- {
		}
	} else {
		next := slices.Index(e.text[e.at:], '\n')
		if next < 0 {
			return false
		}
		to = e.at + next + 1
	}
	for e.at = to; column > 0 && e.at < len(e.text) && e.text[e.at] != '\n'; column-- {
		e.at++
	}
	return true
}

func (e *editor) recall(by int) {
	next := e.past + by
	if next < 0 || next > len(e.history) {
		return
	}
	if e.past == 0 {
		e.draft = string(e.text)
	}
	e.past = next
	if next == 0 {
		e.set(e.draft)
		return
	}
	e.set(e.history[len(e.history)-next])
}

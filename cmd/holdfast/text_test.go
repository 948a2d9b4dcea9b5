package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":             "plain\ttext\n",
		"\x1b[31mred\x1b[0m":        "[31mred[0m",
		"\x1b]0;title\x07":          "]0;title",
		"bell\a, back\b, \x9b31m":   "bell, back, 31m",
		"right \u202eto left\u202c": "right to left",
		"naïve 漢字 👍":                "naïve 漢字 👍",
		"cr\rlf":                    "crlf",
	} {
		if got := strings.ReplaceAll(clean(in), "\ufffd", ""); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text, indent string
		columns      int
		want         string
	}{
		{"", "", 10, ""},
		{"short", "", 10, "short"},
		{"one two three four", "", 9, "one two|three|four"},
		{"exactly10c and", "", 10, "exactly10c|and"},
		{"averylongwordwithoutspaces", "", 10, "averylongw|ordwithout|spaces"},
		{"漢字漢字漢字漢", "", 8, "漢字漢字|漢字漢"},
		{"• one two three", "  ", 10, "• one two|  three"},
		{"a  b", "", 10, "a  b"},
	} {
		if got := strings.Join(wrap([]span{{c.text, ""}}, c.columns, c.indent, true), "|"); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.text, c.columns, got, c.want)
		}
	}
	// Each line sets its looks and takes them back.
	got := strings.Join(wrap([]span{{"plain ", ""}, {"bold words", "1"}}, 12, "", true), "|")
	if want := "plain \x1b[1mbold\x1b[0m|\x1b[1mwords\x1b[0m"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMarkdown(t *testing.T) {
	show := func(spans []span) string {
		var b strings.Builder
		for _, s := range spans {
			if s.sgr == "" {
				b.WriteString(s.text)
			} else {
				fmt.Fprintf(&b, "<%s:%s>", s.sgr, s.text)
			}
		}
		return b.String()
	}
	var m markdown
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"**bold** and *it* and `co*de`", "<1:bold> and <3:it> and <36:co*de>"},
		{"**bold *both* bold**", "<1:bold ><1;3:both><1: bold>"},
		{"snake_case_name 2 * 3 * 4 **", "snake_case_name 2 * 3 * 4 **"},
		{`\*not\* this`, "*not* this"},
		{"[text](http://x) ~~no~~", "<4;34:text><2: (http://x)> <9:no>"},
		{"## Head", "<1;36:Head>"},
		{"1. first", "<36:1. >first"},
		{"| a | b |", "<2:│> a <2:│> b <2:│>"},
		{"---", "<2:" + strings.Repeat("─", 24) + ">"},
		{"```py", "<2:  ```py>"},
		{"# **not** markdown", "<36:  # **not** markdown>"},
		{"```", "<2:  ```>"},
		{"after `unclosed", "after `unclosed"},
	} {
		spans, _ := m.line(c.in, true)
		if got := show(spans); got != c.want {
			t.Errorf("%q: %s, want %s", c.in, got, c.want)
		}
	}
}

// FuzzMarkdown: no text of a model stops the chat, and what is shown fits.
func FuzzMarkdown(f *testing.F) {
	f.Add("**a** `b", 20)
	f.Add("- [x] \\*\n```\nx", 8)
	f.Add("漢|字| > [a](b", 9)
	f.Fuzz(func(t *testing.T, text string, columns int) {
		columns = 8 + max(0, columns)%200
		var m markdown
		for line := range strings.SplitSeq(clean(text), "\n") {
			spans, indent := m.line(line, true)
			for _, l := range wrap(spans, columns, indent, true) {
				if textWidth(l) > columns+1 { // a wide character may stand alone in a narrow line
					t.Errorf("%q: %q takes %d columns of %d", line, l, textWidth(l), columns)
				}
			}
		}
	})
}

func TestKeys(t *testing.T) {
	var k keyReader
	var got []string
	for _, chunk := range []string{
		"a\x1b[A\x1b[1;5D\x03\r", "\x1b", "\xc3", "\xa9", "\x1b[200~two\r\nlines", "\x1b[31m\x1b[201~z", "\x1b\r\x1b[99;99Z",
	} {
		for _, key := range k.feed([]byte(chunk)) {
			got = append(got, key.name+"/"+key.text)
		}
	}
	want := "[/a up/ word-left/ interrupt/ enter/ escape/ /é /two\nlines[31m /z newline/]"
	if fmt.Sprint(got) != want {
		t.Errorf("%q, want %q", fmt.Sprint(got), want)
	}
}

func TestEditor(t *testing.T) {
	var e editor
	do := func(keys ...string) string {
		for _, k := range keys {
			if len(k) > 1 && (strings.HasPrefix(k, "kill") || controlName(k)) {
				e.press(key{name: k})
			} else {
				e.press(key{text: k})
			}
		}
		return string(e.text[:e.at]) + "^" + string(e.text[e.at:])
	}
	for _, c := range []struct {
		keys []string
		want string
	}{
		{[]string{"h", "i", "left", "e"}, "he^i"},
		{[]string{"end", " ", "y", "o", "u"}, "hei you^"},
		{[]string{"word-left", "backspace", "home", "delete"}, "^eiyou"},
		{[]string{"right", "kill-end"}, "e^"},
		{[]string{"newline", "b", "kill-word"}, "^"},
		{[]string{"x", "y", "left", "kill-begin"}, "^y"},
	} {
		if got := do(c.keys...); got != c.want {
			t.Errorf("%v: %q, want %q", c.keys, got, c.want)
		}
	}
	e.set("first")
	e.take()
	e.set("second")
	e.take()
	e.set("draft")
	if got := do("up", "up", "up", "down"); got != "second^" {
		t.Errorf("history: %q", got)
	}
	if got := do("down"); got != "draft^" {
		t.Errorf("back from the history: %q", got)
	}
}

func controlName(s string) bool {
	for _, c := range controls {
		if c == s {
			return true
		}
	}
	for _, c := range sequences {
		if c == s {
			return true
		}
	}
	return false
}

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
		{"• averylongwordthatis", "  ", 10, "• averylon|  gwordtha|  tis"},
		{"a averylong wordthatis", "      ", 14, "a averylong|      wordthat|      is"},
		{"\tx\ty", "", 20, "    x   y"},
		{"🍐🍐🍐🍐🍐", "", 8, "🍐🍐🍐🍐|🍐"},
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

// TestTable: columns are as wide as what is in them, in a narrow terminal cells have
// several lines, and in one that is too narrow a table is as it was written.
func TestTable(t *testing.T) {
	rows := []string{"| Name | Price |", "|:--|--:|", "| 梨 `a|b` \\| c | 10 |", "| pear | 1.50 | more |", "| |", "| the last one, which is long | |"}
	for columns, want := range map[int]string{
		60: `Name                        │ Price │
────────────────────────────┼───────┼─────
梨 a|b | c                  │    10 │
pear                        │  1.50 │ more
                            │       │
the last one, which is long │       │`,
		30: `Name            │ Price │
────────────────┼───────┼─────
梨 a|b | c      │    10 │
pear            │  1.50 │ more
                │       │
the last one,   │       │
which is long   │       │`,
		20: `│ Name │ Price │
│:--│--:│
│ 梨 ` + "`a│b`" + ` \│ c │ 10
  │
│ pear │ 1.50 │ more
  │
│ │
│ the last one,
  which is long │ │`,
	} {
		got := strings.Join(tableLines(rows, columns, false), "\n")
		if got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", columns, got, want)
		}
	}
}

// TestCut: a line is cut where the terminal ends, not within its looks.
func TestCut(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"short", "short"},
		{"exactly10c", "exactly10c"},
		{"more than ten", "more than…\x1b[0m"},
		{"\x1b[31mmore than ten\x1b[0m", "\x1b[31mmore than…\x1b[0m"},
		{"漢字漢字漢字", "漢字漢字…\x1b[0m"},
	} {
		if got := cut(c.in, 10, true); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// TestJSONOnATerminal: what would do something to a terminal is escaped, and the JSON
// says the same.
func TestJSONOnATerminal(t *testing.T) {
	in := "{\"a\":\"x\u009b31m\u202ey é 漢\"}\n"
	var b strings.Builder
	w := &jsonWriter{w: &b}
	for i := range len(in) { // a character may come in pieces
		if n, err := w.Write([]byte{in[i]}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := "{\"a\":\"x\\u009b31m\\u202ey é 漢\"}\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestScreenIsNarrowed: a terminal that was made narrower has broken the lines under
// the text anew; they are found all the same.
func TestScreenIsNarrowed(t *testing.T) {
	var b strings.Builder
	columns := 80
	s := screen{w: &b, size: func() (int, int) { return columns, 24 }}
	s.paint(nil, []string{strings.Repeat("a", 79), "", "> " + strings.Repeat("b", 60), "state"}, 2, 62)
	for _, c := range []struct{ columns, want int }{{80, 2}, {120, 2}, {40, 2 + 1 + 1}, {20, 4 + 1 + 3}} {
		if columns = c.columns; s.above() != c.want {
			t.Errorf("%d columns: %d rows above the cursor, want %d", columns, s.above(), c.want)
		}
	}
}

// TestEditorLines: the cursor moves between the lines of what is written before the
// history is shown.
func TestEditorLines(t *testing.T) {
	e := editor{history: []string{"before"}}
	e.set("first\nse\nthird")
	for _, c := range []struct {
		key  string
		at   int
		text string
	}{
		{"up", 8, ""}, {"up", 2, ""}, {"down", 8, ""}, {"down", 11, ""}, {"down", 11, ""}, {"home", 0, ""}, {"up", 6, "before"}, {"down", 14, "first\nse\nthird"},
	} {
		if e.press(key{name: c.key}); e.at != c.at || c.text != "" && string(e.text) != c.text {
			t.Errorf("%s: at %d in %q, want %d in %q", c.key, e.at, string(e.text), c.at, c.text)
		}
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"call_1": "call_1", "a; rm -rf ~": "'a; rm -rf ~'", "it's": `'it'\''s'`, "": "''", "a\x1bb": "ab"} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
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
				if textWidth(l) > columns {
					t.Errorf("%q: %q takes %d columns of %d", line, l, textWidth(l), columns)
				}
			}
		}
		for _, l := range tableLines(strings.Split(clean(text), "\n"), columns, true) {
			if textWidth(l) > columns {
				t.Errorf("%q: %q takes %d columns of %d", text, l, textWidth(l), columns)
			}
		}
	})
}

func TestKeys(t *testing.T) {
	var k keyReader
	var got []string
	for _, chunk := range []string{
		"a\x1b[A\x1b[1;5D\x03\r", "\x1b", "\xc3", "\xa9", "\x1b[200~two\r\nlines", "\x1b[31m\x1b[201~z", "\x1b\r\x1b[99;99Z",
		"\x1b[1;", "5C\x1bO", "A\x1b[", "200~p\x1b[201~\x1b[13;2u",
	} {
		for _, key := range k.feed([]byte(chunk)) {
			got = append(got, key.name+"/"+key.text)
		}
	}
	want := "[/a up/ word-left/ interrupt/ enter/ escape/ /é /two\nlines[31m /z newline/ word-right/ up/ /p newline/]"
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

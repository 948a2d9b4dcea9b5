package search_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/search"
)

func TestParse(t *testing.T) {
	// A query as its meaning: words of a term with +, * for a beginning, - before what
	// is left out, | between alternatives.
	meaning := func(q search.Query) string {
		var any []string
		for _, c := range q.Any {
			var terms []string
			term := func(sign string, t search.Term) {
				s := sign + strings.Join(t.Words, "+")
				if t.Prefix {
					s += "*"
				}
				terms = append(terms, s)
			}
			for _, t := range c.All {
				term("", t)
			}
			for _, t := range c.None {
				term("-", t)
			}
			any = append(any, strings.Join(terms, " "))
		}
		return strings.Join(any, " | ")
	}
	for text, want := range map[string]string{
		"a b":                   "a b",
		`"a b" c`:               "a+b c",
		`a"b c"d`:               "a b+c d",
		`"a b`:                  "a+b",
		`""`:                    "",
		"a or b c OR d":         "a | b c | d",
		"or":                    "or",
		"or a":                  "or a",
		"a or":                  "a or",
		"a or or b":             "a | or b",
		`a "or" b`:              "a or b",
		"a or ! b":              "a | b",
		"a or ! or b":           "a | b",
		"a -b":                  "a -b",
		`a -"b c" d`:            "a d -b+c",
		"-a b or c":             "b -a | c",
		"-a":                    "",
		"a or -b":               "",
		"a - b":                 "a b",
		"--a b":                 "b -a",
		"a-b":                   "a+b",
		"fo*":                   "fo*",
		`"a fo"*`:               "a+fo*",
		"*":                     "",
		"a* b*c":                "a* b+c",
		"ÄÖ ﬁ Ⅷ ½":              "äö fi viii 12",
		"東":                     "東*",
		"東京":                    "東京",
		"東京都":                   "東京+京都",
		`"東 京"`:                 "東+京*",
		`"東京 x"`:                "東京+京+x",
		"x東京y":                  "x+東京+京+y",
		"東京*":                   "東京",
		"\x00a\x00b":            "a+b",
		"\xffa":                 "a",
		" \u00a0\u3000a\u3000b": "a b",
		"":                      "",
		"!@#$%^&*()":            "",
		"🦊":                     "",
	} {
		q, err := search.Parse(text)
		if got := meaning(q); got != want || (err != nil) != (want == "") || err != nil && holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for what, text := range map[string]string{
		"operators": strings.Repeat("or ", 10_000), "minus": strings.Repeat("-", 10_000), "quotes": strings.Repeat(`"`, 10_000),
		"terms": strings.Repeat("x ", 65), "words": strings.Repeat("x-", 201), "characters": strings.Repeat("x", 1001), "dense": strings.Repeat("日", 300),
	} {
		if _, err := search.Parse(text); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("too many %s: %v", what, err)
		}
	}
}

func TestSnippet(t *testing.T) {
	show := func(query, text string) string {
		t.Helper()
		q, err := search.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, p := range q.Snippet(text) {
			if p.Hit {
				b.WriteString("[" + p.Text + "]")
			} else {
				b.WriteString(p.Text)
			}
		}
		return b.String()
	}
	for _, c := range []struct{ query, text, want string }{
		{"rome", "In Rome, rome and Roman.", "In [Rome], [rome] and Roman."},
		{"rom*", "In Rome, rome and Roman.", "In [Rome], [rome] and [Roman]."},
		{`"quick fox"`, "the quick  FOX, the quick brown fox", "the [quick FOX], the quick brown fox"},
		{"a -b", "a\n\tb\x1b[31mred", "[a] b [31mred"},
		{"x or y", "y z x", "[y] z [x]"},
		{"東京", "我想去東京旅行", "我想去[東京]旅行"},
		{"京", "東京タワー、京", "東[京]タワー、[京]"},
		{"nothing", "text", "text"},
		{"don't", "I don't know", "I [don't] know"},
		{"b", "<a>b</a>&lt;", "<a>[b]</a>&lt;"},
	} {
		if got := show(c.query, c.text); got != c.want {
			t.Errorf("%q in %q: %q, want %q", c.query, c.text, got, c.want)
		}
	}
	long := strings.Repeat("words before ", 50) + "needle" + strings.Repeat(" words after", 50)
	got := show("needle", long)
	if !strings.HasPrefix(got, "…") || !strings.HasSuffix(got, "…") || !strings.Contains(got, " [needle] ") || len(got) > 260 || strings.Contains(got, "…ords") {
		t.Errorf("of a long text: %q", got)
	}
	if got := show("x*", strings.Repeat("x", 16<<10)); got != "["+strings.Repeat("x", 240)+"]…" {
		t.Errorf("of one long word: %q", got)
	}
	if got := show("ö*", strings.Repeat("ö", 8<<10)); !utf8.ValidString(got) {
		t.Errorf("cut within a character: %q", got)
	}
}

func TestWordsAreBounded(t *testing.T) {
	words := search.Words(strings.Repeat("same ", 300) + strings.Repeat("ö", 1000))
	n := 0
	for _, w := range words[:300] {
		if w == "same" {
			n++
		}
	}
	if n != 250 || words[250] != "" || len(words) != 301 || len(words[300]) != 100 {
		t.Errorf("%d times, %d words, the last of %d bytes", n, len(words), len(words[300]))
	}
	// More words than Postgres can place do not fit into what is indexed.
	for _, text := range []string{"a ", "a日", "日 ", "1日é", "é "} {
		if n := len(search.Words(strings.Repeat(text, search.MaxText/len(text)))); n >= 16383 {
			t.Errorf("%q: %d words", text, n)
		}
	}
}

func TestMarks(t *testing.T) {
	ref := func(s string) holdfast.SessionRef { return holdfast.SessionRef{Tenant: "acme", Session: s} }
	b := events.Batch{Sessions: []events.SessionEvents{
		{Session: ref("tokens"), Events: []events.Envelope{{Type: holdfast.TypeAgentChoice}, {Type: holdfast.TypeToolCallResponse}}},
		{Session: ref("said"), Events: []events.Envelope{{Type: holdfast.TypeSessionClaimed}, {Type: holdfast.TypeUserMessage}}},
		{Session: ref("said"), Events: []events.Envelope{{Type: holdfast.TypeModelCallFinished}}},
		{Session: ref("void"), Events: []events.Envelope{{Type: holdfast.TypeRunFinished}}},
		{Session: ref("new"), Events: []events.Envelope{{Type: holdfast.TypeSessionCreated}}},
	}}
	if d := cmp.Diff([]holdfast.SessionRef{ref("said"), ref("void"), ref("new")}, search.Marks(&b)); d != "" {
		t.Error(d)
	}
}

// FuzzSearch: any query over any text neither panics nor makes words that a store
// would read as something else, and what is marked is what the text has.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{"a", `"a b" -c or d*`, "東京タワー", "สวัสดี", "e\u0301\u0301\u0301", "\x00\xff'\\:*&|!<->", "ﷺ", "İſK", "ｶﾞ", "1½²", strings.Repeat("x", 300), "\u200d\u200c\ufeff"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, query, text string) {
		kept := func(s string) string { return norm.NFC.String(strings.ToValidUTF8(s, "\uFFFD")) } // as the index has it
		text = kept(text)
		check := func(words []string) {
			for _, w := range words {
				for _, r := range w {
					if r < 0x80 && (r < '0' || r > '9') && (r < 'a' || r > 'z') || r >= 0x80 && !unicode.In(r, unicode.L, unicode.N, unicode.M) {
						t.Fatalf("%q has %U in it", w, r)
					}
				}
				if len(w) > 100 || !utf8.ValidString(w) {
					t.Fatalf("%q", w)
				}
			}
		}
		check(search.Words(text))
		q, err := search.Parse(query)
		if err != nil {
			if holdfast.CodeOf(err) != holdfast.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		if len(q.Any) == 0 {
			t.Fatal("a query of nothing")
		}
		for _, c := range q.Any {
			if len(c.All) == 0 {
				t.Fatal("a clause of nothing")
			}
			for _, term := range append(c.All, c.None...) {
				if len(term.Words) == 0 {
					t.Fatal("a term of nothing")
				}
				check(term.Words)
			}
		}
		for _, p := range q.Snippet(text) {
			if p.Text == "" || len(p.Text) > 300 || strings.ContainsAny(p.Text, "\x00\n\x1b") {
				t.Fatalf("%q", p.Text)
			}
		}
		// What is typed as it was said is found.
		if got := fmt.Sprint(q.Snippet(kept(query))); len(q.Any) == 1 && len(q.Any[0].None) == 0 && !strings.Contains(got, "true") && !strings.Contains(query, `"`) {
			t.Fatalf("%q is not in itself: %s", query, got)
		}
	})
}

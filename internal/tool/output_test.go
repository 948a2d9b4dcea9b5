package tool_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast/internal/tool"
)

func TestBound(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"short", "abc", "abc"},
		{"exact", strings.Repeat("x", 100), strings.Repeat("x", 100)},
		{"invalid", "a\xffb", "a\uFFFDb"},
	} {
		if got := tool.BoundTo(c.in, 100); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, in := range []string{strings.Repeat("x", 101), strings.Repeat("é", 80), strings.Repeat("\xffx", 60)} {
		got := tool.BoundTo(in, 100)
		if len(got) > 100 || !utf8.ValidString(got) || !strings.Contains(got, "[output cut: the first ") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
	if got := tool.Bound(strings.Repeat("x", tool.MaxOutput+1)); len(got) > tool.MaxOutput {
		t.Errorf("%d bytes, more than MaxOutput", len(got))
	}
}

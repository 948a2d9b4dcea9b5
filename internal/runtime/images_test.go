package runtime

import (
	"fmt"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
)

// TestPictured: a model that takes images sees the newest that tools showed, those of
// the user are not touched, and the conversation keeps them all.
func TestPictured(t *testing.T) {
	part := holdfast.ContentPart{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "data:image/png;base64,AA=="}}
	for _, c := range []struct {
		images int
		takes  bool
		want   int
	}{{0, true, 0}, {3, true, 3}, {3, false, 0}, {20, true, 20}, {21, true, 11}, {30, true, 20}, {31, true, 11}, {200, true, 20}} {
		msgs := []holdfast.Message{{Role: holdfast.RoleUser, Parts: []holdfast.ContentPart{part}}}
		for left := c.images; left > 0; left -= 3 {
			m := holdfast.Message{Role: holdfast.RoleTool, Content: fmt.Sprint(left)}
			for range min(left, 3) {
				m.Parts = append(m.Parts, part)
			}
			msgs = append(msgs, m)
		}
		kept := append([]holdfast.Message(nil), msgs...)
		got := 0
		for i, m := range pictured(append([]holdfast.Message(nil), msgs...), c.takes) {
			if m.Role == holdfast.RoleTool {
				got += len(m.Parts)
				if i == len(msgs)-1 && c.takes && len(m.Parts) != len(kept[i].Parts) {
					t.Errorf("%+v: the newest are gone", c)
				}
			} else if len(m.Parts) != 1 {
				t.Errorf("%+v: the user's are gone", c)
			}
		}
		if got != c.want {
			t.Errorf("%+v: %d images", c, got)
		}
		for i := range msgs {
			if len(msgs[i].Parts) != len(kept[i].Parts) {
				t.Errorf("%+v: the conversation was changed", c)
			}
		}
	}
}

package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
)

// What a state remembers of commands and messages does not grow for as long as
// the session lives.

// remember notes what became of a command and, once in a while, forgets those
// that nobody may ask about any more. When it does depends on the log alone, so
// that every owner remembers the same.
func (s *State) remember(id string, st Settled) {
	s.Commands[id] = st
	if len(s.Commands) < max(s.ForgetAt, 2*events.RememberCommands) {
		return
	}
	ids := make([]string, 0, len(s.Commands))
	for id := range s.Commands {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		x, y := s.Commands[a], s.Commands[b]
		if x.Seq != y.Seq {
			return int(min(max(int64(y.Seq)-int64(x.Seq), -1), 1)) // newest first
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	before := time.Unix(st.At, 0).Add(-events.RememberFor).Unix()
	for _, id := range ids[events.RememberCommands:] {
		if s.Commands[id].At < before {
			delete(s.Commands, id)
		}
	}
	s.ForgetAt = 2 * len(s.Commands)
}

// Said sums up a list of texts: two lists are the same if their sums are.
type Said struct {
	Count int    `json:",omitempty"`
	Sum   string `json:",omitempty"`
}

// add appends a text to the list.
func (s *Said) add(text string) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", s.Sum, len(text), text))
	s.Count, s.Sum = s.Count+1, hex.EncodeToString(sum[:16])
}

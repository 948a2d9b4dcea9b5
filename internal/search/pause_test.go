package search

import (
	"testing"
	"time"
)

// The indexer rests nine times as long as it worked, and as long if it has been
// behind for a minute.
func TestPause(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	none := time.Time{}
	for what, c := range map[string]struct {
		r            Round
		took         time.Duration
		behind       time.Time
		pause        time.Duration
		behindBehind time.Time
	}{
		"somebody else indexes":    {Round{}, time.Millisecond, start, standby, none},
		"nothing to do":            {Round{Led: true}, time.Millisecond, start, look, none},
		"little to do, slowly":     {Round{Led: true, Noted: true}, time.Second, start, 9 * time.Second, none},
		"the walk":                 {Round{Led: true, More: true}, 100 * time.Millisecond, none, 900 * time.Millisecond, none},
		"behind":                   {Round{Led: true, More: true, Noted: true}, 100 * time.Millisecond, none, 900 * time.Millisecond, start},
		"behind for some seconds":  {Round{Led: true, More: true, Noted: true}, 100 * time.Millisecond, start.Add(-10 * time.Second), 900 * time.Millisecond, start.Add(-10 * time.Second)},
		"behind for over a minute": {Round{Led: true, More: true, Noted: true}, 100 * time.Millisecond, start.Add(-time.Minute), 100 * time.Millisecond, start.Add(-time.Minute)},
	} {
		pause, behind := pause(c.r, start, start.Add(c.took), c.behind)
		if pause != c.pause || !behind.Equal(c.behindBehind) {
			t.Errorf("%s: %v, behind since %v; want %v, %v", what, pause, behind, c.pause, c.behindBehind)
		}
	}
}

package webhook

import (
	"testing"
	"time"
)

// An address that asks for a day gets it for the delivery that it answered. The
// others come again after the longest rest, so that what is asked for meanwhile is
// done.
func TestAddressRestsForAWhile(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	hook := &Hook{Tenant: "acme", ID: "h"}
	for asked, want := range map[time.Duration]time.Duration{24 * time.Hour: longestRest, longestRest / 2: longestRest / 2, 0: 0} {
		l := newLanes()
		o := Outcome{State: Pending, Status: 503, At: now}
		if asked > 0 {
			o.Rest = now.Add(asked)
		}
		l.end(l.begin(unseen, hook, func(error) {}), o, now)
		taken := func(at time.Time) bool {
			s, _ := l.room(quick, at)
			return len(s.Only) == 1
		}
		if want > 0 && taken(now.Add(want-1)) {
			t.Errorf("%s: it is sent to before %s", asked, want)
		}
		if !taken(now.Add(want)) {
			t.Errorf("%s: nothing is sent after %s", asked, want)
		}
	}
}

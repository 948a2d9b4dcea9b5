package schedule_test

import (
	"context"
	"errors"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

// unsure stores a command or not, and says that it failed both times.
type unsure struct {
	w     *world
	store bool
}

var errUnsure = errors.New("no answer, for the test")

func (u *unsure) Send(ctx context.Context, c events.Command) error {
	if u.store {
		if err := u.w.Send(ctx, c); err != nil {
			return err
		}
	}
	return errUnsure
}

// TestUnknownOutcome: a timer whose command failed, or failed and is stored all
// the same, comes again under the same id, so that it fires once; and it stops
// coming when the log says that it fired.
func TestUnknownOutcome(t *testing.T) {
	for name, stored := range map[string]bool{"did not happen": false, "did happen": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.record("a", &holdfast.TimerSetEvent{Timer: "t1", At: w.clock(), Kind: events.TimerRun})
			k := schedule.New(schedule.Config{Timers: w.store, Sender: &unsure{w, stored}, Now: w.clock})
			if _, err := k.Fire(t.Context()); !errors.Is(err, errUnsure) {
				t.Fatalf("the failure is reported as %v", err)
			}
			w.set(func() { w.now = w.now.Add(events.TimerRetry(0) + time.Second) })
			if _, err := w.keeper().Fire(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := 1
			if stored {
				want = 2
			}
			if len(w.sent) != want {
				t.Fatalf("%d commands are stored, want %d", len(w.sent), want)
			}
			for range want {
				if c := <-w.sent; c.ID != "t1" {
					t.Errorf("the command has the id %q, not that of the timer", c.ID)
				}
			}
			w.record("a", &holdfast.TimerFiredEvent{Timer: "t1"})
			w.set(func() { w.now = w.now.Add(time.Hour) })
			if _, err := w.keeper().Fire(t.Context()); err != nil || len(w.sent) != 0 {
				t.Errorf("a timer that fired comes again: %d, %v", len(w.sent), err)
			}
		})
	}
}

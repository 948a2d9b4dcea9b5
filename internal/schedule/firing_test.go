package schedule_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

// flaky is a store and a bus of which one call fails, after it has done its work
// or before.
type flaky struct {
	schedule.Store
	commands schedule.Commands
	happened bool

	mu   sync.Mutex // guards call
	call string     // "" when it has failed
}

// fails runs one call.
func (f *flaky) fails(call string, work func() error) error {
	f.mu.Lock()
	hit := f.call == call
	if hit {
		f.call = ""
	}
	f.mu.Unlock()
	if hit && !f.happened {
		return errUnsure
	}
	if err := work(); err != nil {
		return err
	}
	if hit {
		return errUnsure
	}
	return nil
}

func (f *flaky) TakeSchedules(ctx context.Context, now time.Time, lease time.Duration, limit int) (due []schedule.Schedule, next time.Time, err error) {
	err = f.fails("take", func() (err error) {
		due, next, err = f.Store.TakeSchedules(ctx, now, lease, limit)
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return due, next, nil
}

func (f *flaky) SettleFiring(ctx context.Context, tenant, id string, o schedule.Settled) error {
	return f.fails("settle", func() error { return f.Store.SettleFiring(ctx, tenant, id, o) })
}

func (f *flaky) Request(ctx context.Context, c events.Command) (a events.Answer, err error) {
	err = f.fails("request", func() (err error) { a, err = f.commands.Request(ctx, c); return err })
	return a, err
}

// TestFiringOutcomes: whichever step of a firing fails, done or not, its time has
// one session and one run when it comes again.
func TestFiringOutcomes(t *testing.T) {
	for _, call := range []string{"take", "request", "settle"} {
		for half, happened := range map[string]bool{"did not happen": false, "did happen": true} {
			t.Run(call+" failed and "+half, func(t *testing.T) {
				t.Parallel()
				w := newStarterWorld(t)
				w.put("a", func(*schedule.Spec) {})
				f := &flaky{Store: w.store, commands: w.asked, happened: happened, call: call}
				s := schedule.NewStarter(schedule.StarterConfig{Schedules: f, Bus: w.bus, Log: w.store, Commands: f, Now: w.clock})
				if err := w.at(s, 10*time.Minute); !errors.Is(err, errUnsure) {
					t.Fatalf("the failure is reported as %v", err)
				}
				first := w.asked.ref
				if err := w.at(s, 10*time.Minute+30*time.Second); err != nil {
					t.Fatal(err)
				}
				got := w.want("after the lease", "a", schedule.Started, 10*time.Minute, 1)
				if got.Fired != 1 || !got.Next.Equal(begin.Add(20*time.Minute)) {
					t.Errorf("settled: %+v", got)
				}
				if first.Session != "" && first != w.asked.ref {
					t.Errorf("two sessions: %s and %s", first, w.asked.ref)
				}
				if err := w.at(s, 19*time.Minute); err != nil {
					t.Fatal(err)
				}
				w.want("before the next time", "a", schedule.Started, 10*time.Minute, 1)
			})
		}
	}
}

// brittle panics where it is told to, once each.
type brittle struct {
	events.TimerStore
	schedule.Store
	sender schedule.Sender

	mu   sync.Mutex // guards what follows
	take bool
	send string // id of a command
}

func (b *brittle) trap(hit *bool) {
	b.mu.Lock()
	panics := *hit
	*hit = false
	b.mu.Unlock()
	if panics {
		panic("for the test")
	}
}

func (b *brittle) TakeTimers(ctx context.Context, now time.Time, limit int) ([]events.Timer, time.Time, error) {
	b.trap(&b.take)
	return b.TimerStore.TakeTimers(ctx, now, limit)
}

func (b *brittle) TakeSchedules(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]schedule.Schedule, time.Time, error) {
	b.trap(&b.take)
	return b.Store.TakeSchedules(ctx, now, lease, limit)
}

func (b *brittle) Send(ctx context.Context, c events.Command) error {
	b.mu.Lock()
	hit := b.send == c.ID
	if hit {
		b.send = ""
	}
	b.mu.Unlock()
	b.trap(&hit)
	return b.sender.Send(ctx, c)
}

// lockedBuffer is a log that a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestPanickingTimer: a timer whose firing panics keeps no other one from firing,
// and comes again itself.
func TestPanickingTimer(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"t1", "t2", "t3"} {
		w.record(id, &holdfast.TimerSetEvent{Timer: id, At: w.clock(), Kind: events.TimerRun})
	}
	log := &lockedBuffer{}
	b := &brittle{TimerStore: w.store, sender: w, send: "t2"}
	k := schedule.New(schedule.Config{Timers: b, Sender: b, Now: w.clock, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if ids, _, err := w.fire(k); len(ids) != 2 || !errors.Is(err, events.ErrPanicked) {
		t.Fatalf("sent %v, %v", ids, err)
	}
	if !strings.Contains(log.String(), "level=ERROR msg=panic") || !strings.Contains(log.String(), "brittle).Send") {
		t.Errorf("the log does not say where:\n%s", log)
	}
	for _, id := range []string{"t1", "t3"} {
		w.record(id, &holdfast.TimerFiredEvent{Timer: id})
	}
	w.set(func() { w.now = w.now.Add(events.TimerRetry(0) + time.Second) })
	if ids, _, err := w.fire(k); len(ids) != 1 || ids[0] != "t2" || err != nil {
		t.Fatalf("again: sent %v, %v", ids, err)
	}
}

// TestPanicsGoOn: who fires goes on after a panic, with what was due.
func TestPanicsGoOn(t *testing.T) {
	w := newStarterWorld(t)
	w.record("a", &holdfast.TimerSetEvent{Timer: "t1", At: w.clock(), Kind: events.TimerRun})
	w.put("s", func(*schedule.Spec) {})
	w.set(func() { w.now = begin.Add(10 * time.Minute) })
	timers := &brittle{TimerStore: w.store, sender: w, take: true}
	schedules := &brittle{Store: w.store, take: true}
	fired := make(chan struct{}, 10)
	commands := commandsFunc(func(ctx context.Context, c events.Command) (events.Answer, error) {
		a, err := w.asked.Request(ctx, c)
		fired <- struct{}{}
		return a, err
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, run := range []func(context.Context) error{
		schedule.New(schedule.Config{Timers: timers, Sender: timers, Now: w.clock}).Run,
		schedule.NewStarter(schedule.StarterConfig{Schedules: schedules, Bus: w.bus, Log: w.store, Commands: commands, Now: w.clock}).Run,
	} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for what, done := range map[string]func(<-chan time.Time) bool{
		"the timer":    func(late <-chan time.Time) bool { return recv(w.sent, late) },
		"the schedule": func(late <-chan time.Time) bool { return recv(fired, late) },
	} {
		if !done(time.After(time.Minute)) {
			t.Fatalf("%s does not fire", what)
		}
	}
}

// recv reports whether something came before it was late.
func recv[T any](ch <-chan T, late <-chan time.Time) bool {
	select {
	case <-ch:
		return true
	case <-late:
		return false
	}
}

type commandsFunc func(ctx context.Context, c events.Command) (events.Answer, error)

func (f commandsFunc) Request(ctx context.Context, c events.Command) (events.Answer, error) {
	return f(ctx, c)
}

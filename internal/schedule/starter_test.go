package schedule_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

// asked is the bus as the starter sees it: commands become durable on the real
// one, and the test says what their owner answers.
type asked struct {
	w *world

	mu     sync.Mutex // guards what follows
	ids    []string   // of new commands, in order
	last   events.RunBody
	ref    holdfast.SessionRef
	answer events.Answer
	err    error
}

func (a *asked) Request(ctx context.Context, c events.Command) (events.Answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return events.Answer{}, a.err
	}
	if err := a.w.bus.Send(ctx, c); err != nil {
		return events.Answer{}, err
	}
	if !slices.Contains(a.ids, c.ID) {
		a.ids = append(a.ids, c.ID)
	}
	a.ref = c.Session
	if err := json.Unmarshal(c.Body, &a.last); err != nil {
		return events.Answer{}, err
	}
	ans := a.answer
	ans.Command, ans.Run = c.ID, a.last.Run
	return ans, nil
}

func (a *asked) will(ans events.Answer, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.err = ans, err
}

func (a *asked) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ids)
}

type starterWorld struct {
	*world
	asked *asked
}

func newStarterWorld(t *testing.T) *starterWorld {
	w := newWorld(t)
	return &starterWorld{w, &asked{w: w}}
}

func (w *starterWorld) starter() *schedule.Starter {
	return schedule.NewStarter(schedule.StarterConfig{Schedules: w.store, Bus: w.bus, Log: w.store, Commands: w.asked, Now: w.clock})
}

// put makes a schedule every ten minutes.
func (w *starterWorld) put(id string, change func(s *schedule.Spec)) {
	w.t.Helper()
	now := w.clock()
	s := schedule.Schedule{Tenant: "default", ID: id, Revision: 1, CreatedAt: now, UpdatedAt: now, Spec: spec(func(s *schedule.Spec) {
		s.Every, s.StartsAt, s.Missed = "10m", now, schedule.MissedCatchUp
		change(s)
	})}
	if err := s.Spec.Check(); err != nil {
		w.t.Fatal(err)
	}
	s.Next = s.Spec.Next(now)
	if err := w.store.PutSchedule(w.t.Context(), s, 10); err != nil {
		w.t.Fatal(err)
	}
}

// at sets the clock to so long after the beginning and lets a starter look.
func (w *starterWorld) at(s *schedule.Starter, after time.Duration) error {
	w.t.Helper()
	w.set(func() { w.now = begin.Add(after) })
	_, err := s.Fire(w.t.Context())
	return err
}

// want checks the newest firing of a schedule, and how many runs there are.
func (w *starterWorld) want(what, id, outcome string, at time.Duration, runs int) schedule.Schedule {
	w.t.Helper()
	s, err := w.store.Schedule(w.t.Context(), "default", id)
	if err != nil {
		w.t.Fatal(err)
	}
	if s.Last.Outcome != outcome || !s.Last.At.Equal(begin.Add(at)) || w.asked.count() != runs {
		w.t.Fatalf("%s: %+v and %d runs; want %s of %v, %d runs", what, s.Last, w.asked.count(), outcome, begin.Add(at), runs)
	}
	return s
}

var begin = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// TestNewSessions: each time fires once in a session of its own, whoever dies on
// the way, and not while the run before goes on.
func TestNewSessions(t *testing.T) {
	w := newStarterWorld(t)
	w.put("a", func(s *schedule.Spec) {
		s.Title, s.User, s.Metadata = "Report", "ann", map[string]string{"kind": "report"}
	})
	s := w.starter()
	if err := w.at(s, 9*time.Minute); err != nil || w.asked.count() != 0 {
		t.Fatalf("too early: %v, %d runs", err, w.asked.count())
	}
	// The bus is away when it is time, and who holds the schedule dies.
	w.asked.will(events.Answer{}, errors.New("the bus is down for the test"))
	if err := w.at(s, 10*time.Minute); err == nil {
		t.Fatal("without a bus nothing is wrong")
	}
	w.asked.will(events.Answer{}, nil)
	if err := w.at(s, 10*time.Minute+time.Second); err != nil || w.asked.count() != 0 {
		t.Fatalf("another one comes before the lease has ended: %v, %d runs", err, w.asked.count())
	}
	s = w.starter()
	if err := w.at(s, 10*time.Minute+30*time.Second); err != nil {
		t.Fatal(err)
	}
	got := w.want("after the lease", "a", schedule.Started, 10*time.Minute, 1)
	if !got.Next.Equal(begin.Add(20*time.Minute)) || got.Fired != 1 || got.Last.Session != w.asked.ref.Session || got.Last.Run != w.asked.last.Run {
		t.Errorf("settled: %+v", got)
	}
	if w.asked.last.Agent != "demo.yaml" || w.asked.last.Messages[0].Content != "hello" {
		t.Errorf("the run: %+v", w.asked.last)
	}
	first := w.asked.ref
	end, err := events.ReadEnd(t.Context(), w.bus, w.store, first)
	if err != nil || end.Frame == nil {
		t.Fatalf("the session: %+v, %v", end, err)
	}
	ev, err := end.Frame.Events[0].Event()
	if err != nil {
		t.Fatal(err)
	}
	made := ev.(*holdfast.SessionCreatedEvent)
	if made.Title != "Report" || made.User != "ann" || made.Metadata["kind"] != "report" || made.Metadata["schedule"] != "a" || made.Metadata["scheduled_for"] != "2026-11-22T10:10:00Z" {
		t.Errorf("the session: %+v", made)
	}

	// The archive has the session, and its run goes on.
	w.record(first.Session, &holdfast.RunQueuedEvent{Run: "r", Agent: "demo.yaml"}, &holdfast.RunStartedEvent{Run: "r", Agent: "demo.yaml"})
	if err := w.at(s, 20*time.Minute); err != nil {
		t.Fatal(err)
	}
	w.want("while the run before goes on", "a", schedule.Skipped, 20*time.Minute, 1)
	w.record(first.Session, &holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
	if err := w.at(s, 30*time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := w.want("when it is over", "a", schedule.Started, 30*time.Minute, 2); got.Last.Session == first.Session {
		t.Error("two firings have one session")
	}

	// It is settled by nobody, as its process died after the command: the same
	// command comes again, and is the same.
	again := got
	again.Revision, again.Next = 2, begin.Add(30*time.Minute)
	if err := w.store.ChangeSchedule(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if err := w.at(s, 31*time.Minute); err != nil {
		t.Fatal(err)
	}
	w.want("again", "a", schedule.Started, 30*time.Minute, 2)
}

// TestGivenSession: the session's owner says whether a run is active, and a
// session that is gone pauses its schedule.
func TestGivenSession(t *testing.T) {
	w := newStarterWorld(t)
	w.record("s")
	w.put("skips", func(s *schedule.Spec) { s.Session = "s" })
	s := w.starter()
	if err := w.at(s, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	w.want("the first time", "skips", schedule.Started, 10*time.Minute, 1)
	if w.asked.ref.Session != "s" || w.asked.last.Mode != events.ModeReject {
		t.Errorf("asked %v: %+v", w.asked.ref, w.asked.last)
	}
	w.asked.will(events.Answer{Code: holdfast.CodeConflict, Message: "a run is active"}, nil)
	if err := w.at(s, 20*time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := w.want("its owner refuses", "skips", schedule.Skipped, 20*time.Minute, 2); got.Last.Detail != "a run is active" || got.Fired != 1 {
		t.Errorf("skipped: %+v", got)
	}
	w.asked.will(events.Answer{Code: holdfast.CodeNotFound, Message: "no such agent"}, nil)
	if err := w.at(s, 30*time.Minute); err != nil {
		t.Fatal(err)
	}
	w.want("its agent is gone", "skips", schedule.Refused, 30*time.Minute, 3)
	w.asked.will(events.Answer{}, holdfast.Errorf(holdfast.CodeTimeout, "nobody answers"))
	if err := w.at(s, 40*time.Minute); err != nil {
		t.Fatal(err)
	}
	w.want("stored, and nobody took it", "skips", schedule.Started, 40*time.Minute, 3)

	w.asked.will(events.Answer{}, nil)
	if err := w.store.DeleteSchedule(t.Context(), "default", "skips"); err != nil {
		t.Fatal(err)
	}
	w.put("enqueues", func(s *schedule.Spec) { s.Session, s.Overlap = "s", schedule.OverlapEnqueue })
	if err := w.at(s, 50*time.Minute); err != nil {
		t.Fatal(err)
	}
	w.want("it waits for its turn", "enqueues", schedule.Started, 50*time.Minute, 4)
	if w.asked.last.Mode != events.ModeEnqueue {
		t.Errorf("asked: %+v", w.asked.last)
	}
	w.record("s", &holdfast.SessionDeletedEvent{})
	if err := w.at(s, 60*time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := w.want("the session is gone", "enqueues", schedule.Refused, 60*time.Minute, 4); !got.Paused || got.Reason != "the session is gone" || !got.Next.IsZero() {
		t.Errorf("paused: %+v", got)
	}
}

// TestMissed: of the times at which everything was down the newest counts, or
// none.
func TestMissed(t *testing.T) {
	w := newStarterWorld(t)
	w.record("s")
	late := func(s *schedule.Spec) { s.Session = "s" }
	w.put("catches", late)
	w.put("skips", func(s *schedule.Spec) { late(s); s.Missed = schedule.MissedSkip })
	s := w.starter()
	if err := w.at(s, 400*24*time.Hour+5*time.Minute); err != nil {
		t.Fatal(err)
	}
	w.want("once, for all", "catches", schedule.Started, 400*24*time.Hour, 1)
	got := w.want("not at all", "skips", schedule.Missed, 400*24*time.Hour, 1)
	if want := begin.Add(400*24*time.Hour + 10*time.Minute); !got.Next.Equal(want) {
		t.Errorf("next %v, want %v", got.Next, want)
	}
	if err := w.at(s, 400*24*time.Hour+10*time.Minute+30*time.Second); err != nil {
		t.Fatal(err)
	}
	w.want("half a minute late is in time", "skips", schedule.Started, 400*24*time.Hour+10*time.Minute, 3)
}

// TestTwoStarters: what two processes find at the same time is started once.
func TestTwoStarters(t *testing.T) {
	w := newStarterWorld(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		w.put(id, func(*schedule.Spec) {})
	}
	w.set(func() { w.now = begin.Add(10 * time.Minute) })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := w.starter().Fire(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range []string{"a", "b", "c", "d"} {
		w.want(id, id, schedule.Started, 10*time.Minute, 4)
	}
}

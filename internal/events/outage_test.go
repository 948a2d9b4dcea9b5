package events_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
)

// TestLeaderLost: of three servers the one that leads the stream goes away under
// load, and comes back. Nothing is lost or doubled, no session changes hands.
func TestLeaderLost(t *testing.T) {
	w := newWorld(t) // for its store
	nodes := servertest.Cluster(t, 3)
	bus, err := natsbus.Open(w.ctx, nodes.Connect(natsbus.Options(t.Name(), nil)...), natsbus.Config{Replicas: 3, MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	const sessions, before, after = 8, 20, 20
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience) // an election takes seconds
	defer cancel()
	var warm, done sync.WaitGroup
	lost := make(chan struct{})
	warm.Add(sessions)
	refs := make([]holdfast.SessionRef, sessions)
	for i := range refs {
		refs[i] = eventstest.NewRef()
		done.Go(func() {
			n, err := talk(ctx, bus, w.store, refs[i], before, after, warm.Done, lost)
			if err != nil {
				t.Errorf("session %d, after %d texts: %v", i, n, err)
			}
		})
	}
	warm.Wait()
	leader := nodes.Leader(bus.Streams()[0])
	if leader < 0 {
		t.Fatal("the stream takes frames and has no leader")
	}
	close(lost)
	nodes.Stop(leader)
	done.Wait()
	nodes.Restart(leader)
	r := events.Reader{Bus: bus, Store: w.store}
	for i, ref := range refs {
		c := eventstest.NewCheck()
		if _, err := r.Read(ctx, ref, 0, c.Event); err != nil {
			t.Fatal(err)
		}
		if len(c.Content) != before+after || c.Seq() != 2+before+after {
			t.Errorf("session %d has %d texts and ends at %d, want %d", i, len(c.Content), c.Seq(), before+after)
		}
		for text, times := range c.Content {
			if times != 1 {
				t.Errorf("session %d has %q %d times", i, text, times)
			}
		}
	}
}

// talk writes texts to a new session, each acknowledged before the next, calls
// warm after the first ones and waits until it may go on. It returns how many
// are acknowledged.
func talk(ctx context.Context, bus events.Bus, store events.HeadReader, ref holdfast.SessionRef, before, after int, warm func(), goOn <-chan struct{}) (n int, err error) {
	warm = sync.OnceFunc(warm)
	defer warm()
	if _, err := events.Create(ctx, bus, store, ref, &holdfast.SessionCreatedEvent{}); err != nil {
		return 0, err
	}
	tail, err := events.ReadTail(ctx, bus, store, ref)
	if err != nil {
		return 0, err
	}
	wr, _, err := events.Claim(ctx, bus, store, ref, tail, "w", "test")
	if err != nil {
		return 0, err
	}
	for n = range before + after {
		if n == before {
			warm()
			<-goOn
		}
		if _, err := wr.Add(ctx, "run", text(fmt.Sprint("text ", n))); err != nil {
			return n, err
		}
		if err := wr.Flush(ctx); err != nil {
			return n, err
		}
	}
	return before + after, wr.Close(ctx)
}

// TestBusFull: a stream that has no room says so, keeps what it has, and takes
// what waits when there is room again.
func TestBusFull(t *testing.T) {
	w := newWorld(t)
	// The stream shrinks to a size that is full soon.
	again, err := natsbus.Open(w.ctx, w.nc, natsbus.Config{MaxBytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	w.create()
	wr := w.claim("w1")
	big := strings.Repeat("x", 300<<10)
	refused := make(chan error, 1)
	w.bus.script(func(store func() (uint64, error)) (uint64, error) {
		pos, err := store()
		if err != nil {
			select {
			case refused <- err:
			default:
			}
		}
		return pos, err
	})
	var want []string
	for i := range 10 {
		s := fmt.Sprint(i, big)
		w.add(wr, s)
		want = append(want, s)
		if i > 4 {
			continue
		}
		w.flush(wr) // five have room
	}
	err = await(t, refused, "the stream refuses a frame")
	if holdfast.CodeOf(err) != holdfast.CodeUnavailable || !strings.Contains(err.Error(), "full") {
		t.Errorf("a full stream is reported as %v", err)
	}
	if wr.Err() != nil {
		t.Fatalf("the writer gave up: %v", wr.Err())
	}
	stored := wr.Stored()
	c := eventstest.NewCheck()
	r := events.Reader{Bus: w.nats, Store: w.store}
	if _, err := r.Read(w.ctx, w.ref, 0, c.Event); err != nil || c.Seq() < stored {
		t.Fatalf("the log ends at %d, acknowledged is %d: %v", c.Seq(), stored, err)
	}
	// Room comes as the recorder makes it.
	flushed := make(chan error, 1)
	go func() { flushed <- wr.Flush(w.ctx) }()
	for done := false; !done; {
		w.record()
		w.forget()
		select {
		case err := <-flushed:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	w.wantLog(want...)
}

// TestClockJumps: the times of events go back and forth, as their writers' clocks
// do; their order is that of their seqs.
func TestClockJumps(t *testing.T) {
	w := newWorld(t)
	w.create()
	now := time.Now()
	var want []string
	for owner, jump := range []time.Duration{0, -24 * time.Hour, 48 * time.Hour, -1000 * time.Hour} {
		wr := w.claim(fmt.Sprint("w", owner))
		step := 0
		wr.SetClock(func() time.Time {
			step++
			return now.Add(jump - time.Duration(step)*time.Minute)
		})
		for i := range 5 {
			s := fmt.Sprint(owner, "/", i)
			w.add(wr, s)
			want = append(want, s)
		}
		w.flush(wr)
		w.wantLog(want...)
		w.record()
		if owner%2 == 1 {
			w.forget()
		}
		w.wantLog(want...)
	}
	info, err := w.store.Session(w.ctx, w.ref)
	if err != nil || info.Head.Seq != uint64(1+4+len(want)) || info.Worker != "w3" {
		t.Fatalf("the row is %+v, %v", info, err)
	}
}

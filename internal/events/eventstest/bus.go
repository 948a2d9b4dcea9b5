package eventstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// patience is how long the suites wait for what must happen. It is far more
// than a working bus takes, also on a busy machine.
const patience = 20 * time.Second

// ForgetFunc makes the bus forget all frames that it has stored so far, as a
// recorder does when they are archived.
type ForgetFunc func(t testing.TB)

// Bus checks every promise of [events.Bus]. open returns a bus for one test
// and how to make it forget; what the test does stays in tenants of its own.
func Bus(t *testing.T, open func(t *testing.T) (events.Bus, ForgetFunc)) {
	tests := []struct {
		name string
		fn   func(t *testing.T, b events.Bus, forget ForgetFunc)
	}{
		{"AppendIsCompareAndSet", busAppend},
		{"OneOfManyWins", busRace},
		{"SessionsAreApart", busApart},
		{"LastAndAt", busRead},
		{"LargeFrame", busLarge},
		{"Forgotten", busForgotten},
		{"Follow", busFollow},
		{"FollowAfterRead", busFollowAfterRead},
		{"FollowSeesOnlyStored", busFollowStored},
		{"Ended", busEnded},
		{"Send", busSend},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, forget := open(t)
			tt.fn(t, b, forget)
		})
	}
}

// NewRef returns a session that no other test has.
func NewRef() holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: "t-" + holdfast.NewID(), Session: holdfast.NewID()}
}

func busCtx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func mustAppend(t testing.TB, b events.Bus, ref holdfast.SessionRef, prev uint64, frame string) uint64 {
	t.Helper()
	for {
		pos, err := b.Append(busCtx(t), ref, prev, []byte(frame))
		if errors.Is(err, events.ErrBusy) {
			continue // allowed at any time, and it says that nothing was stored
		}
		if err != nil {
			t.Fatalf("Append(%d, %q): %v", prev, frame, err)
		}
		return pos
	}
}

func wantLast(t testing.TB, b events.Bus, ref holdfast.SessionRef, pos uint64, frame string) {
	t.Helper()
	st, err := b.Last(busCtx(t), ref)
	if err != nil || st.Pos != pos || string(st.Data) != frame {
		t.Fatalf("Last = %d %q, %v; want %d %q", st.Pos, st.Data, err, pos, frame)
	}
}

func busAppend(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref := NewRef()
	ctx := busCtx(t)
	if _, err := b.Append(ctx, ref, 7, []byte("x")); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("Append to a new session after a frame: %v, want ErrConflict", err)
	}
	first := mustAppend(t, b, ref, 0, "one")
	if first == 0 {
		t.Fatal("position 0")
	}
	for _, prev := range []uint64{0, first + 1} {
		if _, err := b.Append(ctx, ref, prev, []byte("x")); !errors.Is(err, events.ErrConflict) {
			t.Fatalf("Append after %d, the last is at %d: %v, want ErrConflict", prev, first, err)
		}
	}
	wantLast(t, b, ref, first, "one")
	second := mustAppend(t, b, ref, first, "two")
	if second <= first {
		t.Fatalf("positions %d, then %d", first, second)
	}
	if _, err := b.Append(ctx, ref, first, []byte("x")); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("Append after a frame that is not the last: %v, want ErrConflict", err)
	}
	wantLast(t, b, ref, second, "two")
}

func busRace(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref := NewRef()
	const writers, rounds = 8, 20
	prev := uint64(0)
	for round := range rounds {
		var mu sync.Mutex
		var won []string
		var at uint64
		var wg sync.WaitGroup
		for w := range writers {
			frame := fmt.Sprintf("round %d writer %d", round, w)
			wg.Go(func() {
				for {
					pos, err := b.Append(busCtx(t), ref, prev, []byte(frame))
					switch {
					case errors.Is(err, events.ErrBusy):
						continue
					case err == nil:
						mu.Lock()
						won, at = append(won, frame), pos
						mu.Unlock()
					case !errors.Is(err, events.ErrConflict):
						t.Errorf("Append: %v", err)
					}
					return
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d writers won: %q", round, len(won), won)
		}
		wantLast(t, b, ref, at, won[0])
		prev = at
	}
}

func busApart(t *testing.T, b events.Bus, _ ForgetFunc) {
	a := NewRef()
	// The same id in another tenant, and ids that differ by where a separator would be.
	refs := []holdfast.SessionRef{
		a,
		{Tenant: NewRef().Tenant, Session: a.Session},
		{Tenant: a.Tenant, Session: a.Session + "-x"},
		{Tenant: a.Tenant + "-" + a.Session, Session: "x"},
		{Tenant: "T_" + a.Tenant, Session: "_"},
	}
	at := map[holdfast.SessionRef]uint64{}
	for _, r := range refs {
		if _, err := b.Last(busCtx(t), r); !errors.Is(err, events.ErrNoFrame) {
			t.Fatalf("Last of %s before its first frame: %v", r, err)
		}
		at[r] = mustAppend(t, b, r, 0, r.String())
	}
	for _, r := range refs {
		wantLast(t, b, r, at[r], r.String())
		for _, other := range refs {
			if other == r {
				continue
			}
			if at[other] == at[r] {
				continue // other shards count for themselves
			}
			if st, err := b.At(busCtx(t), r, at[other]); !errors.Is(err, events.ErrNoFrame) && string(st.Data) != r.String() {
				t.Fatalf("At(%s, position of %s) = %q, %v", r, other, st.Data, err)
			}
		}
	}
}

func busRead(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref := NewRef()
	ctx := busCtx(t)
	for _, pos := range []uint64{0, 1, 1 << 40, ^uint64(0)} {
		if st, err := b.At(ctx, ref, pos); !errors.Is(err, events.ErrNoFrame) {
			t.Fatalf("At(%d) of a session without frames = %q, %v, want ErrNoFrame", pos, st.Data, err)
		}
	}
	var positions []uint64
	prev := uint64(0)
	other, otherPrev := NewRef(), uint64(0)
	for i := range 10 {
		prev = mustAppend(t, b, ref, prev, fmt.Sprint("frame ", i))
		otherPrev = mustAppend(t, b, other, otherPrev, "other")
		positions = append(positions, prev)
		wantLast(t, b, ref, prev, fmt.Sprint("frame ", i))
	}
	for i, pos := range positions {
		st, err := b.At(ctx, ref, pos)
		if err != nil || st.Pos != pos || string(st.Data) != fmt.Sprint("frame ", i) {
			t.Fatalf("At(%d) = %d %q, %v", pos, st.Pos, st.Data, err)
		}
	}
}

func busLarge(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref := NewRef()
	frame := bytes.Repeat([]byte{0, 1, 2, 0xff, '\r', '\n', '"'}, events.MaxFrame/7)
	pos, err := b.Append(busCtx(t), ref, 0, frame)
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() (events.Stored, error){
		"Last": func() (events.Stored, error) { return b.Last(busCtx(t), ref) },
		"At":   func() (events.Stored, error) { return b.At(busCtx(t), ref, pos) },
	} {
		if st, err := read(); err != nil || st.Pos != pos || !bytes.Equal(st.Data, frame) {
			t.Fatalf("%s: %d bytes at %d, %v; want %d bytes at %d", name, len(st.Data), st.Pos, err, len(frame), pos)
		}
	}
}

func busForgotten(t *testing.T, b events.Bus, forget ForgetFunc) {
	ref := NewRef()
	ctx := busCtx(t)
	first := mustAppend(t, b, ref, 0, "one")
	forget(t)
	if _, err := b.Last(ctx, ref); !errors.Is(err, events.ErrNoFrame) {
		t.Fatalf("Last: %v, want ErrNoFrame", err)
	}
	if _, err := b.At(ctx, ref, first); !errors.Is(err, events.ErrNoFrame) {
		t.Fatalf("At: %v, want ErrNoFrame", err)
	}
	if _, err := b.Append(ctx, ref, first, []byte("x")); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("Append after a forgotten frame: %v, want ErrConflict", err)
	}
	second := mustAppend(t, b, ref, 0, "two")
	if second <= first {
		t.Fatalf("positions %d, then %d after forgetting: they must rise", first, second)
	}
	wantLast(t, b, ref, second, "two")
}

// followed collects what Follow gives.
type followed struct {
	mu  sync.Mutex
	all []events.Stored
	new chan struct{}
}

func follow(t *testing.T, b events.Bus, ref holdfast.SessionRef) (*followed, func()) {
	t.Helper()
	f := &followed{new: make(chan struct{}, 1)}
	stop, err := b.Follow(busCtx(t), ref, func(st events.Stored) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.all = append(f.all, events.Stored{Pos: st.Pos, Data: bytes.Clone(st.Data)})
		select {
		case f.new <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, stop
}

// until waits until a frame at pos has come and returns all so far.
func (f *followed) until(t *testing.T, pos uint64) []events.Stored {
	t.Helper()
	ctx := busCtx(t)
	for {
		f.mu.Lock()
		all := f.all
		f.mu.Unlock()
		if len(all) > 0 && all[len(all)-1].Pos >= pos {
			return all
		}
		select {
		case <-f.new:
		case <-ctx.Done():
			t.Fatalf("the frame at %d did not come; have %d frames", pos, len(all))
		}
	}
}

func busFollow(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref, other := NewRef(), NewRef()
	before := mustAppend(t, b, ref, 0, "before")
	f, stop := follow(t, b, ref)
	g, stopSecond := follow(t, b, ref)
	defer stopSecond()
	prev, otherPrev := before, uint64(0)
	var positions []uint64
	for i := range 100 {
		prev = mustAppend(t, b, ref, prev, fmt.Sprint(i))
		otherPrev = mustAppend(t, b, other, otherPrev, "other")
		positions = append(positions, prev)
	}
	for _, follower := range []*followed{f, g} {
		all := follower.until(t, prev)
		if len(all) != 100 {
			t.Fatalf("%d frames, want 100", len(all))
		}
		for i, st := range all {
			if st.Pos != positions[i] || string(st.Data) != fmt.Sprint(i) {
				t.Fatalf("frame %d is %q at %d, want it at %d", i, st.Data, st.Pos, positions[i])
			}
		}
	}
	stop()
	last := mustAppend(t, b, ref, prev, "after")
	if all := g.until(t, last); len(all) != 101 {
		t.Fatalf("the second follower has %d frames, want 101", len(all))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) != 100 {
		t.Fatalf("a follower that was stopped has %d frames, want 100", len(f.all))
	}
}

// busFollowAfterRead: who follows and then reads misses nothing.
func busFollowAfterRead(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref := NewRef()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(busCtx(t))
	defer cancel()
	mustAppend(t, b, ref, 0, "first")
	wg.Go(func() {
		st, err := b.Last(ctx, ref)
		for prev := st.Pos; err == nil; {
			var pos uint64
			pos, err = b.Append(ctx, ref, prev, []byte(fmt.Sprint(prev)))
			if errors.Is(err, events.ErrBusy) {
				err = nil
				continue
			}
			prev = pos
		}
		if ctx.Err() == nil {
			t.Errorf("Append: %v", err)
		}
	})
	for range 30 {
		f, stop := follow(t, b, ref)
		st, err := b.Last(busCtx(t), ref)
		if err != nil {
			t.Fatal(err)
		}
		all := f.until(t, st.Pos+1)
		stop()
		// Every frame names the one before it: what follows must reach back to what was read.
		if first := all[0]; first.Pos > st.Pos && string(first.Data) != fmt.Sprint(st.Pos) {
			t.Fatalf("read up to %d, followed from %d which comes after %s", st.Pos, first.Pos, first.Data)
		}
	}
}

func busFollowStored(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref := NewRef()
	f, stop := follow(t, b, ref)
	defer stop()
	prev := uint64(0)
	for i := range 20 {
		prev = mustAppend(t, b, ref, prev, fmt.Sprint(i))
		if _, err := b.Append(busCtx(t), ref, prev+1000, []byte("refused")); err == nil {
			t.Fatal("a frame after one that does not exist was stored")
		}
	}
	for _, st := range f.until(t, prev) {
		if string(st.Data) == "refused" {
			t.Fatal("a follower saw a frame that was refused")
		}
	}
}

// busEnded: a call whose context has ended returns, and what it says is true.
func busEnded(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref := NewRef()
	ended, cancel := context.WithCancel(busCtx(t))
	cancel()
	if _, err := b.Append(ended, ref, 0, []byte("x")); err == nil {
		wantLast(t, b, ref, 1, "x")
	} else if errors.Is(err, events.ErrConflict) {
		t.Fatalf("Append: %v", err)
	}
	if _, err := b.Last(ended, ref); err == nil || errors.Is(err, events.ErrNoFrame) {
		t.Fatalf("Last with an ended context: %v", err)
	}
	if _, err := b.At(ended, ref, 1); err == nil || errors.Is(err, events.ErrNoFrame) {
		t.Fatalf("At with an ended context: %v", err)
	}
	if stop, err := b.Follow(ended, ref, func(events.Stored) {}); err == nil {
		stop()
		t.Fatal("Follow with an ended context succeeded")
	}
}

func busSend(t *testing.T, b events.Bus, _ ForgetFunc) {
	ref := NewRef()
	c, err := events.NewCommand(ref, events.KindCancel, "", events.CancelBody{Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	// Again with the same id: the session's log makes it one.
	for range 2 {
		if err := b.Send(busCtx(t), c); err != nil {
			t.Fatal(err)
		}
	}
	bad := c
	bad.Session = holdfast.SessionRef{Tenant: "a.b", Session: "*"}
	if err := b.Send(busCtx(t), bad); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Fatalf("Send to a session that cannot be: %v, want CodeInvalid", err)
	}
	bad = c
	bad.Body = []byte(`"` + string(bytes.Repeat([]byte("x"), 64<<20)) + `"`)
	if err := b.Send(busCtx(t), bad); holdfast.CodeOf(err) != holdfast.CodeTooLarge {
		t.Fatalf("Send of 64 MiB: %v, want CodeTooLarge", err)
	}
}

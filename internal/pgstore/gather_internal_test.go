package pgstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// lookups is a database whose answers wait for the test. It has every word that
// is not "missing".
type lookups struct {
	mu     sync.Mutex
	rounds [][]string
	let    chan error // one for each round
}

func (l *lookups) gather() *gather[string, string] {
	return &gather[string, string]{
		many: func(ctx context.Context, keys []string) (map[string]string, error) {
			l.mu.Lock()
			l.rounds = append(l.rounds, slices.Sorted(slices.Values(keys)))
			l.mu.Unlock()
			select {
			case err := <-l.let:
				found := map[string]string{}
				for _, k := range keys {
					if k != "missing" {
						found[k] = "value of " + k
					}
				}
				return found, err
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
		one: func(ctx context.Context, key string) (string, bool, error) {
			l.mu.Lock()
			l.rounds = append(l.rounds, []string{key})
			l.mu.Unlock()
			select {
			case err := <-l.let:
				return "value of " + key, key != "missing", err
			case <-ctx.Done():
				return "", false, context.Cause(ctx)
			}
		},
	}
}

func (l *lookups) want(t *testing.T, want ...[]string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.EqualFunc(l.rounds, want, slices.Equal) {
		t.Fatalf("asked the database for %q, want %q", l.rounds, want)
	}
}

// asked is a lookup under way.
type asked struct {
	value string
	found bool
	err   error
}

func ask(ctx context.Context, g *gather[string, string], key string) *asked {
	a := &asked{}
	go func() { a.value, a.found, a.err = g.get(ctx, key) }()
	synctest.Wait()
	return a
}

func (a *asked) want(t *testing.T, value string, found bool) {
	t.Helper()
	if a.value != value || a.found != found || a.err != nil {
		t.Fatalf("got %q, %v, %v; want %q, %v", a.value, a.found, a.err, value, found)
	}
}

// TestGatherRounds: who asks while a round is on its way shares the next.
func TestGatherRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{let: make(chan error)}
		g := l.gather()
		first := ask(t.Context(), g, "a")
		l.want(t, []string{"a"})
		b, missing, again := ask(t.Context(), g, "b"), ask(t.Context(), g, "missing"), ask(t.Context(), g, "a")
		l.want(t, []string{"a"}) // "a" too must see what is committed now
		l.let <- nil
		synctest.Wait()
		first.want(t, "value of a", true)
		l.want(t, []string{"a"}, []string{"a", "b", "missing"})
		l.let <- nil
		synctest.Wait()
		b.want(t, "value of b", true)
		again.want(t, "value of a", true)
		missing.want(t, "", false)

		// Nothing is left behind: the next one goes out at once.
		last := ask(t.Context(), g, "c")
		l.let <- nil
		synctest.Wait()
		last.want(t, "value of c", true)
	})
}

// TestGatherLeaves: one who leaves takes nobody along; a round that all have left
// is given up.
func TestGatherLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{let: make(chan error)}
		g := l.gather()
		ctx, cancel := context.WithCancel(t.Context())
		first := ask(t.Context(), g, "a")
		leaver, stays := ask(ctx, g, "b"), ask(t.Context(), g, "c")
		cancel()
		synctest.Wait()
		if !errors.Is(leaver.err, context.Canceled) {
			t.Fatalf("error %v, want that of the context", leaver.err)
		}
		l.let <- nil
		synctest.Wait()
		first.want(t, "value of a", true)
		l.let <- nil
		synctest.Wait()
		stays.want(t, "value of c", true)

		// A round on its way and one that waits, both left by all.
		ctx, cancel = context.WithCancel(t.Context())
		other, leave := context.WithCancel(t.Context())
		sent, waits := ask(ctx, g, "d"), ask(other, g, "e")
		leave()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if sent.err == nil || waits.err == nil {
			t.Fatal("no error")
		}
		after := ask(t.Context(), g, "f")
		l.let <- nil
		synctest.Wait()
		after.want(t, "value of f", true)
		l.want(t, []string{"a"}, []string{"b", "c"}, []string{"d"}, []string{"f"})
	})
}

// answerAll answers so many rounds at most as there are.
func (l *lookups) answerAll(most int, err error) (rounds int) {
	for range most {
		synctest.Wait()
		select {
		case l.let <- err:
			rounds++
		default:
		}
	}
	synctest.Wait()
	return rounds
}

// TestGatherFails: a round whose connection is lost is asked again once, so that a
// database which is away is an error for all; what else fails in a round of many
// fails for whom it concerns.
func TestGatherFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{let: make(chan error)}
		g := l.gather()
		lost := unavailable(errors.New("connection reset"))
		first := ask(t.Context(), g, "a")
		b, c := ask(t.Context(), g, "b"), ask(t.Context(), g, "c")
		l.let <- nil
		synctest.Wait()
		first.want(t, "value of a", true)
		// Once for the round of both, and once more, together or each for himself.
		if n := l.answerAll(5, lost); n != 2 && n != 3 {
			t.Fatalf("asked %d times", n)
		}
		if holdfast.CodeOf(b.err) != holdfast.CodeUnavailable || holdfast.CodeOf(c.err) != holdfast.CodeUnavailable {
			t.Fatalf("errors %v and %v, want the code %s", b.err, c.err, holdfast.CodeUnavailable)
		}

		again := ask(t.Context(), g, "a")
		b, c = ask(t.Context(), g, "b"), ask(t.Context(), g, "c")
		l.let <- nil
		synctest.Wait()
		again.want(t, "value of a", true)
		l.let <- lost
		l.answerAll(5, nil)
		b.want(t, "value of b", true)
		c.want(t, "value of c", true)

		first = ask(t.Context(), g, "a")
		b, c = ask(t.Context(), g, "b"), ask(t.Context(), g, "c")
		l.let <- nil
		synctest.Wait()
		l.let <- errors.New("invalid byte sequence")
		synctest.Wait()
		l.let <- nil
		l.let <- errors.New("invalid byte sequence")
		synctest.Wait()
		first.want(t, "value of a", true)
		if (b.err == nil) == (c.err == nil) {
			t.Fatalf("errors %v and %v, want one", b.err, c.err)
		}
	})
}

// TestGatherPatience: a round that hangs holds up the next for a moment only, and
// one who leaves a round that was sent early does not disturb it.
func TestGatherPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{let: make(chan error)}
		g := l.gather()
		hangs, cancel := context.WithCancel(t.Context())
		stuck := ask(hangs, g, "a")
		b := ask(t.Context(), g, "b")
		l.want(t, []string{"a"})
		time.Sleep(gatherPatience) // of the bubble's clock
		synctest.Wait()
		l.want(t, []string{"a"}, []string{"b"})
		cancel()
		synctest.Wait()
		l.let <- nil
		synctest.Wait()
		b.want(t, "value of b", true)
		if stuck.err == nil {
			t.Fatal("no error")
		}
	})
}

// TestGatherFull: a round has room for so many and no more.
func TestGatherFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookups{let: make(chan error)}
		g := l.gather()
		all := []*asked{ask(t.Context(), g, "first")}
		for i := range maxGathered + 1 {
			all = append(all, ask(t.Context(), g, string(rune('a'+i))))
		}
		l.mu.Lock()
		if len(l.rounds) != 2 || len(l.rounds[1]) != maxGathered {
			t.Errorf("%d rounds, the last of %d", len(l.rounds), len(l.rounds[len(l.rounds)-1]))
		}
		l.mu.Unlock()
		for range 3 {
			l.let <- nil
			synctest.Wait()
		}
		for _, a := range all {
			if !a.found || a.err != nil {
				t.Fatalf("%q, %v", a.value, a.err)
			}
		}
	})
}

// TestGatherPanics: a panic is an error of those who wait.
func TestGatherPanics(t *testing.T) {
	g := &gather[string, string]{one: func(context.Context, string) (string, bool, error) { panic("oh") }}
	if _, _, err := g.get(t.Context(), "a"); err == nil {
		t.Fatal("no error")
	}
}

package httpapi

import (
	"io"
	"net"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// ring is a feed without a session: what a test puts into it.
type ring struct {
	*feed
	t    *testing.T
	next uint64
}

func newRing(t *testing.T) *ring {
	return &ring{feed: &feed{hub: &hub{buffer: 1 << 20}, wake: make(chan struct{})}, t: t, next: 1}
}

// puts appends a block with one event of each type and returns for how many a sweep is due.
func (r *ring) puts(types ...string) int {
	var evs []events.Envelope
	for _, typ := range types {
		evs = append(evs, events.Envelope{Seq: r.next, Type: typ, Payload: []byte(`{}`)})
		r.next++
	}
	return r.put(newBlock(evs, "s"), events.SessionInfo{})
}

// follower adds a stream on a connection of its own. before is called before each
// write; got returns what the reader has received by the time the feed is closed.
func (r *ring) follower(before func()) (fl *follower, writes *int, got func() string) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer ln.Close()
	reader, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { reader.Close() })
	conn, err := ln.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		r.t.Fatal(err)
	}
	d := &direct{conn: conn, raw: raw, rec: &recorder{}}
	writes = new(int)
	d.try = func(fd uintptr) bool {
		if before != nil {
			before()
		}
		*writes++
		d.n, d.err = trySocket(fd, d.p)
		return true
	}
	if fl = r.follow(r.head, d, false); fl == nil {
		r.t.Fatal("a stream at the feed's end cannot follow")
	}
	return fl, writes, func() string {
		conn.Close()
		all, err := io.ReadAll(reader)
		if err != nil {
			r.t.Error(err)
		}
		return string(all)
	}
}

// TestSweep: what arrives in the middle of a round reaches the rest of the round
// at once and the others in the next, nobody gets anything twice, and the end of a
// run does not overtake what came before it.
func TestSweep(t *testing.T) {
	r := newRing(t)
	first, firstWrites, gotFirst := r.follower(nil)
	once := true
	_, _, gotSecond := r.follower(func() {
		if once {
			once = false
			if r.puts("agent_choice", "agent_choice") != 0 {
				t.Error("a second sweep is asked for while one is on its way")
			}
		}
	})
	last, lastWrites, gotLast := r.follower(func() {
		if r.next == 4 {
			r.puts(holdfast.TypeRunFinished)
		}
	})
	if r.puts("run_started") != 3 {
		t.Fatal("no sweep is asked for")
	}
	r.sweep()
	if first.at != 4 || last.at != 4 || r.sweeping {
		t.Fatalf("after the sweep the streams are at %d and %d, sweeping %v", first.at, last.at, r.sweeping)
	}
	if *firstWrites != 3 || *lastWrites != 2 {
		t.Errorf("the first stream was written %d times, the last %d times; want 3 (each block alone) and 2 (all before the end at once)", *firstWrites, *lastWrites)
	}
	a, b, c := gotFirst(), gotSecond(), gotLast()
	if a != b || a != c || strings.Count(a, "\ndata: ") != 4 {
		t.Errorf("the streams got\n%q\n%q\n%q", a, b, c)
	}
	if r.puts("agent_choice") != 3 {
		t.Error("after a sweep no other is asked for")
	}
}

// TestCatchUp: from a block's begin to the end of the ring, but not past what fits
// or the end of a run; what is not there is said to be missing.
func TestCatchUp(t *testing.T) {
	r := newRing(t)
	r.puts("run_started", "agent_choice") // 1, 2
	r.puts("agent_choice")                // 3
	r.puts(holdfast.TypeRunFinished)      // 4
	r.puts(holdfast.TypeSessionDeleted)   // 5
	for _, c := range []struct {
		after, to      uint64
		turns, missing bool
	}{
		{after: 0, to: 3},
		{after: 2, to: 3},
		{after: 3, to: 4, turns: true},
		{after: 4, to: 5, turns: true},
		{after: 1, to: 1, missing: true}, // in the middle of a block
	} {
		got := r.catchUp(c.after)
		if got.to != c.to || got.turns != c.turns || got.missing != c.missing || got.ends != (c.to == 5) {
			t.Errorf("after %d: to %d, turns %v, missing %v, ends %v", c.after, got.to, got.turns, got.missing, got.ends)
		}
		if n := strings.Count(string(got.chunk), "\ndata: "); n != int(c.to-c.after) {
			t.Errorf("after %d: %d events in the chunk", c.after, n)
		}
	}
	one := r.catchUp(3)
	_ = append(one.chunk, "x"...)
	if again := r.catchUp(4); !strings.Contains(string(again.chunk), "session_deleted") {
		t.Error("a chunk's end can be written over")
	}

	big := newRing(t)
	for range 3 {
		big.put(newBlock([]events.Envelope{{Seq: big.next, Type: "agent_choice", Payload: []byte(`{"content":"` + strings.Repeat("x", maxCatchUp/2) + `"}`)}}, "s"), events.SessionInfo{})
		big.next++
	}
	if got := big.catchUp(0); got.to != 1 || got.missing {
		t.Errorf("of three large blocks, %d are given at once", got.to)
	}
	fl, _, got := big.follower(nil)
	fl.at, big.sweeping = 0, true
	big.sweep()
	if fl.at != 3 {
		t.Errorf("a stream that lacks more than fits is left at %d", fl.at)
	}
	if n := strings.Count(got(), "\ndata: "); n != 3 {
		t.Errorf("it got %d events", n)
	}
}

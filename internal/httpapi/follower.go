package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A session may have thousands of readers, and nearly all of them are level with
// it: they have got everything and wait. To wake a goroutine for each of them and
// to go through the layers of net/http costs more than the bytes. So the feed
// writes a new block itself, the same bytes for all, to the sockets of those who
// are level, and never waits: what a socket does not take at once is its own
// stream's business, which writes on with a deadline as for everybody who is
// behind. A reader that is slow is so cut as ever and slows nobody.

// connKey is the key of a request's connection in its context.
type connKey struct{}

// connContext keeps the connection for [API.directTo]; see [http.Server.ConnContext].
func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// direct writes to the connection of an answer past net/http, whole chunks
// between those that net/http writes (RFC 9112, section 7.1). Whoever uses it must
// have flushed the answer, and nobody else may write meanwhile.
type direct struct {
	conn net.Conn
	raw  syscall.RawConn
	rec  *recorder

	// try is what raw calls with the socket; the others are its arguments and results.
	try func(fd uintptr) bool
	p   []byte
	n   int
	err error
}

// directTo returns the way past net/http, nil where there is none: on encrypted
// connections, with HTTP/1.0 and HTTP/2, behind what changes the bytes, and on
// systems where a socket cannot be tried.
func (a *API) directTo(w http.ResponseWriter, r *http.Request) *direct {
	if !canTry || r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor < 1 {
		return nil
	}
	rec, ok := w.(*recorder)
	if !ok || fmt.Sprintf("%T", rec.ResponseWriter) != "*http.response" {
		return nil
	}
	var conn net.Conn
	if a.cfg.Conn != nil {
		conn = a.cfg.Conn(r.Context())
	} else {
		conn, _ = r.Context().Value(connKey{}).(net.Conn)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil // it is closed; the stream will notice
	}
	d := &direct{conn: tcp, raw: raw, rec: rec}
	d.try = func(fd uintptr) bool {
		d.n, d.err = trySocket(fd, d.p)
		return true
	}
	return d
}

// write gives the socket what it takes at once.
func (d *direct) write(p []byte) (n int, err error) {
	d.p, d.n, d.err = p, 0, nil
	err = d.raw.Write(d.try)
	d.p = nil
	d.rec.bytes += int64(d.n)
	return d.n, errors.Join(err, d.err)
}

// errLeft says that the client's connection is gone.
var errLeft = errors.New("the client has left")

// finish writes the rest of a chunk, each piece within its time.
func (d *direct) finish(p []byte, timeout time.Duration) error {
	for len(p) > 0 {
		if err := d.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return fmt.Errorf("%w: %w", errLeft, err)
		}
		n, err := d.conn.Write(p[:min(len(p), piece)])
		d.rec.bytes += int64(n)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", errLeft, err)
		}
		p = p[n:]
	}
	return nil
}

// directSink is a sink whose stream a feed may write.
type directSink interface {
	sink
	// direct returns the way to the client, nil if the feed must not write this
	// stream. turns says that the stream wants to see for itself what ends a run or
	// lets the session rest.
	direct() (d *direct, turns bool)
	// lift takes the deadline away that the last write has set; deadline sets one again.
	lift() error
	deadline() error
	// settle tells of what the feed has written: the rest of a chunk that is still to
	// be sent, and when it wrote last.
	settle(rest []byte, last time.Time) error
}

// follower is a stream while its feed writes it. It ends when either side has
// called it gone; a stream that comes back is another one.
type follower struct {
	out   *direct
	turns bool
	// called has an element when the feed has given the follower up.
	called chan struct{}

	gone atomic.Bool // set under mu

	mu   sync.Mutex // held by who uses out
	at   uint64     // what the socket has taken, or will have with rest
	rest []byte
	last time.Time // of the last write, zero for none
}

// follow makes a stream that is level with the feed a follower; nil if it is not.
func (f *feed) follow(at uint64, out *direct, turns bool) *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || at != f.head {
		return nil
	}
	f.tidy()
	fl := &follower{out: out, turns: turns, called: make(chan struct{}, 1), at: at}
	f.followers = append(f.followers, fl)
	return fl
}

// tidy forgets followers that are gone, when they are many. The list that a
// sweep goes through is not touched. The caller holds f.mu.
func (f *feed) tidy() {
	if f.left <= len(f.followers)/2+16 {
		return
	}
	var list []*follower
	for _, fl := range f.followers {
		if !fl.gone.Load() {
			list = append(list, fl)
		}
	}
	f.followers, f.left = list, 0
}

// leave ends a follower from the side of its stream.
func (f *feed) leave(fl *follower) (at uint64, rest []byte, last time.Time) {
	fl.mu.Lock()
	at, rest, last = fl.at, fl.rest, fl.last
	was := fl.gone.Swap(true)
	fl.mu.Unlock()
	if !was {
		f.mu.Lock()
		f.left++
		f.mu.Unlock()
	}
	return at, rest, last
}

// giveUp ends the follower from the side of the feed. The caller holds fl.mu.
func (fl *follower) giveUp() {
	fl.gone.Store(true)
	fl.called <- struct{}{} // once: gone is looked at before
}

// catchUp is what brings a stream from one place in the session to the feed's end,
// or part of the way.
type catchUp struct {
	from, to uint64
	head     uint64 // the feed's end when this was made
	chunk    []byte
	// turns and ends are as in [block]; missing says that the ring does not reach back
	// so far.
	turns, ends, missing bool
}

// maxCatchUp is how many bytes of several blocks a socket is given at once.
const maxCatchUp = 64 << 10

// catchUp returns what a stream needs that has all up to seq, which is not the end.
func (f *feed) catchUp(seq uint64) catchUp {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := catchUp{from: seq, to: seq, head: f.head}
	first := len(f.blocks)
	for first > 0 && f.blocks[first-1].items[0].seq > seq {
		first--
	}
	for i, blocks := first, f.blocks; i < len(blocks); i++ {
		b := &blocks[i]
		if b.items[0].seq != c.to+1 {
			break
		}
		switch {
		case i == first:
			c.chunk = b.chunk[:len(b.chunk):len(b.chunk)] // the same bytes for all, as nearly always
		case b.turns, len(c.chunk)+len(b.chunk) > maxCatchUp:
			// Many leave when a run ends. That is work, and not to be done before the
			// others have what came before the end.
			return c
		default:
			c.chunk = append(c.chunk, b.chunk...)
		}
		c.to = b.items[len(b.items)-1].seq
		c.turns, c.ends = c.turns || b.turns, c.ends || b.ends
	}
	c.missing = c.to == seq
	return c
}

// deliver gives the follower what it lacks; c is what the one before it lacked,
// most likely the same. It reports whether it lacks more, and whether that was the
// end of it.
func (fl *follower) deliver(f *feed, c *catchUp, now time.Time) (behind, ended bool) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	head := f.newest.Load()
	if fl.gone.Load() || fl.at >= head {
		return false, false
	}
	if c.from != fl.at || c.head != head {
		*c = f.catchUp(fl.at)
	}
	if c.missing || c.ends || c.turns && fl.turns {
		fl.giveUp()
		return false, true
	}
	n, err := fl.out.write(c.chunk)
	if n > 0 {
		fl.at, fl.last = c.to, now
		fl.rest = c.chunk[n:]
	}
	if err != nil || n < len(c.chunk) {
		// A connection that is gone says so to the stream too, at its next write.
		fl.giveUp()
		return false, true
	}
	return fl.at < head, false
}

// perWriter is how many followers are worth a goroutine that writes to them.
const perWriter = 256

// sweep goes round the followers until all are level with the feed. Each gets all
// that there is when its turn comes: what arrives in the middle of a round reaches
// the rest of it at once, and those before it first in the next, so that nobody waits
// for more than one round.
func (f *feed) sweep() {
	for seen := uint64(0); ; {
		f.mu.Lock()
		f.tidy()
		list, head := f.followers[:len(f.followers):len(f.followers)], f.head
		if head == seen || len(list) == 0 {
			f.sweeping = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		if !f.round(list) {
			seen = head
		}
	}
}

// round gives each of the followers what it lacks, and reports whether one lacks more.
func (f *feed) round(list []*follower) (behind bool) {
	now := time.Now()
	var ended atomic.Int64
	var more atomic.Bool
	give := func(list []*follower) {
		var c catchUp
		for _, fl := range list {
			behind, end := fl.deliver(f, &c, now)
			if behind {
				more.Store(true)
			}
			if end {
				ended.Add(1)
			}
		}
	}
	writers := min(runtime.GOMAXPROCS(0), (len(list)+perWriter-1)/perWriter)
	var wg sync.WaitGroup
	for i := 1; i < writers; i++ {
		wg.Go(func() { give(list[i*len(list)/writers : (i+1)*len(list)/writers]) })
	}
	give(list[:len(list)/writers])
	wg.Wait()
	if n := ended.Load(); n > 0 {
		f.mu.Lock()
		f.left += int(n)
		f.mu.Unlock()
	}
	return more.Load()
}

// dismiss ends followers of a feed that is gone.
func dismiss(list []*follower) {
	for _, fl := range list {
		fl.mu.Lock()
		if !fl.gone.Load() {
			fl.giveUp()
		}
		fl.mu.Unlock()
	}
}

// ride lets the feed write the stream as long as it is level with it. It returns
// where the stream is then; rode says whether it was level at all.
func (h *hub) ride(ctx context.Context, f *feed, at uint64, out directSink, timer *time.Timer) (now uint64, rode bool, err error) {
	d, turns := out.direct()
	if d == nil || ctx.Err() != nil || h.ctx.Err() != nil {
		return at, false, nil
	}
	if err := out.lift(); err != nil {
		return at, false, err
	}
	fl := f.follow(at, d, turns)
	if fl == nil {
		return at, false, out.deadline()
	}
	timer.Reset(out.pause())
	select {
	case <-ctx.Done():
	case <-h.ctx.Done():
	case <-fl.called:
	case <-timer.C:
	}
	now, rest, last := f.leave(fl)
	late := out.deadline() // what the server writes at a stream's end has one, too
	switch {
	case ctx.Err() != nil && len(rest) > 0:
		return now, true, fmt.Errorf("%w: %w", errLeft, context.Cause(ctx))
	case ctx.Err() != nil:
		return now, true, context.Cause(ctx)
	case late != nil:
		return now, true, late
	}
	if err := out.settle(rest, last); err != nil {
		return now, true, err
	}
	if out.pause() <= 0 {
		return now, true, out.beat()
	}
	return now, true, nil
}

// chunkHead is room for the size of a chunk and the end of that line.
const chunkHead = 10

// asChunk puts size and end around the data of a chunk, which begins at chunkHead.
// What it returns begins so many bytes into buf, or a copy of it.
func asChunk(buf []byte) (chunk []byte, from int) {
	var size [chunkHead]byte
	head := append(strconv.AppendUint(size[:0], uint64(len(buf)-chunkHead), 16), "\r\n"...)
	from = chunkHead - len(head)
	copy(buf[from:], head)
	return append(buf, "\r\n"...)[from:], from
}

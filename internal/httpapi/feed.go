package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// item is one event, encoded once for all of its readers.
type item struct {
	seq   uint64
	typ   string
	run   string
	agent string
	// sse is the event as one server-sent event: id, data, an empty line.
	sse []byte
	// line is the JSON object in it, without the newline.
	line []byte
}

// appendSSE appends an event in the form of a stream and returns where its JSON
// begins and ends.
func appendSSE(dst []byte, e *events.Envelope, sessionID string) (out []byte, from, to int) {
	dst = append(dst, "id: "...)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = append(dst, "\ndata: "...)
	from = len(dst)
	dst = e.AppendWire(dst, sessionID)
	to = len(dst)
	return append(dst, "\n\n"...), from, to
}

// encode makes the items of consecutive events in one piece of memory, which is
// also their chunk of an answer.
func encode(evs []events.Envelope, sessionID string) (items []item, chunk []byte) {
	size := chunkHead
	for i := range evs {
		size += len(evs[i].Payload) + len(evs[i].Agent) + 160
	}
	buf := make([]byte, chunkHead, size)
	items = make([]item, len(evs))
	type span struct{ start, from, to, end int }
	spans := make([]span, len(evs))
	for i := range evs {
		e := &evs[i]
		start := len(buf)
		var from, to int
		buf, from, to = appendSSE(buf, e, sessionID)
		spans[i] = span{start, from, to, len(buf)}
		items[i] = item{seq: e.Seq, typ: e.Type, run: e.Run, agent: e.Agent}
	}
	chunk, off := asChunk(buf)
	for i, s := range spans { // buf may have moved while it grew
		items[i].sse, items[i].line = chunk[s.start-off:s.end-off:s.end-off], chunk[s.from-off:s.to-off:s.to-off]
	}
	return items, chunk
}

// block is what came in one frame, or in some that came together. It does not
// change.
type block struct {
	items []item
	size  int
	// chunk has all items as server-sent events, as one chunk of an answer.
	chunk []byte
	// turns says that an event is in it with which a run ends or a session rests, ends
	// that the session ends.
	turns, ends bool
}

// newBlock encodes consecutive events.
func newBlock(evs []events.Envelope, sessionID string) block {
	var b block
	b.items, b.chunk = encode(evs, sessionID)
	for i := range b.items {
		it := &b.items[i]
		b.size += len(it.sse) + itemOverhead
		switch it.typ {
		case holdfast.TypeSessionDeleted:
			b.turns, b.ends = true, true
		case holdfast.TypeRunFinished, holdfast.TypeSessionParked:
			b.turns = true
		}
	}
	return b
}

// maxOffered is how many bytes of frames may wait to be encoded before the feed
// drops them and reads what is missing from the log.
const maxOffered = 4 << 20

// feed is the live end of one session: one subscription on the bus, a ring of
// the newest events, and a signal for the readers.
type feed struct {
	hub *hub
	ref holdfast.SessionRef

	// ready is closed when the feed knows where the session ends, or why not (err).
	ready chan struct{}
	err   error

	// kick wakes the feed's goroutine when frames were offered.
	kick chan struct{}

	// readers and idle belong to the hub and are guarded by its lock.
	readers int
	idle    *time.Timer
	cancel  context.CancelFunc

	omu     sync.Mutex // guards what the bus offered
	offered []events.Stored
	size    int
	lost    bool

	mu     sync.Mutex // guards what readers see
	blocks []block
	bytes  int
	head   uint64
	row    events.SessionInfo // at head, as far as it is known
	wake   chan struct{}      // closed and replaced when head rises
	ended  bool

	// followers are the streams that the feed writes, some of them gone: left says how
	// many.
	followers []*follower
	left      int
	sweeping  bool // a goroutine writes to them

	// newest is head, for who must not wait.
	newest atomic.Uint64
}

// offer takes a frame from the bus. It never blocks.
func (f *feed) offer(st events.Stored) {
	f.omu.Lock()
	if f.size+len(st.Data) > maxOffered {
		f.lost = true
	} else {
		f.offered = append(f.offered, st)
		f.size += len(st.Data)
	}
	f.omu.Unlock()
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run keeps the feed going until ctx ends.
func (f *feed) run(ctx context.Context) {
	stop, err := f.start(ctx)
	f.err = err
	if err != nil {
		f.hub.forget(f)
	}
	close(f.ready)
	if err != nil {
		return
	}
	defer stop()
	look := time.NewTimer(f.hub.look)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			f.end()
			return
		case <-f.kick:
			f.drain(ctx)
		case <-look.C:
			f.lookBehind(ctx)
		}
		look.Reset(f.hub.look)
	}
}

// lookBehind asks for the end of the session after some silence: a frame that
// was lost on its way, with none behind it, leaves no gap to notice.
func (f *feed) lookBehind(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	st, err := f.hub.bus.Last(ctx, f.ref)
	if err != nil {
		return // the bus is away, or has let go of the session: nothing is new
	}
	frame, err := events.DecodeFrame(st.Data)
	if err != nil || frame.Last() > f.headSeq() {
		f.fill(ctx)
	}
}

// start subscribes and finds the end of the session.
func (f *feed) start(ctx context.Context) (stop func(), err error) {
	// The subscription may live as long as its context: only a start that takes too
	// long ends it.
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(startTimeout, func() { cancel(errLate) })
	defer func() {
		if err != nil {
			cancel(err)
		}
	}()
	defer late.Stop()
	stop, err = f.hub.bus.Follow(ctx, f.ref, f.offer)
	if err != nil {
		return nil, unavailable(fmt.Errorf("follow %s: %w", f.ref, err))
	}
	end, err := events.ReadEnd(ctx, f.hub.bus, f.hub.reader.Store, f.ref)
	switch {
	case errors.Is(err, events.ErrCorrupt):
		stop()
		return nil, fmt.Errorf("follow %s: %w", f.ref, err)
	case err != nil:
		stop()
		return nil, unavailable(fmt.Errorf("follow %s: %w", f.ref, err))
	case end.Seq == 0:
		stop()
		return nil, errNoSession(f.ref)
	}
	row := rowBefore(ctx, f.hub.reader, f.ref, end)
	f.mu.Lock()
	f.row = row
	f.mu.Unlock()
	if end.Frame != nil {
		f.add(end.Frame.Events)
		return stop, nil
	}
	f.mu.Lock()
	f.head = max(f.head, end.Seq)
	f.newest.Store(f.head)
	f.mu.Unlock()
	return stop, nil
}

// drain encodes what was offered and fills gaps from the log.
func (f *feed) drain(ctx context.Context) {
	f.omu.Lock()
	list, lost := f.offered, f.lost
	f.offered, f.size, f.lost = nil, 0, false
	f.omu.Unlock()
	var next []events.Envelope // follow the head and each other, and are not added yet
	end := f.headSeq()
	add := func() {
		f.add(next)
		next, end = nil, f.headSeq()
	}
	for _, st := range list {
		frame, err := events.DecodeFrame(st.Data)
		if err != nil {
			// The log has it in another form, or the readers will hear of the bug there.
			f.hub.logger.ErrorContext(ctx, "a frame of the live feed cannot be read", "session", f.ref.String(), "position", st.Pos, "error", err)
			lost = true
			continue
		}
		if frame.Prev == 0 || frame.First() > end+1 {
			// Whether a root is in the log at all is not for who follows to say.
			add()
			f.fill(ctx)
			end = f.headSeq()
			if frame.Prev == 0 {
				continue
			}
		}
		evs := frame.Events
		for len(evs) > 0 && evs[0].Seq <= end {
			evs = evs[1:]
		}
		if len(evs) == 0 {
			continue
		}
		if evs[0].Seq != end+1 || len(next) >= fillBatch {
			add()
		}
		next = append(next, evs...)
		end = evs[len(evs)-1].Seq
	}
	add()
	if lost {
		f.fill(ctx)
	}
}

// fill reads what the feed has missed. It tries until it has it or ctx ends:
// the readers wait meanwhile, and those that are behind read for themselves.
func (f *feed) fill(ctx context.Context) {
	backoff := 10 * time.Millisecond
	for ctx.Err() == nil {
		var pending []events.Envelope
		_, err := f.hub.reader.Read(ctx, f.ref, f.headSeq(), func(e events.Envelope) error {
			pending = append(pending, e)
			if len(pending) >= fillBatch {
				f.add(pending)
				pending = nil
			}
			return nil
		})
		f.add(pending)
		if err == nil || errors.Is(err, events.ErrNoSession) {
			return
		}
		f.hub.logger.LogAttrs(ctx, slog.LevelWarn, "the live feed of a session has a gap that cannot be read yet",
			slog.String("session", f.ref.String()), slog.Uint64("after", f.headSeq()), slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, time.Second)
	}
}

// fillBatch is how many events are encoded at once when a gap is filled.
const fillBatch = 256

// startTimeout is how long a feed may take to find the end of its session.
const startTimeout = 5 * time.Second

var errLate = errors.New("the bus does not answer")

func (f *feed) headSeq() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// standing returns the newest seq and the row of the session there.
func (f *feed) standing() (head uint64, row events.SessionInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head, f.row
}

// add appends events to the ring, those that are new, and wakes the readers.
func (f *feed) add(evs []events.Envelope) {
	head, row := f.standing() // only this goroutine changes them
	for len(evs) > 0 && evs[0].Seq <= head {
		evs = evs[1:]
	}
	if len(evs) == 0 {
		return
	}
	b := newBlock(evs, f.ref.Session)
	fold(&row, evs)
	switch n := f.put(b, row); {
	case n > perSweep:
		f.hub.wg.Go(f.sweep)
	case n > 0:
		f.sweep()
	}
}

// perSweep is how many followers are worth a goroutine for their sweep, so that
// what comes meanwhile can join it.
const perSweep = 32

// put appends a block to the ring and returns how many followers a sweep must bring
// it to: none if one is on its way.
func (f *feed) put(b block, row events.SessionInfo) (sweep int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.blocks); n > 0 && b.items[0].seq != f.head+1 {
		f.blocks, f.bytes = nil, 0 // what the ring holds must be without a gap
	}
	f.blocks = append(f.blocks, b)
	f.bytes += b.size
	drop := 0
	for f.bytes > f.hub.buffer && drop < len(f.blocks)-1 {
		f.bytes -= f.blocks[drop].size
		drop++
	}
	if drop > 0 {
		// A copy lets go of what was dropped.
		f.blocks = append([]block(nil), f.blocks[drop:]...)
	}
	f.head, f.row = b.items[len(b.items)-1].seq, row
	f.newest.Store(f.head)
	close(f.wake)
	f.wake = make(chan struct{})
	if f.sweeping || len(f.followers) == 0 {
		return 0
	}
	f.sweeping = true
	return len(f.followers)
}

// itemOverhead is about what an item costs beside its bytes.
const itemOverhead = 112

// after returns the next events behind seq. With none, wake is closed when there
// may be some; gap says that the ring does not reach back so far; ended that the
// feed is gone and another must be opened.
func (f *feed) after(seq uint64) (items []item, wake <-chan struct{}, gap, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return nil, nil, false, true
	}
	if seq >= f.head {
		return nil, f.wake, false, false
	}
	if len(f.blocks) == 0 || f.blocks[0].items[0].seq > seq+1 {
		return nil, nil, true, false
	}
	// Readers are nearly always at the newest block.
	for i := len(f.blocks) - 1; i >= 0; i-- {
		its := f.blocks[i].items
		if first := its[0].seq; first <= seq+1 {
			return its[seq+1-first:], nil, false, false
		}
	}
	return nil, nil, true, false
}

// end tells the readers that the feed is gone.
func (f *feed) end() {
	f.mu.Lock()
	f.ended = true
	f.blocks = nil
	list := f.followers
	f.followers, f.left = nil, 0
	close(f.wake)
	f.wake = make(chan struct{})
	f.mu.Unlock()
	dismiss(list) // without the lock: a sweep takes it while it has a follower's
}

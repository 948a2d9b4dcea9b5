package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// readPage is how many events a [Reader] asks of the store at once.
const readPage = 2000

// nearEnd is how many frames a [Reader] walks back before it asks the store:
// each is a question to the bus, and the store has all but the newest.
const nearEnd = 4

// Reader reads a session's log as one: the store below, the bus above, forks
// through to what they were forked from. The zero value is not usable; both
// fields must be set.
type Reader struct {
	Bus   Bus
	Store Store
}

// Read calls fn for every event with Seq > after that is stored at the time of
// the call, in order, without a gap or a duplicate, and returns where it
// stopped. A session that does not exist is ErrNoSession. An error of fn ends
// the reading and is returned as it is.
func (r *Reader) Read(ctx context.Context, ref holdfast.SessionRef, after uint64, fn func(Envelope) error) (Head, error) {
	at := Head{Seq: after}
	// A purge of the bus can overtake a reader between its look at the store and
	// its look at the bus; then the store has more than before. It cannot for ever.
	for attempt := 0; ; attempt++ {
		done, err := r.read(ctx, ref, &at, fn)
		if g := (*gaveError)(nil); errors.As(err, &g) {
			return at, g.err
		}
		if done || err != nil {
			return at, err
		}
		if attempt == 10 {
			return at, fmt.Errorf("read %s after %d: %w", ref, at.Seq, ErrGap)
		}
		select {
		case <-ctx.Done():
			return at, context.Cause(ctx)
		case <-time.After(time.Duration(attempt) * 10 * time.Millisecond):
		}
	}
}

// read makes one pass; done says that it reached the end.
func (r *Reader) read(ctx context.Context, ref holdfast.SessionRef, at *Head, fn func(Envelope) error) (done bool, err error) {
	give := func(evs []Envelope) error {
		for _, e := range evs {
			if e.Seq <= at.Seq {
				continue
			}
			if e.Seq != at.Seq+1 {
				return fmt.Errorf("read %s: %w: seq %d after %d", ref, ErrGap, e.Seq, at.Seq)
			}
			if err := fn(e); err != nil {
				return &gaveError{err}
			}
			*at = Head{Seq: e.Seq, Epoch: e.Epoch}
		}
		return nil
	}

	last, err := r.Bus.Last(ctx, ref)
	if errors.Is(err, ErrNoFrame) {
		return r.archived(ctx, ref, at, give)
	}
	if err != nil {
		return false, fmt.Errorf("read the end of %s: %w", ref, err)
	}
	// A reader that is nearly at the end needs no store: walk back a little.
	frames, err := r.back(ctx, ref, last, at.Seq, nearEnd)
	if err != nil {
		return false, err
	}
	if frames[0].Prev == 0 {
		// Whether it is in the log at all is for the store to say. Of a root that
		// another frame follows, that one's writer has asked.
		end, err := endAt(ctx, r.Store, ref, last)
		if err != nil {
			return false, err
		}
		if end.Frame == nil {
			return r.archived(ctx, ref, at, give)
		}
	}
	if last := &frames[0]; last.Prev != 0 && (at.Seq > last.Last() || rests(last)) {
		// A bus that was rolled back ends before the store does.
		if info, ok := glance(ctx, r.Store, ref); ok && info.Head.Seq > last.Last() {
			return r.archived(ctx, ref, at, give)
		}
	}
	if oldest := &frames[len(frames)-1]; oldest.First() > at.Seq+1 {
		_, storeErr := r.fromStore(ctx, ref, at, give)
		if g := (*gaveError)(nil); errors.As(storeErr, &g) {
			return false, storeErr
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		// Walk on from where the first walk ended. Without the store this may still
		// reach what is wanted.
		if oldest.First() > at.Seq+1 && oldest.Prev != 0 {
			st, err := r.Bus.At(ctx, ref, oldest.Prev)
			if err == nil {
				var more []Frame
				if more, err = r.back(ctx, ref, st, at.Seq, 1<<30); err == nil {
					frames = append(frames, more...)
				}
			}
			if err != nil && !errors.Is(err, ErrNoFrame) {
				return false, fmt.Errorf("read %s: %w", ref, err)
			}
		}
		oldest = &frames[len(frames)-1]
		// A chain begins with the session, or where it was claimed after the bus had
		// forgotten all before; then the store has what is missing, if anybody.
		if oldest.First() > at.Seq+1 && oldest.Prev == 0 && oldest.Events[0].Type == holdfast.TypeSessionCreated {
			if _, err := r.inherited(ctx, ref, oldest.Events[0], at, give); err != nil {
				return false, err
			}
		}
		if oldest.First() > at.Seq+1 {
			return false, storeErr // nil: purged meanwhile, the store has it by now
		}
	}
	if last := &frames[0]; at.Seq == last.Last() {
		at.Epoch = last.Epoch()
	}
	for i := len(frames) - 1; i >= 0; i-- {
		if err := give(frames[i].Events); err != nil {
			return false, err
		}
	}
	return true, nil
}

// restsAfter is how old the last event of a session must be for a reader to ask
// the store whether there is more. A session at work is spared the question: if
// the bus went back, its owner has noticed.
const restsAfter = 10 * time.Second

func rests(last *Frame) bool {
	return time.Since(last.Events[len(last.Events)-1].Time).Abs() > restsAfter
}

// archived reads a session of whose log the bus has nothing: the store is the
// whole log.
func (r *Reader) archived(ctx context.Context, ref holdfast.SessionRef, at *Head, give func([]Envelope) error) (done bool, err error) {
	n, err := r.fromStore(ctx, ref, at, give)
	if err == nil && n == 0 && at.Seq == 0 {
		err = fmt.Errorf("read %s: %w", ref, ErrNoSession)
	}
	return err == nil, err
}

// back walks a session's chain of frames back from a stored one, newest first,
// until a frame begins at or before seq after+1, the chain or the bus ends, or
// limit frames are read.
func (r *Reader) back(ctx context.Context, ref holdfast.SessionRef, from Stored, after uint64, limit int) (frames []Frame, err error) {
	for {
		f, err := DecodeFrame(from.Data)
		if err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", ref, from.Pos, err)
		}
		if n := len(frames); n > 0 && f.Last()+1 != frames[n-1].First() {
			return frames, nil // the bus was made anew, and another frame is there now
		}
		frames = append(frames, f)
		if f.First() <= after+1 || f.Prev == 0 || len(frames) >= limit {
			return frames, nil
		}
		if f.Prev >= from.Pos {
			// The bus was made anew and counts from the beginning.
			return frames, nil
		}
		if from, err = r.Bus.At(ctx, ref, f.Prev); err != nil {
			if errors.Is(err, ErrNoFrame) {
				return frames, nil
			}
			return nil, fmt.Errorf("read %s: %w", ref, err)
		}
	}
}

// fromStore reads everything that the store has, first of what a fork inherits.
// It returns how many events it gave.
func (r *Reader) fromStore(ctx context.Context, ref holdfast.SessionRef, at *Head, give func([]Envelope) error) (int, error) {
	count := 0
	for {
		evs, err := r.Store.Read(ctx, ref, at.Seq, readPage)
		if err != nil {
			return count, fmt.Errorf("read %s from the store: %w", ref, err)
		}
		if len(evs) > 0 && evs[0].Seq > at.Seq+1 {
			n, err := r.inherited(ctx, ref, evs[0], at, give)
			if err != nil {
				return count, err
			}
			count += n
		}
		if err := give(evs); err != nil {
			return count, err
		}
		count += len(evs)
		if len(evs) < readPage {
			return count, nil
		}
	}
}

// inherited reads the events before first from the session that this one was
// forked from.
func (r *Reader) inherited(ctx context.Context, ref holdfast.SessionRef, first Envelope, at *Head, give func([]Envelope) error) (int, error) {
	ev, err := first.Event()
	if err != nil {
		return 0, err
	}
	created, ok := ev.(*holdfast.SessionCreatedEvent)
	if !ok || created.ForkSeq+1 != first.Seq {
		return 0, fmt.Errorf("read %s: %w: seq %d after %d", ref, ErrGap, first.Seq, at.Seq)
	}
	count := 0
	parent := holdfast.SessionRef{Tenant: ref.Tenant, Session: created.ForkOf}
	_, err = r.Read(ctx, parent, at.Seq, func(e Envelope) error {
		if e.Seq > created.ForkSeq {
			return errStop
		}
		count++
		return give([]Envelope{e})
	})
	if err != nil && !errors.Is(err, errStop) {
		return count, fmt.Errorf("read what %s was forked from: %w", ref, err)
	}
	return count, nil
}

var errStop = errors.New("stop")

// gaveError is an error of the caller's function on its way out.
type gaveError struct{ err error }

func (e *gaveError) Error() string { return e.err.Error() }
func (e *gaveError) Unwrap() error { return e.err }

package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// batch is what goes into one transaction.
type batch struct {
	name     string
	from, to uint64
	events   int
	order    []holdfast.SessionRef
	sessions map[holdfast.SessionRef]*part
}

// part is a batch's share of one session: entries that follow each other.
type part struct {
	found   []events.Frame // what the bus had before the first entry, oldest first
	entries []*entry
}

func (p *part) first() *events.Frame {
	if len(p.found) > 0 {
		return &p.found[0]
	}
	return &p.entries[0].frame
}

func newBatch(name string, from uint64) *batch {
	return &batch{name: name, from: from, to: from, sessions: map[holdfast.SessionRef]*part{}}
}

// add takes a frame, unless it does not follow its session's frame before.
func (b *batch) add(e *entry) error {
	p := b.sessions[e.Session]
	if p == nil {
		p = &part{}
		b.sessions[e.Session] = p
		b.order = append(b.order, e.Session)
	} else if before := p.entries[len(p.entries)-1].frame.Last(); e.frame.First() != before+1 {
		return fmt.Errorf("%w: seq %d after %d", events.ErrGap, e.frame.First(), before)
	}
	p.entries = append(p.entries, e)
	b.events += len(e.frame.Events)
	b.to = e.Pos
	return nil
}

func (b *batch) remove(ref holdfast.SessionRef) {
	delete(b.sessions, ref)
	b.order = slices.DeleteFunc(b.order, func(r holdfast.SessionRef) bool { return r == ref })
}

func (b *batch) build() events.Batch {
	out := events.Batch{Stream: b.name, From: b.from, To: b.to, Sessions: make([]events.SessionEvents, 0, len(b.order))}
	for _, ref := range b.order {
		out.Sessions = b.sessions[ref].appendTo(out.Sessions, ref)
	}
	return out
}

// appendTo appends the events of a session to what a batch stores: a root by
// itself, which is stored whole or not at all, and all others as one.
func (p *part) appendTo(dst []events.SessionEvents, ref holdfast.SessionRef) []events.SessionEvents {
	var all []events.Envelope
	flush := func(root bool) {
		if len(all) > 0 {
			dst = append(dst, events.SessionEvents{Session: ref, Events: all, Root: root})
		}
		all = nil
	}
	add := func(f *events.Frame) {
		if f.Prev == 0 {
			flush(false)
		}
		if all == nil {
			all = f.Events[:len(f.Events):len(f.Events)]
		} else {
			all = append(all, f.Events...)
		}
		if f.Prev == 0 {
			flush(true)
		}
	}
	for i := range p.found {
		add(&p.found[i])
	}
	for _, e := range p.entries {
		add(&e.frame)
	}
	flush(false)
	return dst
}

// mend repairs a batch that the store refuses with ErrGap. For each session
// that does not follow what the store has it looks on the bus for what is
// missing; if that is not there either, its frames are kept aside.
func (c *course) mend(ctx context.Context, b *batch) error {
	mended := false
	for _, ref := range slices.Clone(b.order) {
		p := b.sessions[ref]
		var head uint64
		err := c.retry(ctx, "read the head of a session", func(ctx context.Context) error {
			info, err := c.store.Session(ctx, ref)
			if errors.Is(err, events.ErrNoSession) {
				head = 0
				return nil
			}
			head = info.Head.Seq
			return err
		})
		if err != nil {
			return err
		}
		if follows(head, p.first()) {
			continue
		}
		mended = true
		c.log.Warn("frames do not follow what the store has, searching the bus", "session", ref, "store_ends", head, "frame_begins", p.first().First())
		found, err := c.search(ctx, ref, p.first(), head)
		if err != nil {
			return err
		}
		p.found = append(found, p.found...)
		if follows(head, p.first()) {
			continue
		}
		b.remove(ref)
		reason := fmt.Errorf("%w: seq %d after %d, and what is between is not on the bus", events.ErrGap, p.first().First(), head)
		for _, e := range p.entries {
			if err := c.bury(ctx, e, reason); err != nil {
				return err
			}
		}
	}
	if mended {
		return nil
	}
	// Every session seems to follow: the store saw something else a moment ago.
	// The next attempt tells.
	sleep(ctx, minBackoff)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// follows reports whether a frame can come next after the store's head.
func follows(head uint64, f *events.Frame) bool {
	if f.First() <= head+1 {
		return true
	}
	return head == 0 && f.Events[0].Type == holdfast.TypeSessionCreated
}

// search walks a session's chain back from a frame until the store's head.
func (c *course) search(ctx context.Context, ref holdfast.SessionRef, from *events.Frame, head uint64) (found []events.Frame, err error) {
	for f := from; !follows(head, f) && f.Prev != 0; {
		var st events.Stored
		gone := false
		err := c.retry(ctx, "read a frame from the bus", func(ctx context.Context) error {
			var err error
			st, err = c.source.At(ctx, ref, f.Prev)
			gone = errors.Is(err, events.ErrNoFrame)
			if gone {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if gone {
			break
		}
		before, err := events.DecodeFrame(st.Data)
		if err != nil || before.Last()+1 != f.First() {
			break // kept aside, or from another life of the stream
		}
		found = append(found, before)
		f = &before
	}
	slices.Reverse(found)
	return found, nil
}

// compare keeps a frame aside if the store has other events in its place,
// which happens when the bus lost frames and the session went on without them.
func (c *course) compare(ctx context.Context, e *entry) error {
	var have []events.Envelope
	err := c.retry(ctx, "compare a frame with the store", func(ctx context.Context) error {
		var err error
		have, err = c.store.Read(ctx, e.Session, e.frame.First()-1, len(e.frame.Events))
		return err
	})
	if err != nil {
		return err
	}
	for i := range have {
		if i >= len(e.frame.Events) || have[i].Seq != e.frame.Events[i].Seq {
			break
		}
		a, b := &have[i], &e.frame.Events[i]
		if a.Epoch != b.Epoch || a.Type != b.Type || !bytes.Equal(a.Payload, b.Payload) {
			return c.bury(ctx, e, fmt.Errorf("the store has another event at seq %d", a.Seq))
		}
	}
	return nil
}

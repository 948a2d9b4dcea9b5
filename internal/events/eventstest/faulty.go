package eventstest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// ErrFault is the failure that [FaultyBus] and [FaultyStore] report. It says
// nothing about what has happened, as a lost connection does not.
var ErrFault = errors.New("fault: the outcome is unknown")

// Faults say how often, per thousand calls, something goes wrong.
type Faults struct {
	// Lost calls do not happen and fail. Done calls happen and fail.
	Lost, Done int
	// Late calls fail at once and happen some time within MaxDelay, if they still
	// can: a publish that was on its way when its sender gave up.
	Late int
	// Twice calls happen, and happen again some time within MaxDelay.
	Twice int
	// Busy calls fail with events.ErrBusy and do not happen.
	Busy int
	// Slow calls take up to MaxDelay longer.
	Slow int
	// MaxDelay is the longest of these delays.
	MaxDelay time.Duration
}

// dice is a source of faults from a seed, for concurrent use.
type dice struct {
	mu     sync.Mutex
	rng    *rand.Rand
	faults Faults
}

func newDice(seed uint64, f Faults) *dice {
	return &dice{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), faults: f}
}

func (d *dice) set(f Faults) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
}

type fault int

const (
	none fault = iota
	lost
	done
	late
	twice
	busy
	slow
)

func (d *dice) throw() (fault, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.faults
	n := d.rng.IntN(1000)
	delay := time.Duration(0)
	if f.MaxDelay > 0 {
		delay = time.Duration(d.rng.Int64N(int64(f.MaxDelay)))
	}
	for kind, share := range []int{lost: f.Lost, done: f.Done, late: f.Late, twice: f.Twice, busy: f.Busy, slow: f.Slow} {
		if n < share {
			return fault(kind), delay
		}
		n -= share
	}
	return none, 0
}

// FaultyBus is a bus whose calls fail by a seed, each in one of the ways in
// which a real one can. Frames that it stores are stored in truth.
type FaultyBus struct {
	events.Bus
	dice *dice
	late sync.WaitGroup
}

// NewFaultyBus wraps a bus. Call Wait before the bus is closed.
func NewFaultyBus(b events.Bus, seed uint64, f Faults) *FaultyBus {
	return &FaultyBus{Bus: b, dice: newDice(seed, f)}
}

// SetFaults changes what goes wrong from now on.
func (b *FaultyBus) SetFaults(f Faults) { b.dice.set(f) }

// Wait waits for what happens late.
func (b *FaultyBus) Wait() { b.late.Wait() }

// Append stores a frame, or not, and tells, or not.
func (b *FaultyBus) Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error) {
	kind, delay := b.dice.throw()
	// Nobody hears what becomes of a call that happens late.
	later := func() {
		b.late.Go(func() {
			time.Sleep(delay)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			_, _ = b.Bus.Append(ctx, s, prev, frame)
		})
	}
	switch kind {
	case lost:
		return 0, ErrFault
	case late:
		later()
		return 0, ErrFault
	case busy:
		return 0, events.ErrBusy
	case slow:
		if err := pause(ctx, delay); err != nil {
			return 0, err
		}
	case twice:
		later()
	}
	pos, err := b.Bus.Append(ctx, s, prev, frame)
	if kind == done {
		return 0, ErrFault
	}
	return pos, err
}

// Last and At fail without an answer; there is nothing that they could do.
func (b *FaultyBus) Last(ctx context.Context, s holdfast.SessionRef) (events.Stored, error) {
	if err := b.read(ctx); err != nil {
		return events.Stored{}, err
	}
	return b.Bus.Last(ctx, s)
}

// At is like Last.
func (b *FaultyBus) At(ctx context.Context, s holdfast.SessionRef, pos uint64) (events.Stored, error) {
	if err := b.read(ctx); err != nil {
		return events.Stored{}, err
	}
	return b.Bus.At(ctx, s, pos)
}

func (b *FaultyBus) read(ctx context.Context) error {
	switch kind, delay := b.dice.throw(); kind {
	case lost, done, late, busy:
		return ErrFault
	case slow:
		return pause(ctx, delay)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// FaultyStore is a store whose calls fail by a seed. Late, Twice and Busy do
// not apply to it.
type FaultyStore struct {
	events.Store
	dice *dice
}

// NewFaultyStore wraps a store.
func NewFaultyStore(s events.Store, seed uint64, f Faults) *FaultyStore {
	return &FaultyStore{Store: s, dice: newDice(seed, f)}
}

// SetFaults changes what goes wrong from now on.
func (s *FaultyStore) SetFaults(f Faults) { s.dice.set(f) }

// Record stores a batch, or not, and tells, or not.
func (s *FaultyStore) Record(ctx context.Context, b events.Batch) error {
	kind, delay := s.dice.throw()
	switch kind {
	case lost:
		return ErrFault
	case slow:
		if err := pause(ctx, delay); err != nil {
			return err
		}
	}
	err := s.Store.Record(ctx, b)
	if kind == done {
		return ErrFault
	}
	return err
}

func (s *FaultyStore) read(ctx context.Context) error {
	switch kind, delay := s.dice.throw(); kind {
	case lost, done:
		return ErrFault
	case slow:
		return pause(ctx, delay)
	}
	return nil
}

// Cursor reads the cursor, or fails.
func (s *FaultyStore) Cursor(ctx context.Context, stream string) (uint64, error) {
	if err := s.read(ctx); err != nil {
		return 0, err
	}
	return s.Store.Cursor(ctx, stream)
}

// Read reads events, or fails.
func (s *FaultyStore) Read(ctx context.Context, ref holdfast.SessionRef, after uint64, limit int) ([]events.Envelope, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	return s.Store.Read(ctx, ref, after, limit)
}

// Session reads a row, or fails.
func (s *FaultyStore) Session(ctx context.Context, ref holdfast.SessionRef) (events.SessionInfo, error) {
	if err := s.read(ctx); err != nil {
		return events.SessionInfo{}, err
	}
	return s.Store.Session(ctx, ref)
}

package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// How a [Store] cuts the log. A chunk is what one batch brought of one session.
// None grows beyond MaxChunk bytes ([Chunk] Size; a single event may) or
// MaxChunkEvents: to read one event is to decode its chunk. Chunks of less than
// half of both are worth merging.
const (
	MaxChunk       = 256 << 10
	MaxChunkEvents = 1024
	// LooseChunks is how many chunks a session that nobody owns may have before
	// [Maintainer] CompactIdle merges them.
	LooseChunks = 16
)

// Maintainer is what housekeeping asks of a store. Nothing that it does changes
// what a [Store] answers.
type Maintainer interface {
	// Compact merges the session's small chunks. It may run beside Record and
	// readers; if it fails half way, what was merged so far stays merged.
	Compact(ctx context.Context, s holdfast.SessionRef) error
	// CompactIdle compacts at most limit sessions that nobody owns and that have
	// more than LooseChunks chunks to merge, and returns how many it did.
	CompactIdle(ctx context.Context, limit int) (int, error)
	// Orphans returns at most limit sessions of all tenants that are running or
	// queued and got no event for longer than olderThan, the oldest first.
	Orphans(ctx context.Context, olderThan time.Duration, limit int) ([]SessionInfo, error)
	// All returns at most limit rows of all tenants, deleted sessions too, in order
	// of tenant and id, beginning after the given one (zero: from the first).
	All(ctx context.Context, after holdfast.SessionRef, limit int) ([]SessionInfo, error)
	// Rowless returns at most limit sessions that have events and no row. There are
	// none but where the database was damaged.
	Rowless(ctx context.Context, limit int) ([]holdfast.SessionRef, error)
}

// Chunk is a run of consecutive events of one session as a store keeps it.
type Chunk struct {
	First, Last uint64
	// Size is about how many bytes the events take uncompressed.
	Size int
	// Data is a frame (see [AppendCompressed]).
	Data []byte
}

// events returns how many events the chunk has.
func (c *Chunk) events() int { return int(c.Last - c.First + 1) }

// small reports whether the chunk is worth merging.
func (c *Chunk) small() bool { return c.Size < MaxChunk/2 && c.events() < MaxChunkEvents/2 }

// EventSize is what one event counts in [Chunk] Size.
func EventSize(e *Envelope) int { return len(e.Payload) + 8 }

// AppendChunks cuts consecutive events into chunks and appends them to dst. An
// epoch that falls, which no writer writes, begins a new chunk, so that even
// then the events are kept as they are.
func AppendChunks(dst []Chunk, evs []Envelope) []Chunk {
	for start := 0; start < len(evs); {
		size, end := EventSize(&evs[start]), start+1
		for end < len(evs) && end-start < MaxChunkEvents && size+EventSize(&evs[end]) <= MaxChunk &&
			evs[end].Epoch >= evs[end-1].Epoch {
			size += EventSize(&evs[end])
			end++
		}
		run := evs[start:end]
		dst = append(dst, Chunk{First: run[0].Seq, Last: run[len(run)-1].Seq, Size: size, Data: AppendCompressed(nil, run)})
		start = end
	}
	return dst
}

// Events decodes the chunk of a session. An error names both and wraps
// [ErrCorrupt].
func (c *Chunk) Events(ref holdfast.SessionRef) ([]Envelope, error) {
	f, err := DecodeFrame(c.Data)
	if err != nil {
		return nil, fmt.Errorf("chunk of %s at seq %d: %w", ref, c.First, err)
	}
	if f.First() != c.First || f.Last() != c.Last {
		return nil, fmt.Errorf("chunk of %s at seq %d: %w: it holds %d to %d instead of %d to %d",
			ref, c.First, ErrCorrupt, f.First(), f.Last(), c.First, c.Last)
	}
	return f.Events, nil
}

// AppendRead decodes the next chunk of a session that is being read and appends
// its events with Seq > after to dst, until dst has limit of them. Chunks that do
// not join are an error that names the place and wraps [ErrCorrupt].
func AppendRead(dst []Envelope, ref holdfast.SessionRef, c Chunk, after uint64, limit int) ([]Envelope, error) {
	if n := len(dst); n > 0 && dst[n-1].Seq+1 != c.First {
		return nil, fmt.Errorf("chunk of %s at seq %d: %w: the one before ends at %d", ref, c.First, ErrCorrupt, dst[n-1].Seq)
	}
	evs, err := c.Events(ref)
	if err != nil {
		return nil, err
	}
	if after >= c.First {
		evs = evs[min(after-c.First+1, uint64(len(evs))):]
	}
	return append(dst, evs[:min(len(evs), limit-len(dst))]...), nil
}

// Row is what a store keeps of a session beside its events.
type Row struct {
	SessionInfo
	// Loose counts the chunks stored since the session was last compacted.
	Loose int
	// Purged says that the session was deleted and its events are gone.
	Purged bool
}

// Compactable reports whether [Maintainer] CompactIdle should see to the session.
func (r *Row) Compactable() bool {
	return r.Loose > LooseChunks && r.Worker == "" && !r.Purged
}

// Plan is what a batch comes to: the part of Record that is the same in every
// store.
type Plan struct {
	// Rows are the sessions that change, as they are afterwards.
	Rows []Row
	// New[i] says that the store had no row i before; HeadOnly[i] that it had one
	// of which only Head, UpdatedAt, Loose and Compactable change. Other members
	// of that row may not be set.
	New, HeadOnly []bool
	// Chunks[i] are the new chunks of Rows[i].
	Chunks [][]Chunk
	// Deleted are the sessions that the batch deletes.
	Deleted []holdfast.SessionRef
	// Timers are the timers that the batch sets and takes away, in order. Those of
	// sessions in Deleted are gone as well.
	Timers []TimerChange
	// Notices are what somebody outside may want to hear of.
	Notices []Notice
	// Usage is what the model calls of the batch took.
	Usage map[UsageKey]UsageSum
	// Odd describes what was stored although it could not be understood: payloads
	// that the projection cannot read, epochs that fall. To be logged.
	Odd []error
}

// Check reports a batch that no store can record, whatever it has.
func (b *Batch) Check() error {
	if b.Stream == "" {
		return errors.New("a batch without a stream")
	}
	if b.To <= b.From {
		return fmt.Errorf("a batch from %d to %d does not move the cursor", b.From, b.To)
	}
	for i := range b.Sessions {
		if err := b.Sessions[i].Session.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Refs returns the sessions of the batch, each once. Of those in headOnly the
// batch has nothing but parts of streams: of their rows, [NewPlan] needs no more
// than Head, Worker, Loose and Purged.
func (b *Batch) Refs() (whole, headOnly []holdfast.SessionRef) {
	projects := make(map[holdfast.SessionRef]bool, len(b.Sessions))
	for i := range b.Sessions {
		se := &b.Sessions[i]
		projects[se.Session] = projects[se.Session] ||
			slices.ContainsFunc(se.Events, func(e Envelope) bool { return !movesHeadOnly(e.Type) })
	}
	for i := range b.Sessions {
		ref := b.Sessions[i].Session
		p, ok := projects[ref]
		switch {
		case !ok: // it is in a list already
		case p:
			whole = append(whole, ref)
		default:
			headOnly = append(headOnly, ref)
		}
		delete(projects, ref)
	}
	return whole, headOnly
}

// NewPlan works out what the batch changes for a store that has the given rows.
// It returns ErrGap if the batch does not follow them.
//
// An event whose payload cannot be read is archived like any other and moves the
// row's head, so that one bad event never stops the archive; what it would have
// changed in the row is lost to the row, not to the log.
func NewPlan(b Batch, have map[holdfast.SessionRef]Row) (Plan, error) {
	n := len(b.Sessions)
	p := Plan{
		Rows: make([]Row, 0, n), New: make([]bool, 0, n), HeadOnly: make([]bool, 0, n), Chunks: make([][]Chunk, 0, n),
	}
	index := make(map[holdfast.SessionRef]int, n)
	added := make([][]Envelope, 0, n)
	for i := range b.Sessions {
		ref := b.Sessions[i].Session
		at, ok := index[ref]
		if !ok {
			row, exists := have[ref]
			row.Session = ref
			at = len(p.Rows)
			index[ref] = at
			p.Rows = append(p.Rows, row)
			p.New, p.HeadOnly = append(p.New, !exists), append(p.HeadOnly, exists)
			added = append(added, nil)
		}
		evs, headOnly, err := p.apply(&p.Rows[at], &b.Sessions[i])
		if err != nil {
			return Plan{}, err
		}
		p.HeadOnly[at] = p.HeadOnly[at] && headOnly
		if added[at] == nil {
			added[at] = evs
		} else {
			added[at] = append(added[at][:len(added[at]):len(added[at])], evs...)
		}
	}
	kept := 0
	for i := range p.Rows {
		if len(added[i]) == 0 {
			continue
		}
		row := p.Rows[i]
		var chunks []Chunk
		if !row.Purged {
			chunks = AppendChunks(make([]Chunk, 0, 1), added[i])
			row.Loose += len(chunks)
		}
		row.storable()
		p.Rows[kept], p.New[kept], p.HeadOnly[kept] = row, p.New[i], p.HeadOnly[i]
		p.Chunks = append(p.Chunks, chunks)
		kept++
	}
	p.Rows, p.New, p.HeadOnly = p.Rows[:kept], p.New[:kept], p.HeadOnly[:kept]
	return p, nil
}

// apply folds the events that the row does not have yet and returns them, and
// whether they change nothing but its head.
func (p *Plan) apply(row *Row, se *SessionEvents) (added []Envelope, headOnly bool, err error) {
	evs := se.Events
	if se.Root && len(evs) > 0 && evs[0].Seq <= row.Head.Seq {
		return nil, true, nil
	}
	headOnly = true
	for len(evs) > 0 && evs[0].Seq <= row.Head.Seq && evs[0].Seq != 0 {
		evs = evs[1:]
	}
	for i := range evs {
		e := &evs[i]
		switch {
		case row.Head.Seq == 0 && !startsSession(e), row.Head.Seq != 0 && e.Seq != row.Head.Seq+1:
			return nil, false, fmt.Errorf("record %s: %w: seq %d after %d", row.Session, ErrGap, e.Seq, row.Head.Seq)
		case e.Epoch < row.Head.Epoch:
			p.Odd = append(p.Odd, fmt.Errorf("record %s: epoch %d at seq %d after epoch %d", row.Session, e.Epoch, e.Seq, row.Head.Epoch))
		}
		headOnly = headOnly && movesHeadOnly(e.Type)
		wasDeleted, waiting := row.Deleted, row.Waiting
		if err := row.Apply(e); err != nil {
			p.Odd = append(p.Odd, fmt.Errorf("record %s: %w", row.Session, err))
			row.Head = Head{Seq: e.Seq, Epoch: e.Epoch}
			row.UpdatedAt = e.Time
		} else if err := p.project(row, waiting, e); err != nil {
			p.Odd = append(p.Odd, fmt.Errorf("record %s: %w", row.Session, err))
		}
		if row.Deleted && !wasDeleted {
			p.Deleted = append(p.Deleted, row.Session)
		}
	}
	return evs, headOnly, nil
}

// startsSession reports whether the event can be the first one of a session.
func startsSession(e *Envelope) bool {
	if e.Seq == 1 {
		return true
	}
	if e.Type != holdfast.TypeSessionCreated || e.Seq == 0 {
		return false
	}
	var p holdfast.SessionCreatedEvent
	if err := decode(e, &p); err != nil {
		// Nothing but the start of a fork has this type at this place.
		return true
	}
	return p.ForkOf != "" && p.ForkSeq+1 == e.Seq
}

// Times that every database can keep.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// storable changes what a database cannot keep, so that all stores have the
// same rows: times to whole microseconds within the years 1 to 9999, NUL
// characters to U+FFFD. The events themselves stay as they are.
func (r *Row) storable() {
	r.CreatedAt, r.UpdatedAt = storableTime(r.CreatedAt), storableTime(r.UpdatedAt)
	for _, s := range []*string{&r.Title, &r.Agent, &r.Status, &r.Waiting, &r.Worker, &r.Run, &r.ForkOf} {
		*s = withoutNUL(*s)
	}
	for k, v := range r.Metadata {
		if strings.IndexByte(k, 0) >= 0 || strings.IndexByte(v, 0) >= 0 {
			clean := make(map[string]string, len(r.Metadata))
			for k, v := range r.Metadata {
				clean[withoutNUL(k)] = withoutNUL(v)
			}
			r.Metadata = clean
			break
		}
	}
}

func withoutNUL(s string) string {
	if strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}

// EncodeMetadata is the stored form of a row's Metadata, "" for none.
func EncodeMetadata(m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("events: a map of strings cannot be encoded: %v", err))
	}
	return string(b)
}

// DecodeMetadata reads what [EncodeMetadata] wrote.
func DecodeMetadata(s string) (map[string]string, error) {
	if s == "" {
		return nil, nil
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		return nil, fmt.Errorf("decode metadata: %w", err)
	}
	return m, nil
}

// Merge groups adjacent chunks that are worth merging: each group becomes one
// run of events within the limits. The chunks are in order and need no Data;
// the groups are half-open ranges of indexes with at least two chunks each.
func Merge(chunks []Chunk) [][2]int {
	var groups [][2]int
	for i := 0; i < len(chunks); {
		if !chunks[i].small() {
			i++
			continue
		}
		size, count, end := chunks[i].Size, chunks[i].events(), i+1
		for end < len(chunks) && chunks[end].small() && size+chunks[end].Size <= MaxChunk &&
			count+chunks[end].events() <= MaxChunkEvents && chunks[end].First == chunks[end-1].Last+1 {
			size += chunks[end].Size
			count += chunks[end].events()
			end++
		}
		if end-i > 1 {
			groups = append(groups, [2]int{i, end})
		}
		i = end
	}
	return groups
}

// MergeChunks makes a group of adjacent chunks into one (more only if an epoch
// falls in it).
func MergeChunks(ref holdfast.SessionRef, group []Chunk) ([]Chunk, error) {
	var evs []Envelope
	for _, c := range group {
		var err error
		if evs, err = AppendRead(evs, ref, c, 0, math.MaxInt); err != nil {
			return nil, err
		}
	}
	return AppendChunks(nil, evs), nil
}

// Rows returns how many rows the page has at most.
func (p Page) Rows() int {
	if p.Limit <= 0 {
		return 100
	}
	return min(p.Limit, 1000)
}

package search

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

const (
	// lease is for how long a process has the index when it was last heard of;
	// standby how often the others look whether it has ended.
	lease   = 30 * time.Second
	standby = 5 * time.Second
	// look is the pause after which notes are looked for again: how late a message is
	// found. away is the pause after a failure.
	look = 250 * time.Millisecond
	away = 2 * time.Second
	// rest is how many times as long as a round took the pause behind it is at least:
	// the recorder needs the database and the processor more. Who has been behind for
	// late rests only as long as it took.
	rest = 9
	late = time.Minute
	// walkAgain is how long after the end of a walk the next one begins.
	walkAgain = 24 * time.Hour
	// marksAtOnce and walkAtOnce are how many notes and sessions are read at once.
	marksAtOnce = 500
	walkAtOnce  = 100
	// transactionSize is how many bytes of text one transaction takes in,
	// transactionSessions how many sessions: others who write wait for it.
	transactionSize     = 256 << 10
	transactionSessions = 100
	// eventsAtOnce is after how many events of one session its progress is stored.
	eventsAtOnce = 20_000
	// walkTexts is how many bytes of text, and walkEvents how many events, one round of
	// the walk reads, so that what is said now does not wait for what was said last year.
	walkTexts  = 1 << 20
	walkEvents = 200_000
)

// Config configures an [Indexer]. Index and Log must be set.
type Config struct {
	Index Store
	// Log is the archive that Index is in.
	Log events.Store
	// Name is unique among processes. Default: a new id.
	Name string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger is for operators; nil discards.
	Logger *slog.Logger
}

// Indexer brings the index up to the log, in one process of many.
type Indexer struct {
	cfg    Config
	log    *slog.Logger
	reader *events.Reader
	// until is when the lease ends that this process has; walk where its walk is. The
	// goroutine of Run, or of Round, owns them.
	until time.Time
	walk  Walk
}

// New returns an indexer. Nothing runs before Run.
func New(cfg Config) *Indexer {
	cfg.Name = cmp.Or(cfg.Name, holdfast.NewID())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Indexer{cfg: cfg, log: cfg.Logger, reader: &events.Reader{Bus: archived{}, Store: cfg.Log}}
}

// Run indexes until ctx ends, and then leaves the index to another process. A
// failure is followed by another attempt after a pause; the log says so once.
func (x *Indexer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	var behind time.Time // since when there is more than one round takes
	for {
		select {
		case <-ctx.Done():
			return x.leave(ctx)
		case <-timer.C:
		}
		began := time.Now()
		var r Round
		err := events.Guard(x.log, "index messages", func() (err error) { r, err = x.Round(ctx); return err })
		wait := look
		switch {
		case err != nil && ctx.Err() == nil:
			if !failing {
				x.log.Warn("messages cannot be indexed for the search, trying again", "error", err)
			}
			failing, wait = true, away
		case err == nil:
			failing = false
			wait, behind = pause(r, began, time.Now(), behind)
		}
		timer.Reset(wait)
	}
}

// pause is how long to rest behind a round, and since when the indexer is behind.
func pause(r Round, began, ended, behind time.Time) (time.Duration, time.Time) {
	took := ended.Sub(began)
	switch {
	case !r.Led:
		return standby, time.Time{}
	case !r.More:
		return max(look, rest*took), time.Time{}
	case !r.Noted: // the walk has time
		return rest * took, time.Time{}
	case behind.IsZero():
		return rest * took, began
	case ended.Sub(behind) < late:
		return rest * took, behind
	}
	return took, behind
}

// leave gives the lease up.
func (x *Indexer) leave(ctx context.Context) error {
	if x.until.IsZero() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	now := x.cfg.Now()
	if _, err := x.cfg.Index.LeadIndex(ctx, x.cfg.Name, now, now); err != nil {
		x.log.Warn("the index is left to another process only after a while", "error", err)
	}
	return nil
}

// Round is what one round of an [Indexer] did.
type Round struct {
	// Led says that this process is the one that indexes, More that there is more to
	// do at once.
	Led, More bool
	// Noted says that it was about notes, not the walk.
	Noted bool
}

// Round indexes what is noted; if nothing is, it goes a step of the walk, if one is
// due.
func (x *Indexer) Round(ctx context.Context) (Round, error) {
	now := x.cfg.Now()
	if !now.Before(x.until.Add(-lease / 2)) {
		lead, err := x.cfg.Index.LeadIndex(ctx, x.cfg.Name, now, now.Add(lease))
		if err != nil {
			return Round{}, err
		}
		if !lead.Held {
			x.until = time.Time{}
			return Round{}, nil
		}
		x.until, x.walk = now.Add(lease), lead.Walk
	}
	marks, err := x.cfg.Index.Marked(ctx, marksAtOnce)
	if err != nil {
		return Round{}, err
	}
	if len(marks) > 0 {
		return Round{Led: true, More: len(marks) == marksAtOnce, Noted: true}, x.marked(ctx, marks)
	}
	if now.Sub(x.walk.Ended) < walkAgain {
		return Round{Led: true}, nil
	}
	more, err := x.step(ctx, now)
	return Round{Led: true, More: more}, err
}

// marked indexes the sessions of notes and takes the notes away.
func (x *Indexer) marked(ctx context.Context, marks []Mark) error {
	w := x.newWork()
	seen := make(map[holdfast.SessionRef]bool, len(marks))
	for _, m := range marks {
		if ref := m.Session.Session; !seen[ref] {
			seen[ref] = true
			if err := w.session(ctx, m.Session); err != nil {
				return err
			}
		}
		// The note goes with the last of what was read of the session, or after it.
		w.done = append(w.done, m.ID)
	}
	return w.flush(ctx)
}

// step looks at some sessions behind those that the walk has seen.
func (x *Indexer) step(ctx context.Context, now time.Time) (more bool, err error) {
	list, err := x.cfg.Index.Indexed(ctx, x.walk.After, walkAtOnce)
	if err != nil {
		return false, err
	}
	w := x.newWork()
	next := x.walk
	complete := len(list) < walkAtOnce
	for i, p := range list {
		if p.Head > p.Through {
			if err := w.session(ctx, p); err != nil {
				return false, err
			}
		}
		next.After = p.Session
		if i+1 < len(list) && (w.texts >= walkTexts || w.events >= walkEvents) {
			complete = false
			break
		}
	}
	if err := w.flush(ctx); err != nil {
		return false, err
	}
	if complete {
		next = Walk{Ended: now}
	}
	if err := x.cfg.Index.PutWalk(ctx, next); err != nil {
		return false, err
	}
	x.walk = next
	return !complete, nil
}

// work is what one round has read and not stored yet.
type work struct {
	x       *Indexer
	updates []Update
	size    int
	done    []int64
	// texts and events are how much the round has read.
	texts, events int
}

func (x *Indexer) newWork() *work { return &work{x: x} }

// flush stores what was read.
func (w *work) flush(ctx context.Context) error {
	if len(w.updates) == 0 && len(w.done) == 0 {
		return nil
	}
	if err := w.x.cfg.Index.Index(ctx, w.updates, w.done); err != nil {
		if errors.Is(err, ErrMoved) {
			w.x.until = time.Time{} // another process has the index
		}
		return fmt.Errorf("index messages: %w", err)
	}
	w.updates, w.done, w.size = nil, nil, 0
	return nil
}

// errEnough ends the reading of a session.
var errEnough = errors.New("enough")

// session reads what is new in a session. A log that cannot be read is passed over
// with a line in the operator's log: the next walk tries it again.
func (w *work) session(ctx context.Context, p Progress) error {
	if p.Head == 0 || p.Head <= p.Through {
		return nil
	}
	r := newReading(p.Through)
	from, since := p.Through, 0
	// store keeps what the reading has found so far.
	store := func() error {
		to := r.settled()
		if to <= from && len(r.messages) == 0 && len(r.void) == 0 {
			return nil
		}
		size := r.size
		u := Update{Session: p.Session, From: from, To: max(to, from)}
		u.Messages, u.Void = r.take()
		w.updates, w.size, w.texts = append(w.updates, u), w.size+size, w.texts+size
		from, since = u.To, 0
		if w.size >= transactionSize || len(w.updates) >= transactionSessions {
			return w.flush(ctx)
		}
		return nil
	}
	var odd error
	_, err := w.x.reader.Read(ctx, p.Session, p.Through, func(e events.Envelope) error {
		if e.Seq > p.Head {
			return errEnough
		}
		w.events++
		since++
		if err := r.apply(&e); err != nil && odd == nil {
			odd = err
		}
		if r.size >= transactionSize || since >= eventsAtOnce {
			return store()
		}
		return nil
	})
	switch {
	case err == nil || errors.Is(err, errEnough):
		err = store()
	case errors.Is(err, events.ErrNoSession): // deleted meanwhile
		return nil
	case errors.Is(err, events.ErrGap), errors.Is(err, events.ErrCorrupt):
		odd, err = err, store()
	}
	if err != nil {
		return fmt.Errorf("index %s: %w", p.Session, err)
	}
	if odd != nil {
		w.x.log.Warn("what was said in a session cannot all be found by the search", "session", p.Session.String(), "error", odd)
	}
	return nil
}

// archived is a bus that has nothing: what the index knows is in the archive.
type archived struct{}

var errNoBus = errors.New("the index reads the archive alone")

func (archived) Append(context.Context, holdfast.SessionRef, uint64, []byte) (uint64, error) {
	return 0, errNoBus
}

func (archived) Last(context.Context, holdfast.SessionRef) (events.Stored, error) {
	return events.Stored{}, events.ErrNoFrame
}

func (archived) At(context.Context, holdfast.SessionRef, uint64) (events.Stored, error) {
	return events.Stored{}, events.ErrNoFrame
}

func (archived) Follow(context.Context, holdfast.SessionRef, func(events.Stored)) (func(), error) {
	return nil, errNoBus
}

func (archived) Send(context.Context, events.Command) error { return errNoBus }

package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/holdfast-run/holdfast/internal/events"
)

// Defaults of [Config].
const (
	DefaultMaxBatch  = 4000
	DefaultMaxWait   = 10 * time.Millisecond
	DefaultRetention = 10 * time.Minute
	DefaultStandby   = time.Second
)

const (
	queueBatches = 4       // batches that wait behind the one that is being recorded
	queueBytes   = 8 << 20 // of frames that wait
	restShare    = 3       // see Config.MaxWait
	maxRest      = 100 * time.Millisecond
	minBackoff   = 50 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// callTimeout bounds one question to the bus or the store; recordTimeout one
	// transaction, whose outcome is then unknown.
	callTimeout   = 10 * time.Second
	recordTimeout = 30 * time.Second
	// standStill is how many looks a standby must see the cursor unmoved while
	// frames wait before it takes over.
	standStill = 3
)

// Config says how a recorder works. The zero value works.
type Config struct {
	// MaxBatch is how many events go into one transaction. A single frame that has
	// more goes alone. Default: DefaultMaxBatch.
	MaxBatch int
	// MaxWait is how long an event may wait for others to share its transaction
	// while transactions are quick. Where they take longer, on a slow or a shared
	// disk, the recorder waits restShare times as long as the last one took, at most
	// maxRest more: many small transactions would slow the bus down that writes to
	// the same disk, and nobody waits for the store. Default: DefaultMaxWait.
	MaxWait time.Duration
	// Retention is how long recorded frames stay on the bus, where readers that are
	// nearly at the end and writers find them without the store. Nothing but cost
	// depends on it: see [events.ReadEnd].
	// When more than half of what the stream may hold is taken, frames go earlier.
	// Default: DefaultRetention.
	Retention time.Duration
	// Standby is how often a recorder that does not record looks whether it should,
	// and how often frames are removed from the bus. Default: DefaultStandby.
	Standby time.Duration
}

// Recorder records all streams of a source. Create it with [New].
type Recorder struct {
	source Source
	store  events.Store
	cfg    Config
	log    *slog.Logger

	instruments instruments

	streams map[string]*progress
}

// progress is what others may know of a stream's recording.
type progress struct {
	recorded atomic.Uint64 // position of the last recorded frame
	last     atomic.Uint64 // position of the last frame of the stream, when last looked at
	active   atomic.Bool   // this process records
	queue    atomic.Pointer[queue]
}

// New returns a recorder. A nil logger or meter is none.
func New(source Source, store events.Store, cfg Config, logger *slog.Logger, meter metric.Meter) (*Recorder, error) {
	if cfg.MaxBatch < 0 || cfg.MaxWait < 0 || cfg.Retention < 0 || cfg.Standby < 0 {
		return nil, errors.New("configure the recorder: a value is negative")
	}
	orDefault(&cfg.MaxBatch, DefaultMaxBatch)
	orDefault(&cfg.MaxWait, DefaultMaxWait)
	orDefault(&cfg.Retention, DefaultRetention)
	orDefault(&cfg.Standby, DefaultStandby)
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if meter == nil {
		meter = noop.NewMeterProvider().Meter("")
	}
	r := &Recorder{source: source, store: store, cfg: cfg, log: logger, streams: map[string]*progress{}}
	for _, name := range source.Streams() {
		r.streams[name] = &progress{}
	}
	if err := r.instrument(meter); err != nil {
		return nil, fmt.Errorf("make the recorder's instruments: %w", err)
	}
	return r, nil
}

func orDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Recorded returns the position of the stream's last frame that this recorder
// knows to be in the store.
func (r *Recorder) Recorded(stream string) uint64 {
	if p := r.streams[stream]; p != nil {
		return p.recorded.Load()
	}
	return 0
}

// Run records until ctx ends; then what is being recorded is finished or not,
// and the next recorder goes on from there. It returns the cause.
func (r *Recorder) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for name, p := range r.streams {
		wg.Go(func() { r.run(ctx, name, p) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// run is the loop of one stream: record, or stand by.
func (r *Recorder) run(ctx context.Context, stream string, p *progress) {
	log := r.log.With("stream", stream)
	backoff := minBackoff
	for ctx.Err() == nil {
		started := time.Now()
		c := &course{Recorder: r, stream: stream, progress: p, log: log}
		err := events.Guard(log, "record", func() error { return c.run(ctx) })
		p.active.Store(false)
		p.queue.Store(nil)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, events.ErrCursorMoved) {
			log.Info("another recorder records this stream, standing by")
			if err = events.Guard(log, "stand by", func() error { r.standBy(ctx, stream, p); return nil }); err == nil {
				backoff = minBackoff
				continue
			}
		}
		if time.Since(started) > maxBackoff {
			backoff = minBackoff
		}
		log.Warn("recording is interrupted, trying again", "error", err, "after", backoff)
		sleep(ctx, backoff)
		backoff = min(2*backoff, maxBackoff)
	}
}

// standBy returns when the cursor has stood still while frames wait.
func (r *Recorder) standBy(ctx context.Context, stream string, p *progress) {
	var cursor uint64
	for still := 0; still < standStill && ctx.Err() == nil; {
		sleep(ctx, r.cfg.Standby)
		pos, last, err := r.look(ctx, stream)
		if err != nil {
			still = 0 // who cannot see must not judge
			continue
		}
		p.recorded.Store(pos)
		p.last.Store(last)
		if pos != cursor || pos >= last {
			still = 0
		} else {
			still++
		}
		cursor = pos
	}
}

// look reads where the cursor is and where the stream ends.
func (r *Recorder) look(ctx context.Context, stream string) (cursor, last uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := r.source.Info(ctx, stream)
	if err != nil {
		return 0, 0, err
	}
	_, cursor, _, err = r.cursor(ctx, stream, &info)
	return cursor, info.Last, err
}

// cursor returns the name and the position of the cursor to go on from. A
// stream that ends before its cursor has lost frames which the store has (a
// power failure, a backup): from then on its positions mean other frames, and
// another cursor counts them, whose name says where the old one stood. Up to
// doubtful, positions may have meant something else.
//
// A cursor beyond the end that info has may also be one that another recorder
// has moved since: info is then read again, after the cursor.
func (r *Recorder) cursor(ctx context.Context, stream string, info *StreamInfo) (name string, pos, doubtful uint64, err error) {
	name = stream
	for {
		pos, err = r.store.Cursor(ctx, name)
		if err != nil {
			return "", 0, 0, fmt.Errorf("read the cursor: %w", err)
		}
		if pos > info.Last {
			if *info, err = r.source.Info(ctx, stream); err != nil {
				return "", 0, 0, err
			}
		}
		if pos <= info.Last {
			return name, pos, doubtful, nil
		}
		doubtful = max(doubtful, pos)
		name += "@" + strconv.FormatUint(pos, 10)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

package recorder

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// tend looks after the stream while it is recorded: how far behind the
// recording is, and what can be removed. It returns an error if recording has
// to begin anew.
func (c *course) tend(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Standby)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		look, cancel := context.WithTimeout(ctx, callTimeout)
		err := c.tendOnce(look)
		cancel()
		if err == errRolledBack {
			return err
		}
		if err != nil && ctx.Err() == nil {
			c.log.Warn("frames that are recorded could not be removed from the bus, trying again", "error", err)
		}
	}
}

func (c *course) tendOnce(ctx context.Context) error {
	recorded := c.recorded.Load()
	info, err := c.source.Info(ctx, c.stream)
	if err != nil {
		return err
	}
	c.last.Store(info.Last)
	if info.Last < recorded {
		return errRolledBack
	}
	if info.First > recorded {
		return nil // nothing is there that is recorded
	}
	upto := recorded
	if keep := retention(c.cfg.Retention, info); keep > 0 {
		old, err := c.source.PosBefore(ctx, c.stream, time.Now().Add(-keep))
		if err != nil {
			return err
		}
		upto = min(upto, old)
	}
	if upto < info.First {
		return nil
	}
	return c.source.Trim(ctx, c.stream, upto)
}

// retention shortens how long frames are kept while the stream is getting full:
// writers that have to wait are worse than readers that have to ask the store.
func retention(configured time.Duration, info StreamInfo) time.Duration {
	if info.MaxBytes == 0 {
		return configured
	}
	switch eighths := 8 * info.Bytes / info.MaxBytes; {
	case eighths < 4:
		return configured
	case eighths == 4:
		return configured / 4
	case eighths == 5:
		return configured / 16
	}
	return 0
}

type instruments struct {
	batches  metric.Int64Counter
	events   metric.Int64Counter
	buried   metric.Int64Counter
	duration metric.Float64Histogram
}

// instrument makes the instruments that operators watch.
func (r *Recorder) instrument(meter metric.Meter) (err error) {
	in := &r.instruments
	if in.batches, err = meter.Int64Counter("holdfast.recorder.batches", metric.WithDescription("Transactions of the recorder.")); err != nil {
		return err
	}
	if in.events, err = meter.Int64Counter("holdfast.recorder.events", metric.WithDescription("Events that the recorder has stored.")); err != nil {
		return err
	}
	if in.buried, err = meter.Int64Counter("holdfast.recorder.buried", metric.WithDescription("Frames that could not be recorded and are kept aside: anything but 0 needs somebody to look.")); err != nil {
		return err
	}
	if in.duration, err = meter.Float64Histogram("holdfast.recorder.duration", metric.WithUnit("s"), metric.WithDescription("Time to store a batch, with all attempts.")); err != nil {
		return err
	}
	lag, err := meter.Int64ObservableGauge("holdfast.recorder.lag", metric.WithDescription("Frames of the stream that are not recorded."))
	if err != nil {
		return err
	}
	age, err := meter.Float64ObservableGauge("holdfast.recorder.lag.duration", metric.WithUnit("s"), metric.WithDescription("Age of the oldest frame that this recorder has read and not recorded."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for name, p := range r.streams {
			if !p.active.Load() {
				continue // who records reports
			}
			stream := metric.WithAttributes(attribute.String("stream", name))
			o.ObserveInt64(lag, behind(p.last.Load(), p.recorded.Load()), stream)
			var seconds float64
			if q := p.queue.Load(); q != nil {
				if t, ok := q.oldest(); ok {
					seconds = max(0, time.Since(t).Seconds())
				}
			}
			o.ObserveFloat64(age, seconds, stream)
		}
		return nil
	}, lag, age)
	return err
}

func behind(last, recorded uint64) int64 {
	if recorded >= last {
		return 0
	}
	return int64(last - recorded)
}

func (r *Recorder) countBatch(ctx context.Context, stream string, events int, took time.Duration) {
	attrs := metric.WithAttributes(attribute.String("stream", stream))
	r.instruments.batches.Add(ctx, 1, attrs)
	r.instruments.events.Add(ctx, int64(events), attrs)
	r.instruments.duration.Record(ctx, took.Seconds(), attrs)
}

func (r *Recorder) countBuried(ctx context.Context, stream string) {
	r.instruments.buried.Add(ctx, 1, metric.WithAttributes(attribute.String("stream", stream)))
}

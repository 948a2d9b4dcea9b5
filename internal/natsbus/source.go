package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/recorder"
)

var _ recorder.Source = (*Bus)(nil)

const (
	// readAhead bounds the bytes of frames that a recorder has asked for and not
	// yet taken.
	readAhead = 8 << 20
	// consumerIdle is after how long a server forgets the consumer of a recorder
	// that is gone.
	consumerIdle = 30 * time.Second
)

// Headers of what is put aside.
const (
	headerSubject  = "Holdfast-Subject"
	headerPosition = "Holdfast-Position"
	headerReason   = "Holdfast-Reason"
)

// Streams returns the names of the event streams.
func (b *Bus) Streams() []string {
	all := make([]string, b.names.shards)
	for i := range all {
		all[i] = b.names.eventStream(i)
	}
	return all
}

// Frames calls fn for every frame of the stream after a position, in order and
// without a gap, and goes on with new ones until ctx ends or fn fails. When it
// returns, fn does not run any more.
func (b *Bus) Frames(ctx context.Context, stream string, after uint64, fn func(recorder.Frame) error) error {
	consumer, err := b.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		InactiveThreshold: consumerIdle,
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	course := frameCourse{at: after, fn: fn, failed: make(chan error, 1), turn: make(chan struct{}, 1)}
	consuming, err := consumer.Consume(course.take, jetstream.PullMaxBytes(readAhead), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		b.log.Debug("reading the stream is interrupted", "stream", stream, "error", err)
	}))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-course.failed:
	case <-consuming.Closed():
		err = errors.New("the consumer was closed")
	}
	course.end()
	// While the consumer is being made anew this takes as long as that request.
	b.wg.Go(consuming.Stop)
	return fmt.Errorf("read stream %s: %w", stream, err)
}

// frameCourse is what the callbacks of one reading share. An ordered consumer
// that makes itself anew calls from another goroutine while the callback before
// may still run, and nothing that it offers says when the last one is over: who
// has the turn does. (It is no mutex since fn may wait for long, which the
// simulation's clock must see.)
type frameCourse struct {
	fn     func(recorder.Frame) error
	failed chan error // capacity 1: why it ended by itself

	turn  chan struct{} // capacity 1, taken while fn runs; guards what follows
	at    uint64        // position of the last frame that fn got
	ended bool
}

func (c *frameCourse) take(msg jetstream.Msg) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.ended {
		return
	}
	f, err := sourceFrame(msg)
	switch {
	case err == nil && f.Pos <= c.at:
		err = fmt.Errorf("position %d comes after %d", f.Pos, c.at)
	case err == nil:
		c.at = f.Pos
		err = c.fn(f)
	}
	if err != nil {
		c.ended = true
		c.failed <- err
	}
}

// end waits until fn has returned and lets it not be called again.
func (c *frameCourse) end() {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.ended = true
}

func sourceFrame(msg jetstream.Msg) (recorder.Frame, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return recorder.Frame{}, err
	}
	// A subject that names no session gives the zero reference, which is as
	// unreadable as a frame that cannot be decoded.
	ref, _ := lastTwo(msg.Subject())
	return recorder.Frame{Pos: meta.Sequence.Stream, Session: ref, Time: meta.Timestamp, Data: msg.Data()}, nil
}

// Info returns what a stream holds.
func (b *Bus) Info(ctx context.Context, stream string) (recorder.StreamInfo, error) {
	var info struct{ jetstream.StreamInfo }
	if err := b.api(ctx, "STREAM.INFO."+stream, nil, &info); err != nil {
		return recorder.StreamInfo{}, fmt.Errorf("look at stream %s: %w", stream, err)
	}
	st := info.State
	return recorder.StreamInfo{
		First: st.FirstSeq, Last: st.LastSeq, LastTime: st.LastTime,
		Bytes: st.Bytes, MaxBytes: uint64(max(info.Config.MaxBytes, 0)),
	}, nil
}

// PosBefore returns the position of the last frame that was stored before t, 0
// if there is none in the stream.
func (b *Bus) PosBefore(ctx context.Context, stream string, t time.Time) (uint64, error) {
	filter := b.names.prefix + ".e." + strconv.Itoa(b.shardOf(stream)) + ".*.*"
	m, err := b.getMessage(ctx, stream, msgGet{NextBySubject: filter, StartTime: t.UTC().Format(time.RFC3339Nano)})
	if err == nil {
		return m.Seq - 1, nil
	}
	if !errors.Is(err, events.ErrNoFrame) {
		return 0, fmt.Errorf("look into stream %s: %w", stream, err)
	}
	info, err := b.Info(ctx, stream)
	if err != nil {
		return 0, err
	}
	if info.LastTime.Before(t) {
		return info.Last, nil
	}
	return 0, nil // one was stored between the two questions
}

// Trim removes the frames up to a position, that one included. If the stream
// ends before it, its next frame comes after it all the same.
func (b *Bus) Trim(ctx context.Context, stream string, upto uint64) error {
	if err := b.purge(ctx, stream, purgeRequest{Sequence: upto + 1}); err != nil {
		return fmt.Errorf("trim stream %s to %d: %w", stream, upto, err)
	}
	return nil
}

// Bury keeps a frame that cannot be recorded aside, for somebody to look at.
func (b *Bus) Bury(ctx context.Context, stream string, f recorder.Frame, reason error) error {
	return b.bury(ctx, b.shardOf(stream), b.names.frame(f.Session), f.Pos, f.Data, reason)
}

func (b *Bus) bury(ctx context.Context, shard int, subject string, pos uint64, data []byte, reason error) error {
	_, err := b.store(ctx, &nats.Msg{
		Subject: b.names.dead(shard),
		Header: nats.Header{
			headerSubject:  []string{subject},
			headerPosition: []string{strconv.FormatUint(pos, 10)},
			headerReason:   []string{strings.ReplaceAll(reason.Error(), "\n", " ")},
		},
		Data: data,
	})
	if err != nil {
		return fmt.Errorf("put what is at %d of %s aside: %w", pos, subject, err)
	}
	return nil
}

// shardOf is the number in a stream's name.
func (b *Bus) shardOf(stream string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(stream, b.names.prefix+"-events-"))
	if err != nil {
		return 0
	}
	return n
}

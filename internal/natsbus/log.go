package natsbus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

var _ events.Bus = (*Bus)(nil)

// Error codes of JetStream (errors.json of nats-server) that mean something to
// the log.
const (
	codeNotAvailable      = 10008
	codeNotLeader         = 10009
	codeResources         = 10023
	codeAccountResources  = 10002
	codeNoMessage         = 10037
	codeStorageResources  = 10047
	codeMemoryResources   = 10028
	codeWrongLastSequence = 10071
	codeStoreFailed       = 10077
	codeInProcess         = 10164
	codeTooManyRequests   = 10167
)

const headerExpect = "Nats-Expected-Last-Subject-Sequence"

// Append stores a frame if the session's last one is at prev.
func (b *Bus) Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error) {
	msg := &nats.Msg{
		Subject: b.names.frame(s),
		Header:  nats.Header{headerExpect: []string{strconv.FormatUint(prev, 10)}},
		Data:    frame,
	}
	pos, err := b.store(ctx, msg)
	if err != nil {
		if b.nc.IsClosed() {
			err = errors.Join(events.ErrBusClosed, err)
		}
		return 0, fmt.Errorf("append a frame to %s: %w", s, err)
	}
	return pos, nil
}

// store publishes to a stream and reads its acknowledgement.
func (b *Bus) store(ctx context.Context, msg *nats.Msg) (pos uint64, err error) {
	resp, err := b.mux.do(ctx, msg)
	if err != nil {
		if notSent(err) {
			return 0, unavailable("the event stream cannot be reached", err)
		}
		return 0, err
	}
	if s := status(resp); s != "" {
		if s == statusNoResponders {
			// Nobody listens on the subject: the stream has no leader at the moment.
			return 0, unavailable("the event stream has no leader at the moment", nats.ErrNoResponders)
		}
		return 0, fmt.Errorf("unexpected status %s", s)
	}
	if pos, ok := ackedPos(resp.Data); ok {
		return pos, nil
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	if err := json.Unmarshal(resp.Data, &ack); err != nil {
		return 0, fmt.Errorf("read the acknowledgement: %w", err)
	}
	if ack.Error == nil {
		if ack.Seq == 0 {
			return 0, fmt.Errorf("the acknowledgement has no position")
		}
		return ack.Seq, nil
	}
	switch ack.Error.ErrorCode {
	case codeWrongLastSequence:
		return 0, fmt.Errorf("%w: %s", events.ErrConflict, ack.Error.Description)
	case codeInProcess, codeTooManyRequests:
		return 0, fmt.Errorf("%w: %s", events.ErrBusy, ack.Error.Description)
	case codeStoreFailed:
		return 0, unavailable("the stream is full", ack.Error)
	case codeResources, codeAccountResources, codeStorageResources, codeMemoryResources:
		return 0, unavailable("the NATS server has no room left", ack.Error)
	case codeNotAvailable, codeNotLeader:
		return 0, unavailable("JetStream is not available at the moment", ack.Error)
	}
	return 0, ack.Error
}

// ackedPos reads the usual acknowledgement, {"stream":"hf-events-0","seq":12},
// without a JSON decoder.
func ackedPos(data []byte) (uint64, bool) {
	const begin, mark = `{"stream":"`, `,"seq":`
	rest, ok := bytes.CutPrefix(data, []byte(begin))
	if !ok {
		return 0, false
	}
	i := bytes.Index(rest, []byte(mark))
	if i < 0 || bytes.IndexByte(rest[:i], '{') >= 0 {
		return 0, false
	}
	var n uint64
	digits := rest[i+len(mark):]
	for j, c := range digits {
		switch {
		case c >= '0' && c <= '9' && j < 19:
			n = n*10 + uint64(c-'0')
		case (c == '}' && j == len(digits)-1 || c == ',') && n > 0 && bytes.IndexByte(digits, '{') < 0:
			return n, true
		default:
			return 0, false
		}
	}
	return 0, false
}

// msgGet is the request of $JS.API.STREAM.MSG.GET, which only the stream's
// leader answers.
type msgGet struct {
	Seq           uint64 `json:"seq,omitempty"`
	LastBySubject string `json:"last_by_subj,omitempty"`
	NextBySubject string `json:"next_by_subj,omitempty"`
	StartTime     string `json:"start_time,omitempty"`
	NoHeaders     bool   `json:"no_hdr,omitempty"`
}

type message struct {
	Subject string `json:"subject"`
	Seq     uint64 `json:"seq"`
	Data    []byte `json:"data"`
	Time    string `json:"time"`
}

// getMessage reads one message from a stream's leader, ErrNoFrame if there is none.
func (b *Bus) getMessage(ctx context.Context, stream string, get msgGet) (message, error) {
	get.NoHeaders = true
	var got struct {
		Message *message `json:"message"`
	}
	err := b.api(ctx, "STREAM.MSG.GET."+stream, get, &got)
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == codeNoMessage:
		return message{}, events.ErrNoFrame
	case err != nil:
		return message{}, err
	case got.Message == nil:
		return message{}, fmt.Errorf("stream %s answers without a message", stream)
	}
	return *got.Message, nil
}

// Last returns the session's newest frame.
func (b *Bus) Last(ctx context.Context, s holdfast.SessionRef) (events.Stored, error) {
	m, err := b.getMessage(ctx, b.names.eventStream(b.names.shard(s)), msgGet{LastBySubject: b.names.frame(s)})
	if errors.Is(err, events.ErrNoFrame) {
		return events.Stored{}, err
	}
	if err != nil {
		return events.Stored{}, fmt.Errorf("read the last frame of %s: %w", s, err)
	}
	return events.Stored{Pos: m.Seq, Data: m.Data}, nil
}

// At returns the session's frame at a position.
func (b *Bus) At(ctx context.Context, s holdfast.SessionRef, pos uint64) (events.Stored, error) {
	if pos == 0 {
		return events.Stored{}, events.ErrNoFrame
	}
	m, err := b.getMessage(ctx, b.names.eventStream(b.names.shard(s)), msgGet{Seq: pos})
	if errors.Is(err, events.ErrNoFrame) {
		return events.Stored{}, err
	}
	if err != nil {
		return events.Stored{}, fmt.Errorf("read the frame of %s at %d: %w", s, pos, err)
	}
	if m.Subject != b.names.frame(s) {
		// A stream that was made anew counts from the beginning.
		return events.Stored{}, events.ErrNoFrame
	}
	return events.Stored{Pos: m.Seq, Data: m.Data}, nil
}

// What a follower may have waiting before frames are dropped; it notices the
// gap and reads what is missing.
const (
	followMessages = 4096
	followBytes    = 8 << 20
)

// Follow calls fn for every frame that is stored from now on.
func (b *Bus) Follow(ctx context.Context, s holdfast.SessionRef, fn func(events.Stored)) (func(), error) {
	sub, err := b.nc.Subscribe(b.names.live(s), func(msg *nats.Msg) {
		pos, err := strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return // not republished by the stream
		}
		fn(events.Stored{Pos: pos, Data: msg.Data})
	})
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", s, err)
	}
	stop := func() {
		// The only failure is a connection or subscription that is closed already.
		_ = sub.Unsubscribe()
	}
	if err := sub.SetPendingLimits(followMessages, followBytes); err != nil {
		stop()
		return nil, fmt.Errorf("follow %s: %w", s, err)
	}
	// A question to the stream's leader travels behind the subscription: when it is
	// answered, the leader's server knows of the interest, in a cluster too.
	_, err = b.getMessage(ctx, b.names.eventStream(b.names.shard(s)), msgGet{Seq: ^uint64(0), NextBySubject: b.names.frame(s)})
	if err != nil && !errors.Is(err, events.ErrNoFrame) {
		stop()
		return nil, fmt.Errorf("follow %s: %w", s, err)
	}
	return stop, nil
}

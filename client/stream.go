package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Entry is one event of a session's log.
type Entry struct {
	// Seq numbers the events of a session from 1 without gaps.
	Seq uint64
	// Run is the run that the event belongs to, "" if none.
	Run   string
	Time  time.Time
	Event holdfast.Event
}

// Events gives out all events of a session behind seq after, in order, and then
// those to come, until ctx ends. It reconnects by itself; an error is final and
// the last thing that it gives out.
func (c *Client) Events(ctx context.Context, session string, after uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := c.follow(ctx, session, after, func(e Entry) bool { return yield(e, nil) })
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// follow calls fn for every event until it returns false (then follow returns
// nil) or something final happens.
func (c *Client) follow(ctx context.Context, session string, after uint64, fn func(Entry) bool) error {
	at := after
	for attempt := 1; ; attempt++ {
		before := at
		stop, err := c.connection(ctx, session, &at, fn)
		if stop {
			return nil
		}
		if at > before {
			attempt = 1
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !temporary(err) {
			return fmt.Errorf("events of session %s: %w", session, err)
		}
		if !wait(ctx, attempt, err) {
			return context.Cause(ctx)
		}
	}
}

var errSilent = errors.New("the server has been silent for too long")

// connection reads one connection's worth of events. nil means that the server
// ended the stream.
func (c *Client) connection(ctx context.Context, session string, at *uint64, fn func(Entry) bool) (stop bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(c.idle, func() { cancel(errSilent) })
	defer idle.Stop()

	query := url.Values{"after": {strconv.FormatUint(*at, 10)}}
	req, err := c.request(ctx, http.MethodGet, path("v1", "sessions", session, "events"), query, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", strconv.FormatUint(*at, 10))
	resp, err := c.http.Do(req)
	if err != nil {
		return false, c.lost(ctx, err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	if resp.StatusCode != http.StatusOK {
		return false, readError(resp)
	}
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		return false, fmt.Errorf("the server answers %q and not an event stream", ct)
	}
	r := newSSEReader(resp.Body)
	for {
		_, data, err := r.next(func() { idle.Reset(c.idle) })
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if errors.Is(err, errFormat) {
			return false, err
		}
		if err != nil {
			return false, c.lost(ctx, err)
		}
		e, err := decodeEntry(data)
		if err != nil {
			return false, err
		}
		switch {
		case e.Seq <= *at:
			continue
		case e.Seq != *at+1:
			return false, fmt.Errorf("the server left out events: %d comes after %d", e.Seq, *at)
		}
		*at = e.Seq
		if !fn(e) {
			return true, nil
		}
		if e.Event.EventType() == holdfast.TypeSessionDeleted {
			return true, nil // nothing comes any more
		}
		idle.Reset(c.idle) // what the caller did took its time
	}
}

// lost makes an error of a broken connection.
func (c *Client) lost(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return &lostError{errSilent}
	}
	return &lostError{err}
}

// decodeEntry reads one event as the server sends it.
func decodeEntry(data []byte) (Entry, error) {
	var head struct {
		Seq  uint64    `json:"seq"`
		Run  string    `json:"run"`
		Time time.Time `json:"time"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Entry{}, fmt.Errorf("an event cannot be read: %w", err)
	}
	if head.Seq == 0 {
		return Entry{}, errors.New("an event cannot be read: it has no seq")
	}
	ev, err := holdfast.UnmarshalEvent(data)
	if err != nil {
		return Entry{}, fmt.Errorf("event %d cannot be read: %w", head.Seq, err)
	}
	return Entry{Seq: head.Seq, Run: head.Run, Time: head.Time, Event: ev}, nil
}

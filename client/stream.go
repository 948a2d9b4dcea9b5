package client

import (
	"bytes"
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
	// Raw is the event as the server sent it, with the three above.
	Raw json.RawMessage
}

// Events gives out all events of a session behind seq after, in order, and then
// those to come, until ctx ends. It reconnects by itself; an error is final and
// the last thing that it gives out.
func (c *Client) Events(ctx context.Context, session string, after uint64) iter.Seq2[Entry, error] {
	return c.entries(ctx, session, after, true)
}

// Log gives out the events of a session behind seq after that there are now, and
// ends. It is [Client.Events] otherwise.
func (c *Client) Log(ctx context.Context, session string, after uint64) iter.Seq2[Entry, error] {
	return c.entries(ctx, session, after, false)
}

func (c *Client) entries(ctx context.Context, session string, after uint64, live bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := c.follow(ctx, session, after, live, func(e Entry) bool { return yield(e, nil) })
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// Replay is [Client.Log] at the pace at which the session was: 1 as it was, 2
// twice as fast, 0 without a pause. No pause is longer than most, if that is not
// 0: a session may have waited for days.
func (c *Client) Replay(ctx context.Context, session string, after uint64, pace float64, most time.Duration) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var last time.Time
		for e, err := range c.Log(ctx, session, after) {
			if err == nil && pace > 0 && !last.IsZero() && e.Time.After(last) {
				gap := time.Duration(float64(e.Time.Sub(last)) / pace)
				if most > 0 {
					gap = min(gap, most)
				}
				err = pause(ctx, gap)
			}
			last = e.Time
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// pause waits; the error is why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// GetEvent returns one event, whole.
func (c *Client) GetEvent(ctx context.Context, session string, seq uint64) (Entry, error) {
	var raw json.RawMessage
	p := path("v1", "sessions", session, "events", strconv.FormatUint(seq, 10))
	if err := c.do(ctx, http.MethodGet, p, nil, nil, &raw); err != nil {
		return Entry{}, err
	}
	e, err := decodeEntry(raw)
	if err == nil && e.Seq != seq {
		err = fmt.Errorf("the server answers event %d", e.Seq)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("GET %s: %w", p, err)
	}
	return e, nil
}

// GetToolOutput returns the output of a tool call, whole, also where the event
// has only its beginning.
func (c *Client) GetToolOutput(ctx context.Context, session, call string) (string, error) {
	var text string
	err := c.do(ctx, http.MethodGet, path("v1", "sessions", session, "tool-calls", call, "output"), nil, nil, (*plainText)(&text))
	return text, err
}

// follow calls fn for every event until it returns false (then follow returns
// nil) or something final happens. If live is false it ends with the event that
// is the newest one.
func (c *Client) follow(ctx context.Context, session string, after uint64, live bool, fn func(Entry) bool) error {
	at, lost, been := after, false, false
	up := func() {
		been = true
		if lost {
			lost = false
			c.notice(Connection{Session: session, Up: true})
		}
	}
	for attempt := 1; ; attempt++ {
		before := at
		head, stop, err := c.connection(ctx, session, live, &at, up, fn)
		if stop {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// A proxy whose server is being replaced may answer with a page of its own.
		if err != nil && !temporary(err) && (!been || !errors.Is(err, errNoStream)) {
			return fmt.Errorf("events of session %s: %w", session, err)
		}
		if !live && err == nil && at >= head {
			if head > 0 || at == before {
				return nil
			}
			// A server that does not say where the session stands: whether this was the
			// end, or a connection that something between us closed, is not known before
			// there is nothing more.
			attempt = 0
			continue
		}
		if at > before {
			attempt = 1
		}
		if c.notice != nil {
			c.notice(Connection{Session: session, Err: err})
			lost = true
		}
		if !wait(ctx, attempt, err) {
			return context.Cause(ctx)
		}
	}
}

var (
	errSilent   = errors.New("the server has been silent for too long")
	errNoStream = errors.New("not an event stream")
)

// connection reads one connection's worth of events. err nil means that the
// server ended the stream. head is the newest event of the session when the
// connection was made, 0 if the server does not say.
func (c *Client) connection(ctx context.Context, session string, live bool, at *uint64, up func(), fn func(Entry) bool) (head uint64, stop bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(c.idle, func() { cancel(errSilent) })
	defer idle.Stop()

	query := url.Values{"after": {strconv.FormatUint(*at, 10)}}
	if !live {
		query.Set("wait", "false")
	}
	req, err := c.request(ctx, http.MethodGet, path("v1", "sessions", session, "events"), query, nil)
	if err != nil {
		return head, false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", strconv.FormatUint(*at, 10))
	resp, err := c.http.Do(req)
	if err != nil {
		return head, false, c.lost(ctx, err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	if resp.StatusCode != http.StatusOK {
		return head, false, readError(resp)
	}
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		return head, false, fmt.Errorf("the server answers %q: %w", ct, errNoStream)
	}
	if v := resp.Header.Get("Holdfast-Seq"); v != "" {
		if head, err = strconv.ParseUint(v, 10, 64); err != nil {
			return 0, false, fmt.Errorf("the server says that the session is at %q: %w", v, err)
		}
	}
	up()
	r := newSSEReader(resp.Body)
	for {
		_, data, err := r.next(func() { idle.Reset(c.idle) })
		if errors.Is(err, io.EOF) {
			return head, false, nil
		}
		if errors.Is(err, errFormat) {
			return head, false, err
		}
		if err != nil {
			return head, false, c.lost(ctx, err)
		}
		if r.name != "" && r.name != "message" {
			continue // no event of the log: the server says something about the stream
		}
		e, err := decodeEntry(data)
		if err != nil {
			return head, false, err
		}
		switch {
		case e.Seq <= *at:
			continue
		case e.Seq != *at+1:
			return head, false, fmt.Errorf("the server left out events: %d comes after %d", e.Seq, *at)
		}
		*at = e.Seq
		if !fn(e) {
			return head, true, nil
		}
		if e.Event.EventType() == holdfast.TypeSessionDeleted {
			return head, true, nil // nothing comes any more
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
	return Entry{Seq: head.Seq, Run: head.Run, Time: head.Time, Event: ev, Raw: bytes.Clone(data)}, nil
}

package httpapi

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
)

// headerSeq says on every stream where the session stands: the sequence number
// of its newest event when the stream began.
const headerSeq = "Holdfast-Seq"

// replay is how a request wants the events to come.
type replay struct {
	// factor is how many times faster than it was, 0 for as fast as it goes.
	factor float64
	// most is the longest pause, 0 for any.
	most time.Duration
	// types are the events that are wanted, none for all.
	types []string
	// limit is after how many events the stream ends, 0 for never.
	limit int
	// poll is how long the stream waits for the first event, 0 if it does not end
	// by itself.
	poll time.Duration
	// position is whether the stream begins with where the session stands.
	position bool
}

const (
	maxPace  = 1000
	maxPoll  = 10 * time.Minute
	maxLimit = 100_000
	maxTypes = 100
)

// parse reads one parameter of the query; known says whether it is one of these.
func (p *replay) parse(name, v string) (known bool, err error) {
	switch name {
	case "pace":
		if v == "original" {
			p.factor = 1
			return true, nil
		}
		p.factor, err = strconv.ParseFloat(strings.TrimSuffix(v, "x"), 64)
		if err == nil && !(p.factor >= 1.0/maxPace && p.factor <= maxPace) {
			err = errors.New("out of range")
		}
	case "max_gap":
		p.most, err = positive(v)
	case "types":
		p.types = strings.Split(v, ",")
		if len(p.types) > maxTypes || slices.Contains(p.types, "") {
			err = errors.New("no list of types")
		}
	case "limit":
		p.limit, err = strconv.Atoi(v)
		if err == nil && (p.limit < 1 || p.limit > maxLimit) {
			err = errors.New("out of range")
		}
	case "position":
		p.position, err = strconv.ParseBool(v)
	default:
		return false, nil
	}
	return true, err
}

func positive(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err == nil && d <= 0 {
		err = errors.New("not positive")
	}
	return d, err
}

// waitParam reads the parameter wait: whether, or how long.
func (p *replay) waitParam(v string) (wait bool, err error) {
	if wait, err = strconv.ParseBool(v); err == nil {
		return wait, nil
	}
	if p.poll, err = positive(v); err == nil && p.poll > maxPoll {
		err = errors.New("too long")
	}
	return true, err
}

// replayParams describes the parameters.
func replayParams(param func(name, in, doc string, s *huma.Schema) *huma.Param) []*huma.Param {
	str, num, boolean := &huma.Schema{Type: "string"}, &huma.Schema{Type: "integer", Format: "int64"}, &huma.Schema{Type: "boolean"}
	return []*huma.Param{
		param("types", "query", "Only events of these types, separated by commas. The stream ends where it would end without.", str),
		param("limit", "query", "The stream ends after so many events, 1 to 100000: with after, a log can be read step by step.", num),
		param("pace", "query", "original plays the events with the pauses that there were, 2x twice as fast, 0.5x half as fast (0.001x to 1000x). Default: as fast as it goes.", str),
		param("max_gap", "query", "The longest pause with pace, such as 2s: a night in which a session waited for somebody need not be waited for again.", str),
		param("position", "query", "false leaves out what a stream begins with otherwise: where the session stands (StreamPosition), for clients that take every line for an event of the log. Default: true. The header Holdfast-Seq says the session's newest sequence number on every stream.", boolean),
	}
}

// longPoll waits until there is an event behind after, at most as long as was
// asked for.
func (a *API) longPoll(ctx context.Context, ref holdfast.SessionRef, after uint64, most time.Duration) error {
	end := time.NewTimer(most)
	defer end.Stop()
	for {
		f, release, err := a.hub.open(ctx, ref)
		if err != nil {
			return err
		}
		_, wake, _, ended := f.after(after)
		if wake == nil && !ended {
			release()
			return nil
		}
		if ended {
			release()
			continue
		}
		select {
		case <-wake:
		case <-end.C:
			release()
			return nil
		case <-a.hub.ctx.Done():
			release()
			return nil
		case <-ctx.Done():
			release()
			return context.Cause(ctx)
		}
		release()
	}
}

// turn waits until it is the event's turn and reports whether it is wanted.
func (s *eventSink) turn(it *item) (wanted bool, err error) {
	if len(s.replay.types) > 0 && !slices.Contains(s.replay.types, it.typ) {
		return false, nil
	}
	if s.replay.factor == 0 {
		return true, nil
	}
	at, err := timeOf(it.line)
	if err != nil {
		return false, err
	}
	gap := slowed(at.Sub(s.before), s.replay.factor)
	if s.before.IsZero() {
		gap, s.due = 0, time.Now()
	}
	s.before = at
	if s.replay.most > 0 {
		gap = min(gap, s.replay.most)
	}
	// From the turn of the event before, so that what writing took is not added; who
	// is far behind does not catch up in a rush.
	s.due = maxTime(s.due.Add(gap), time.Now().Add(-time.Second))
	for {
		wait := time.Until(s.due)
		if wait <= 0 {
			return true, nil
		}
		if err := s.flush(); err != nil {
			return false, err
		}
		timer := time.NewTimer(min(wait, s.pause()))
		select {
		case <-timer.C:
			if time.Until(s.due) > 0 {
				if err := s.beat(); err != nil {
					return false, err
				}
			}
		case <-s.gone:
			timer.Stop()
			return false, context.Canceled
		case <-s.stop:
			timer.Stop()
			return false, errClosing
		}
	}
}

// slowed is a pause at a pace, at most a year: a long one of a slow pace is more
// than a duration can be.
func slowed(gap time.Duration, factor float64) time.Duration {
	const most = 365 * 24 * time.Hour
	return time.Duration(min(float64(gap)/factor, float64(most)))
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// timeOf reads the member time, which is the last one of a line.
func timeOf(line []byte) (time.Time, error) {
	const mark = `"time":"`
	i := bytes.LastIndex(line, []byte(mark))
	if i < 0 || len(line) < i+len(mark)+2 {
		return time.Time{}, errors.New("an event has no time")
	}
	return time.Parse(time.RFC3339Nano, string(line[i+len(mark):len(line)-2]))
}

// stands says on an answer where the session stands.
func stands(w http.ResponseWriter, head uint64) {
	w.Header().Set(headerSeq, strconv.FormatUint(head, 10))
}

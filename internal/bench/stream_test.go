package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// entry is an event as a client gets it. line is only valid during the call.
type entry struct {
	seq  uint64
	typ  []byte
	at   time.Time // of the event, by the writer's clock
	got  time.Time
	line []byte
}

func (e *entry) is(typ string) bool { return string(e.typ) == typ }

// latency is from the creation of the event until the client had it.
func (e *entry) latency() time.Duration { return e.got.Sub(e.at) }

// stream reads a session's events behind after until fn says that it has enough.
// It reads without a JSON decoder: readers share the cores with what they measure.
func (w *world) stream(ctx context.Context, session string, after uint64, fn func(*entry) (more bool)) error {
	conn, err := w.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := fmt.Fprintf(conn, "GET /v1/sessions/%s/events?after=%d&position=false HTTP/1.1\r\nHost: bench\r\n\r\n", session, after); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16<<10), nil)
	if err != nil {
		return err
	}
	// The body is not closed: that would read to its end. The connection is.
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("stream %s: %s", session, resp.Status)
	}
	e := entry{seq: after}
	for r := bufio.NewReaderSize(resp.Body, 16<<10); ; {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			var rest []byte
			line = bytes.Clone(line)
			if rest, err = r.ReadBytes('\n'); err == nil {
				line = append(line, rest...)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("stream %s after %d: %w", session, e.seq, err)
		}
		if id, ok := bytes.CutPrefix(line, []byte("id: ")); ok {
			seq, err := strconv.ParseUint(string(bytes.TrimSpace(id)), 10, 64)
			if err != nil || seq != e.seq+1 {
				return fmt.Errorf("stream %s: event %q after %d", session, id, e.seq)
			}
			e.seq = seq
			continue
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		e.got = time.Now()
		e.line = bytes.TrimSpace(data)
		if err := e.parse(); err != nil {
			return fmt.Errorf("stream %s: %w", session, err)
		}
		if !fn(&e) {
			return nil
		}
	}
}

// parse reads the type, which comes first, and the time, which comes last.
func (e *entry) parse() error {
	const layout = "2006-01-02T15:04:05.000000Z"
	rest, ok := bytes.CutPrefix(e.line, []byte(`{"type":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 || len(e.line) < len(layout)+2 {
		return fmt.Errorf("not an event: %s", e.line)
	}
	e.typ = rest[:end]
	var err error
	e.at, err = time.Parse(layout, string(e.line[len(e.line)-2-len(layout):len(e.line)-2]))
	return err
}

// member returns the text of a string member of the event that needs no escapes.
func (e *entry) member(name string) string {
	_, rest, ok := bytes.Cut(e.line, []byte(`"`+name+`":"`))
	if !ok {
		return ""
	}
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(text)
}

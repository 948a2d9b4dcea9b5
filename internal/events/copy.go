package events

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// The form of an exported session is JSON lines: one that says what it is, one
// for each event with all of its envelope, one that says that it is whole.
//
//	{"format":"holdfast.session","v":1,"session":"…"}
//	{"seq":1,"epoch":0,"time":"…","type":"session_created","v":1,"payload":{…}}
//	{"end":true,"events":1,"sha256":"…"}
//
// The hash is over the lines of the events with their newlines. A payload is
// kept byte for byte; one that is no JSON value on one line is in payload_base64.
const (
	copyFormat  = "holdfast.session"
	copyVersion = 1
	copyTime    = "2006-01-02T15:04:05.000000Z"
	// maxCopyLine is more than the line of any event can have.
	maxCopyLine = 4 << 20
)

type copyHead struct {
	Format  string `json:"format"`
	V       int    `json:"v"`
	Session string `json:"session"`
}

type copyLine struct {
	Seq     uint64          `json:"seq"`
	Epoch   uint64          `json:"epoch"`
	Time    string          `json:"time"`
	Run     string          `json:"run,omitempty"`
	Type    string          `json:"type"`
	V       int             `json:"v"`
	Agent   string          `json:"agent,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Base64  []byte          `json:"payload_base64,omitempty"`
}

type copyEnd struct {
	End    bool   `json:"end"`
	Events uint64 `json:"events"`
	SHA256 string `json:"sha256"`
}

// CopyWriter writes a session as JSON lines.
type CopyWriter struct {
	w   io.Writer
	sum hash.Hash
	n   uint64
}

// NewCopyWriter writes the first line.
func NewCopyWriter(w io.Writer, session string) (*CopyWriter, error) {
	c := &CopyWriter{w: w, sum: sha256.New()}
	return c, c.line(copyHead{copyFormat, copyVersion, session})
}

func (c *CopyWriter) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err = c.w.Write(append(b, '\n'))
	return err
}

// Event writes the next event.
func (c *CopyWriter) Event(e *Envelope) error {
	l := copyLine{
		Seq: e.Seq, Epoch: e.Epoch, Time: e.Time.UTC().Format(copyTime), Run: e.Run, Type: e.Type, V: e.V, Agent: e.Agent,
	}
	plain := len(e.Payload) > 0 && json.Valid(e.Payload) && bytes.IndexByte(e.Payload, '\n') < 0 && len(bytes.TrimSpace(e.Payload)) == len(e.Payload)
	if !plain {
		l.Base64 = e.Payload
	}
	// The encoder would change a payload: spaces go, some characters are escaped.
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("export event %d: %w", e.Seq, err)
	}
	if plain {
		b = append(append(append(b[:len(b)-1], `,"payload":`...), e.Payload...), '}')
	}
	b = append(b, '\n')
	c.sum.Write(b)
	c.n++
	_, err = c.w.Write(b)
	return err
}

// Close writes the last line, without which the copy is not whole.
func (c *CopyWriter) Close() error {
	return c.line(copyEnd{true, c.n, hex.EncodeToString(c.sum.Sum(nil))})
}

// CopyReader reads what a [CopyWriter] wrote and refuses, with CodeInvalid and
// the number of the line, what is damaged: lines that cannot be read, a gap in
// seq, payloads that cannot be decoded, a missing end; and what breaks any other
// rule of a [Verifier], which is named with the event: a log that no worker can have
// written is none that one can go on with.
type CopyReader struct {
	// Session is the id that the session had.
	Session string

	r    *bufio.Reader
	line int
	n    uint64
	sum  hash.Hash
	v    *Verifier
	bad  *Violation
}

// NewCopyReader reads the first line.
func NewCopyReader(r io.Reader) (*CopyReader, error) {
	c := &CopyReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	line, err := c.next()
	if errors.Is(err, io.EOF) {
		return nil, c.problem("the file is empty")
	}
	if err != nil {
		return nil, err
	}
	var h copyHead
	if err := json.Unmarshal(line, &h); err != nil || h.Format != copyFormat {
		return nil, c.problem("this is no exported session: want {\"format\":%q,…}", copyFormat)
	}
	if h.V != copyVersion {
		return nil, c.problem("the form of the export has version %d, this program reads %d", h.V, copyVersion)
	}
	c.Session = h.Session
	c.v = NewVerifier(holdfast.SessionRef{Tenant: "import", Session: h.Session}, func(v Violation) {
		if c.bad == nil {
			c.bad = &v
		}
	})
	return c, nil
}

func (c *CopyReader) problem(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "line %d: %s", max(c.line, 1), fmt.Sprintf(format, args...))
}

// next returns the next line with its newline, io.EOF behind the last one.
func (c *CopyReader) next() ([]byte, error) {
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxCopyLine:
			c.line++
			return nil, c.problem("longer than %d bytes", maxCopyLine)
		case err == nil:
			c.line++
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			c.line++
			return nil, c.problem("the file breaks off")
		default:
			return nil, fmt.Errorf("read line %d: %w", c.line+1, err)
		}
	}
}

// Next returns the next event, io.EOF when all were read and the copy is whole.
func (c *CopyReader) Next() (Envelope, error) {
	line, err := c.next()
	if errors.Is(err, io.EOF) {
		return Envelope{}, holdfast.Errorf(holdfast.CodeInvalid, "line %d: the file breaks off: its last line, which says that it is whole, is missing", c.line+1)
	}
	if err != nil {
		return Envelope{}, err
	}
	if bytes.HasPrefix(line, []byte(`{"end":`)) {
		return Envelope{}, c.end(line)
	}
	var l copyLine
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return Envelope{}, c.problem("this is no event: %v", err)
	}
	at, err := time.Parse(time.RFC3339Nano, l.Time)
	if err != nil {
		return Envelope{}, c.problem("time %q: want one like %s", l.Time, copyTime)
	}
	e := Envelope{Seq: l.Seq, Epoch: l.Epoch, Time: at.UTC(), Run: l.Run, Type: l.Type, V: l.V, Agent: l.Agent, Payload: l.Payload}
	if l.Base64 != nil {
		e.Payload = l.Base64
	}
	if e.Type == "" || e.V < 1 || len(e.Payload) > MaxPayload {
		return Envelope{}, c.problem("this is no event: it has no type, no version or too large a payload")
	}
	if e.Run != "" && holdfast.ValidateID("run", e.Run) != nil {
		return Envelope{}, c.problem("run %q is no id", e.Run)
	}
	c.v.Event(&e)
	if c.bad != nil {
		return Envelope{}, c.problem("event %d breaks the rule %s: %s", c.bad.Seq, c.bad.Rule, c.bad.Detail)
	}
	c.sum.Write(line)
	c.n++
	return e, nil
}

func (c *CopyReader) end(line []byte) error {
	var end copyEnd
	if err := json.Unmarshal(line, &end); err != nil || !end.End {
		return c.problem("this is neither an event nor the end")
	}
	if end.Events != c.n {
		return c.problem("the file should have %d events and has %d", end.Events, c.n)
	}
	if got := hex.EncodeToString(c.sum.Sum(nil)); end.SHA256 != got {
		return c.problem("the events were changed: their hash is %s, not %s", got, end.SHA256)
	}
	if c.n == 0 {
		return c.problem("the session has no events")
	}
	if _, err := c.next(); !errors.Is(err, io.EOF) {
		return c.problem("something follows the end")
	}
	return io.EOF
}

// Import writes the events that next gives, from seq 1 until io.EOF, as the log
// of a session. The session must not exist, or its log must be the beginning of
// the same events: then an import that broke off goes on, and one that was
// complete changes nothing. Anything else is ErrConflict. Times, epochs and
// payloads stay as they are; who claims the session next does so in the epoch
// after its last one.
//
// What it writes can be read at once, and it holds no more than a frame in
// memory. The events must be such as a [CopyReader] gives.
func Import(ctx context.Context, r *Reader, ref holdfast.SessionRef, next func() (Envelope, error)) (Head, error) {
	if err := ref.Validate(); err != nil {
		return Head{}, err
	}
	tail, err := ReadTail(ctx, r.Bus, r.Store, ref)
	if err != nil {
		return Head{}, err
	}
	if tail.Type == holdfast.TypeSessionDeleted {
		return Head{}, ErrConflict
	}
	if tail.Seq > 0 {
		if err := sameBeginning(ctx, r, ref, tail.Seq, next); err != nil {
			return Head{}, err
		}
	}
	w := &Writer{bus: r.Bus, store: r.Store, ref: ref, epoch: tail.Epoch}
	head, at := Head{Seq: tail.Seq, Epoch: tail.Epoch}, place{tail.Pos, tail.Prev}
	var frame []Envelope
	size := 0
	flush := func() error {
		if len(frame) == 0 {
			return nil
		}
		var err error
		if at, err = w.publish(ctx, at, frame); err != nil {
			if errors.Is(err, ErrLost) {
				return ErrConflict
			}
			return fmt.Errorf("import %s after %d: %w", ref, head.Seq, err)
		}
		last := frame[len(frame)-1]
		head, frame, size = Head{Seq: last.Seq, Epoch: last.Epoch}, frame[:0], 0
		return nil
	}
	for {
		e, err := next()
		if errors.Is(err, io.EOF) {
			return head, flush()
		}
		if err != nil {
			return head, err
		}
		n := eventOverhead + len(e.Payload) + len(e.Type) + len(e.Run) + len(e.Agent)
		if size+n > MaxPayload || len(frame) >= maxFrameEvents {
			if err := flush(); err != nil {
				return head, err
			}
		}
		frame = append(frame, e)
		size += n
	}
}

// sameBeginning takes the first events from next and compares them with the log.
func sameBeginning(ctx context.Context, r *Reader, ref holdfast.SessionRef, through uint64, next func() (Envelope, error)) error {
	_, err := r.Read(ctx, ref, 0, func(have Envelope) error {
		if have.Seq > through {
			return errStop
		}
		e, err := next()
		if errors.Is(err, io.EOF) {
			return ErrConflict // the session has gone on since
		}
		if err != nil {
			return err
		}
		if e.Seq != have.Seq || e.Epoch != have.Epoch || e.Type != have.Type || e.V != have.V || e.Run != have.Run || e.Agent != have.Agent ||
			!e.Time.Equal(have.Time) || !bytes.Equal(e.Payload, have.Payload) {
			return ErrConflict
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return err
}

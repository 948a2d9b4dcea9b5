package model

import (
	"bytes"
	"errors"
	"io"
)

// MaxEvent is the longest server-sent event that adapters accept, in bytes. A
// delta has some hundred; a provider that exceeds this is broken or hostile.
const MaxEvent = 8 << 20

// ErrEventTooLong is returned for an event that exceeds the reader's limit.
var ErrEventTooLong = errors.New("a server-sent event exceeds the limit")

// EventReader splits a stream of server-sent events (WHATWG HTML, section
// 9.2.6) into events, in buffers that it uses again. It accepts lines that end in LF or
// CRLF; a CR alone, which the standard also allows and no provider sends, ends
// no line. Unlike a browser it hands out an event that the end of the stream
// cuts off, and says so: the last event of some servers lacks its blank line.
type EventReader struct {
	src        io.Reader
	limit      int
	buf        []byte
	start, end int    // unread bytes of buf
	name, data []byte // of the event, used again for the next
	started    bool
	truncated  bool
	err        error
}

// NewEventReader reads events of at most limit bytes from src.
func NewEventReader(src io.Reader, limit int) *EventReader {
	return &EventReader{src: src, limit: limit, buf: make([]byte, min(limit, 4<<10))}
}

// Truncated reports whether the stream ended before the last event's last line
// did.
func (r *EventReader) Truncated() bool { return r.truncated }

var (
	fieldData  = []byte("data")
	fieldEvent = []byte("event")
	colon      = []byte(":")
	byteOrder  = []byte("\xef\xbb\xbf")
)

// Next returns the next event that has data. Both slices are valid until the
// next call. The error is io.EOF at the end of the stream, ErrEventTooLong, or
// that of the source.
func (r *EventReader) Next() (name, data []byte, err error) {
	r.name, r.data = r.name[:0], r.data[:0]
	have := false
	for {
		line, err := r.line(len(r.data))
		if err != nil {
			if err == io.EOF && have {
				return r.name, r.data, nil
			}
			return nil, nil, err
		}
		if len(line) == 0 {
			if have {
				return r.name, r.data, nil
			}
			r.name = r.name[:0]
			continue
		}
		field, value, _ := bytes.Cut(line, colon)
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
		// What is kept is copied: the bytes of buf move when the next line is read.
		switch {
		case bytes.Equal(field, fieldData):
			if have {
				r.data = append(r.data, '\n')
			}
			r.data = append(r.data, value...)
			have = true
		case bytes.Equal(field, fieldEvent):
			r.name = append(r.name[:0], value...)
		}
	}
}

// line returns the next line without its end. taken are the bytes that the
// event has already.
func (r *EventReader) line(taken int) ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(r.buf[r.start+scanned:r.end], '\n'); i >= 0 {
			line := r.buf[r.start : r.start+scanned+i]
			if len(line)+taken > r.limit {
				return nil, ErrEventTooLong
			}
			r.start += scanned + i + 1
			return r.trim(line), nil
		}
		scanned = r.end - r.start
		if scanned+taken > r.limit {
			return nil, ErrEventTooLong
		}
		if r.err != nil {
			if r.err == io.EOF && scanned > 0 {
				line := r.buf[r.start:r.end]
				r.start = r.end
				r.truncated = true
				return r.trim(line), nil
			}
			return nil, r.err
		}
		r.fill()
	}
}

func (r *EventReader) trim(line []byte) []byte {
	if !r.started {
		r.started = true
		line = bytes.TrimPrefix(line, byteOrder)
	}
	return bytes.TrimSuffix(line, []byte{'\r'})
}

// fill reads more behind the unread bytes, making room first.
func (r *EventReader) fill() {
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.start, r.end = 0, r.end-r.start
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	// A source that returns neither bytes nor an error is asked again, a hundred
	// times at most, as bufio does.
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

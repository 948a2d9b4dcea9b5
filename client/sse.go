package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxEvent bounds one event of a stream, so that a broken server cannot fill the
// memory. An event of Holdfast has 512 KiB at most, a line of it a little more.
const maxEvent = 16 << 20

// errFormat is wrapped by errors that say that this is no event stream of ours:
// to read it once more would not help.
var errFormat = errors.New("the stream cannot be read")

var errEventTooLong = fmt.Errorf("%w: an event is too long", errFormat)

// sseReader reads server-sent events (WHATWG HTML, section 9.2).
type sseReader struct {
	r    *bufio.Reader
	line []byte
	// begun says that something was read: only before that may a byte order mark come.
	begun bool
	// cr says that the line before ended with CR: an LF that follows belongs to it.
	cr   bool
	data []byte
	name string // of the event that next returned, "" for none
}

func newSSEReader(r io.Reader) *sseReader {
	return &sseReader{r: bufio.NewReaderSize(r, 32<<10)}
}

// next returns the next event that has data. seq is its id, 0 if it has none.
// data is valid until the next call. beat is called for every line, comments
// included: the connection lives. The end of the stream is io.EOF; what is not
// ended by an empty line is dropped.
func (s *sseReader) next(beat func()) (seq uint64, data []byte, err error) {
	s.data = s.data[:0]
	s.name = ""
	hasData := false
	for {
		line, err := s.readLine()
		if err != nil {
			return 0, nil, err
		}
		beat()
		if len(line) == 0 {
			if hasData {
				return seq, s.data, nil
			}
			seq, s.name = 0, ""
			continue
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "data":
			if hasData {
				s.data = append(s.data, '\n')
			}
			hasData = true
			if len(s.data)+len(value) > maxEvent {
				return 0, nil, errEventTooLong
			}
			s.data = append(s.data, value...)
		case "event":
			s.name = string(value)
		case "id":
			if seq, err = strconv.ParseUint(string(value), 10, 64); err != nil {
				return 0, nil, fmt.Errorf("%w: an id is not a number: %q", errFormat, value)
			}
		}
	}
}

// readLine returns a line without its end, which is LF, CR or CRLF. It never waits
// for what comes after an end. What is not ended is lost, with the error.
func (s *sseReader) readLine() ([]byte, error) {
	s.line = s.line[:0]
	for {
		if _, err := s.r.Peek(1); err != nil {
			return nil, err
		}
		part, err := s.r.Peek(s.r.Buffered())
		if err != nil {
			return nil, err
		}
		if s.cr {
			s.cr = false
			if part[0] == '\n' {
				if _, err := s.r.Discard(1); err != nil {
					return nil, err
				}
				continue
			}
		}
		n, ended := len(part), false
		if i := bytes.IndexByte(part, '\n'); i >= 0 {
			n, ended = i, true
		}
		if i := bytes.IndexByte(part[:n], '\r'); i >= 0 {
			n, ended, s.cr = i, true, true
		}
		s.line = append(s.line, part[:n]...)
		if ended {
			n++
		}
		if _, err := s.r.Discard(n); err != nil {
			return nil, err
		}
		if len(s.line) > maxEvent {
			return nil, errEventTooLong
		}
		if ended {
			if !s.begun {
				s.begun = true
				s.line = bytes.TrimPrefix(s.line, byteOrderMark)
			}
			return s.line, nil
		}
	}
}

// byteOrderMark may stand before a stream.
var byteOrderMark = []byte("\ufeff")

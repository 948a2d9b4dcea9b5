package mcptool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxEventLines bounds the lines of one event. A message is one line by rights;
// servers that indent their JSON need some more.
const maxEventLines = 1 << 16

// eventStream reads a stream of server-sent events and gives out the same
// events in a plainer form: one data line each, comments gone, and requests of
// the server taken out. What reads behind it therefore never sees a line or an
// event longer than MaxMessage, and no request. Newlines between data lines
// become spaces, which mean the same in JSON, the only content of MCP's events.
type eventStream struct {
	body io.Closer
	r    *bufio.Reader
	// onRequest is handed each request of the server. It may block, which slows
	// the server down; an error ends the stream.
	onRequest func(raw []byte) error
	onBroken  func(error)

	out bytes.Buffer
	err error
}

func newEventStream(body io.ReadCloser, onRequest func([]byte) error, onBroken func(error)) *eventStream {
	return &eventStream{body: body, r: bufio.NewReader(body), onRequest: onRequest, onBroken: onBroken}
}

// Close implements io.Closer.
func (s *eventStream) Close() error { return s.body.Close() }

// Read implements io.Reader.
func (s *eventStream) Read(p []byte) (int, error) {
	for s.out.Len() == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.out.Reset()
		if s.err = s.next(); s.err != nil && !errors.Is(s.err, io.EOF) {
			s.onBroken(s.err)
		}
	}
	return s.out.Read(p)
}

// next reads up to the end of one event and puts what is to be seen of it into
// out. An event that the stream ends in counts as complete: servers exist that
// leave out the last empty line.
func (s *eventStream) next() error {
	var data []byte
	hasData := false
	var fields bytes.Buffer // all but data
	size := 0
	for lines := 1; ; lines++ {
		line, err := readLine(s.r)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading an event of the server: %w", err)
		}
		if size += len(line); size > MaxMessage {
			return fmt.Errorf("reading an event of the server: %w", errTooLong)
		}
		if lines > maxEventLines {
			return fmt.Errorf("reading an event of the server: it has more than %d lines", maxEventLines)
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "data":
			if hasData {
				data = append(data, ' ')
			}
			data, hasData = append(data, value...), true
		case "event", "id", "retry":
			fmt.Fprintf(&fields, "%s: %s\n", name, value)
		}
		if len(line) == 0 || err != nil {
			if eventErr := s.emit(&fields, data, hasData); eventErr != nil {
				return eventErr
			}
			return err
		}
	}
}

func (s *eventStream) emit(fields *bytes.Buffer, data []byte, hasData bool) error {
	if hasData && isRequest(data) {
		if err := s.onRequest(data); err != nil {
			return err
		}
		hasData = false
	}
	if !hasData && fields.Len() == 0 {
		return nil
	}
	s.out.Write(fields.Bytes())
	if hasData {
		s.out.WriteString("data: ")
		s.out.Write(data)
		s.out.WriteByte('\n')
	}
	s.out.WriteByte('\n')
	return nil
}

func isRequest(data []byte) bool {
	if !bytes.Contains(data, []byte(`"method"`)) {
		return false
	}
	var head struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	return json.Unmarshal(data, &head) == nil && head.Method != "" && len(head.ID) > 0 && string(head.ID) != "null"
}

// boundedBody ends with an error when a body is longer than it may be.
type boundedBody struct {
	io.Closer
	r        io.LimitedReader
	err      error
	onBroken func(error)
}

func newBoundedBody(body io.ReadCloser, limit int64, tooLong error, onBroken func(error)) *boundedBody {
	return &boundedBody{Closer: body, r: io.LimitedReader{R: body, N: limit + 1}, err: tooLong, onBroken: onBroken}
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.r.N <= 0 {
		b.onBroken(b.err)
		return 0, b.err
	}
	return n, err
}

package bedrock

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/holdfast-run/holdfast/internal/model"
)

// frames splits a body of type application/vnd.amazon.eventstream into its
// messages.
type frames struct {
	src  *bufio.Reader
	dec  *eventstream.Decoder
	buf  []byte
	name []byte
}

var _ model.EventSource = (*frames)(nil)

func newFrames(r io.Reader) *frames {
	return &frames{src: bufio.NewReader(r), dec: eventstream.NewDecoder(), buf: make([]byte, 0, 4<<10)}
}

// Truncated is never true: a message that is cut off is not handed out.
func (f *frames) Truncated() bool { return false }

// exceptionPrefix begins the names of messages that are no events.
const exceptionPrefix = "exception:"

// Next returns the next message: an event by its type, an exception by its type
// after exceptionPrefix.
func (f *frames) Next() (name, data []byte, err error) {
	if err := f.prelude(); err != nil {
		return nil, nil, err
	}
	msg, err := f.dec.Decode(f.src, f.buf[:0])
	switch {
	case err == nil:
	case errors.As(err, new(eventstream.ChecksumError)), errors.As(err, new(eventstream.LengthError)):
		return nil, nil, &model.UnreadableError{Err: err}
	case errors.Is(err, io.EOF):
		return nil, nil, io.ErrUnexpectedEOF
	default:
		return nil, nil, err
	}
	if cap(msg.Payload) > cap(f.buf) && cap(msg.Payload) <= 1<<20 {
		f.buf = msg.Payload
	}
	text := func(header string) string {
		if v := msg.Headers.Get(header); v != nil {
			return v.String()
		}
		return ""
	}
	f.name = f.name[:0]
	switch kind := text(":message-type"); kind {
	case "event":
		f.name = append(f.name, text(":event-type")...)
	case "exception":
		f.name = append(append(f.name, exceptionPrefix...), text(":exception-type")...)
	case "error": // its explanation is a header
		f.name = append(append(f.name, exceptionPrefix...), text(":error-code")...)
		msg.Payload = append(model.AppendString([]byte(`{"message":`), text(":error-message")), '}')
	default:
		return nil, nil, &model.UnreadableError{Err: fmt.Errorf("a message of type %q", kind)}
	}
	return f.name, msg.Payload, nil
}

// prelude looks at the lengths that begin a message, for which the decoder would
// make room whatever they are.
func (f *frames) prelude() error {
	const shortest = 16 // two lengths and two checksums
	b, err := f.src.Peek(8)
	if err != nil {
		if len(b) > 0 && errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	length, headers := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if length < shortest || headers > length-shortest {
		return &model.UnreadableError{Err: fmt.Errorf("a message of %d bytes with %d bytes of headers", length, headers)}
	}
	if length > model.MaxEvent {
		return model.ErrEventTooLong
	}
	return nil
}

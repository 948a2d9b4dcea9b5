package bedrock

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/holdfast-run/holdfast/internal/model"
)

// frames splits a body of type application/vnd.amazon.eventstream into its
// messages. The format is that of
// https://smithy.io/2.0/aws/amazon-eventstream.html; it is read here because the
// SDK's decoder takes 40 allocations for each message. The tests write their
// messages with the SDK's encoder.
type frames struct {
	src  *bufio.Reader
	buf  []byte // of the message, used again for the next
	name []byte
}

var _ model.EventSource = (*frames)(nil)

func newFrames(r io.Reader) *frames {
	return &frames{src: bufio.NewReader(r), buf: make([]byte, 4<<10)}
}

// Truncated is never true: a message that is cut off is not handed out.
func (f *frames) Truncated() bool { return false }

// exceptionPrefix begins the names of messages that are no events.
const exceptionPrefix = "exception:"

const (
	prelude  = 12 // the lengths of the message and of its headers, their checksum
	checksum = 4  // ends the message
)

// Next returns the next message: an event by its type, an exception by its type
// after exceptionPrefix.
func (f *frames) Next() (name, data []byte, err error) {
	head, payload, err := f.message()
	if err != nil {
		return nil, nil, err
	}
	var h headers
	if err := h.read(head); err != nil {
		return nil, nil, err
	}
	f.name = f.name[:0]
	switch string(h.kind) {
	case "event":
		f.name = append(f.name, h.event...)
	case "exception":
		f.name = append(append(f.name, exceptionPrefix...), h.exception...)
	case "error": // its explanation is a header
		f.name = append(append(f.name, exceptionPrefix...), h.code...)
		payload = append(model.AppendString([]byte(`{"message":`), string(h.message)), '}')
	default:
		return nil, nil, &model.UnreadableError{Err: fmt.Errorf("a message of type %q", h.kind)}
	}
	return f.name, payload, nil
}

// message reads a message and checks it.
func (f *frames) message() (head, payload []byte, err error) {
	b, err := f.src.Peek(8)
	if err != nil {
		if len(b) > 0 && errors.Is(err, io.EOF) {
			return nil, nil, io.ErrUnexpectedEOF
		}
		return nil, nil, err
	}
	// The lengths decide how much room is made, so they are looked at first.
	length, headers := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if length < prelude+checksum || headers > length-prelude-checksum {
		return nil, nil, &model.UnreadableError{Err: fmt.Errorf("a message of %d bytes with %d bytes of headers", length, headers)}
	}
	if length > model.MaxEvent {
		return nil, nil, model.ErrEventTooLong
	}
	msg := f.buf[:0]
	if int(length) > cap(msg) {
		msg = make([]byte, 0, length)
		if length <= 1<<20 {
			f.buf = msg
		}
	}
	msg = msg[:length]
	if _, err := io.ReadFull(f.src, msg[:prelude]); err != nil {
		return nil, nil, cutOff(err)
	}
	if crc32.ChecksumIEEE(msg[:8]) != binary.BigEndian.Uint32(msg[8:]) {
		return nil, nil, &model.UnreadableError{Err: errors.New("the beginning of a message does not fit its checksum")}
	}
	if _, err := io.ReadFull(f.src, msg[prelude:]); err != nil {
		return nil, nil, cutOff(err)
	}
	end := len(msg) - checksum
	if crc32.ChecksumIEEE(msg[:end]) != binary.BigEndian.Uint32(msg[end:]) {
		return nil, nil, &model.UnreadableError{Err: errors.New("a message does not fit its checksum")}
	}
	return msg[prelude : prelude+headers], msg[prelude+headers : end], nil
}

// cutOff is the error of a message that breaks off.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// headers are those of a message that matter.
type headers struct {
	kind, event, exception, code, message []byte
}

var errHeaders = &model.UnreadableError{Err: errors.New("headers of a message that cannot be read")}

// headerSizes are the bytes of values by their type; -1 is a length of two bytes
// and as many bytes.
var headerSizes = [...]int{0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: -1, 7: -1, 8: 8, 9: 16}

const headerText = 7

func (h *headers) read(b []byte) error {
	for len(b) > 0 {
		n := int(b[0]) + 1
		if len(b) < n+1 || int(b[n]) >= len(headerSizes) {
			return errHeaders
		}
		name, kind := b[1:n], b[n]
		b = b[n+1:]
		size := headerSizes[kind]
		if size < 0 {
			if len(b) < 2 {
				return errHeaders
			}
			size = int(binary.BigEndian.Uint16(b))
			b = b[2:]
		}
		if len(b) < size {
			return errHeaders
		}
		value := b[:size]
		b = b[size:]
		if kind != headerText {
			continue
		}
		switch string(name) {
		case ":message-type":
			h.kind = value
		case ":event-type":
			h.event = value
		case ":exception-type":
			h.exception = value
		case ":error-code":
			h.code = value
		case ":error-message":
			h.message = value
		}
	}
	return nil
}

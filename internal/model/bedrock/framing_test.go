package bedrock_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// framed is a client whose answers of type application/vnd.amazon.eventstream,
// which the recordings hold as text, come in the frames of the wire.
func framed(c *http.Client) *http.Client {
	return &http.Client{Transport: framing{c.Transport}}
}

type framing struct{ next http.RoundTripper }

func (f framing) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := f.next.RoundTrip(r)
	if err == nil && res.Header.Get("Content-Type") == "application/vnd.amazon.eventstream" {
		res.Body = &framer{body: res.Body, lines: bufio.NewReader(res.Body)}
	}
	return res, err
}

// framer reads events as text (event: or exception:, data:, a blank line) and
// hands them out as frames, in small pieces. Of an event that breaks off it hands
// out half a frame; what is no event goes through as it is.
type framer struct {
	body  io.Closer
	lines *bufio.Reader
	out   bytes.Buffer
	err   error
}

func (f *framer) Close() error { return f.body.Close() }

func (f *framer) Read(p []byte) (int, error) {
	for f.out.Len() == 0 {
		if f.err != nil {
			return 0, f.err
		}
		f.event()
	}
	const piece = 997
	return f.out.Read(p[:min(len(p), piece)])
}

func (f *framer) event() {
	var headers eventstream.Headers
	var data []byte
	began := false
	for {
		line, err := f.lines.ReadString('\n')
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			began = true
			headers.Set(":message-type", eventstream.StringValue("event"))
			headers.Set(":event-type", eventstream.StringValue(value))
		case "exception":
			began = true
			headers.Set(":message-type", eventstream.StringValue("exception"))
			headers.Set(":exception-type", eventstream.StringValue(value))
		case "data":
			data = []byte(value)
		case "":
		default:
			f.out.WriteString(line)
		}
		if err != nil && !began {
			f.err = err
			return
		}
		if field != "" && err == nil || !began {
			continue
		}
		headers.Set(":content-type", eventstream.StringValue("application/json"))
		var frame bytes.Buffer
		if e := eventstream.NewEncoder().Encode(&frame, eventstream.Message{Headers: headers, Payload: data}); e != nil {
			f.err = errors.Join(err, e)
			return
		}
		if err != nil {
			frame.Truncate(frame.Len() / 2)
		}
		f.out.Write(frame.Bytes())
		f.err = err
		return
	}
}

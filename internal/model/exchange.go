package model

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Decoder turns the events of one answer into chunks.
type Decoder interface {
	// Event reads one event. done says that the provider has ended the answer.
	// Data that cannot be understood is an [*UnreadableError]. The slices are valid
	// until Event returns.
	Event(name, data []byte, yield func(Chunk) error) (done bool, err error)
	// Complete reports whether the answer may end here without its last word.
	Complete() bool
	// Finish hands out what had to wait for the end.
	Finish(yield func(Chunk) error) error
}

// WholeDecoder is a [Decoder] that also understands an answer that comes whole
// instead of as a stream: some compatible servers do not know how to stream, or
// not with tools.
type WholeDecoder interface {
	Decoder
	// Whole reads an answer. ok is false for JSON that is none; then nothing has been
	// handed out. Errors are those of Event.
	Whole(body []byte, yield func(Chunk) error) (ok bool, err error)
}

// EventSource hands out the events of an answer one by one, as [*EventReader]
// does.
type EventSource interface {
	Next() (name, data []byte, err error)
	Truncated() bool
}

// UnreadableError is an event that is not what the provider's API promises.
type UnreadableError struct{ Err error }

func (e *UnreadableError) Error() string { return "unreadable event: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// maxErrorBody is how much of an answer that is no stream is read.
const maxErrorBody = 64 << 10

// AnswerError is an answer with a status that is not success.
type AnswerError struct {
	Status int
	Header http.Header
	Body   []byte // 64 KiB at most
}

func (e *AnswerError) Error() string { return fmt.Sprintf("answered with status %d", e.Status) }

// RefuseErrors turns an answer that is not success into an [*AnswerError].
func RefuseErrors(res *http.Response, err error) (*http.Response, error) {
	if err != nil || res.StatusCode/100 == 2 {
		return res, err
	}
	defer res.Body.Close()
	// A broken body does not matter: the status tells enough.
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	return nil, &AnswerError{res.StatusCode, res.Header, body}
}

// StayOnOrigin returns a client like c that follows no redirect: no provider
// needs one, and the key, in a header that net/http does not know to be secret,
// would go with it. nil is http.DefaultClient.
func StayOnOrigin(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	stay := *c
	stay.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &stay
}

// Exchange is one attempt at a call over HTTP: it sends the request, watches
// over the time, feeds the events to the decoder and classifies whatever goes
// wrong on the way.
type Exchange struct {
	Provider string // as errors name it
	// IdleTimeout is Config.IdleTimeout.
	IdleTimeout time.Duration
	// Send makes the request. An answer that is not success is an [*AnswerError].
	Send func(ctx context.Context) (*http.Response, error)
	// Classify reads what the provider says of a failure: in an answer, or with
	// status 0 in an answer that is no event stream.
	Classify func(status int, header http.Header, body []byte) Failure
	// Events splits the body into events. nil is server-sent events.
	Events  func(io.Reader) EventSource
	Decoder Decoder
}

var errNoStream = errors.New("the answer is not an event stream")

// Run makes the attempt. Errors that another attempt may cure are [*Transient].
func (x *Exchange) Run(ctx context.Context, yield func(Chunk) error) error {
	ctx, watch := WatchIdle(ctx, x.IdleTimeout)
	defer watch.Stop()

	watch.Wait()
	res, err := x.Send(ctx)
	watch.Arrived()
	if err != nil {
		return x.sendError(ctx, watch, err)
	}
	// Closing a body that has not been read to its end closes the connection (or,
	// in HTTP/2, resets the stream) before Close returns.
	defer res.Body.Close()

	stream := watch.Reader(res.Body)
	if t := res.Header.Get("Content-Type"); !strings.HasPrefix(t, "text/event-stream") {
		var whole bool
		if stream, whole = isWhole(stream, t, x.Events != nil); whole {
			return x.notAStream(ctx, watch, stream, yield)
		}
	}
	var events EventSource
	if x.Events != nil {
		events = x.Events(stream)
	} else {
		events = NewEventReader(stream, MaxEvent)
	}
	for {
		name, data, err := events.Next()
		if err != nil {
			if err := x.readError(ctx, watch, err); err != nil {
				return err
			}
			return x.Decoder.Finish(yield)
		}
		if len(data) == 0 && x.Events == nil {
			continue // a sign of life
		}
		done, err := x.Decoder.Event(name, data, yield)
		var unreadable *UnreadableError
		switch {
		case err == nil:
		case !errors.As(err, &unreadable):
			return err
		case events.Truncated():
			return x.cut(io.ErrUnexpectedEOF)
		default:
			return x.garbage(err)
		}
		if done {
			if err := x.Decoder.Finish(yield); err != nil {
				return err
			}
			drain(stream, watch)
			return nil
		}
		if err := Interrupted(ctx); err != nil {
			return err
		}
	}
}

// sendError classifies why there is no answer to read.
func (x *Exchange) sendError(ctx context.Context, watch *IdleWatch, err error) error {
	var answer *AnswerError
	var coded *holdfast.Error
	switch {
	case errors.As(err, &answer):
		if answer.Status/100 == 3 {
			return holdfast.WrapError(holdfast.CodeInvalid, err, fmt.Sprintf(
				"%s sends its callers to another address (status %d); calls do not follow: base_url must name the address itself", x.Provider, answer.Status))
		}
		return x.Classify(answer.Status, answer.Header, answer.Body).Err()
	case ctx.Err() != nil:
		return x.interrupted(ctx, watch)
	case errors.As(err, &coded):
		return err // the program's own client refused the address, for example
	}
	return &Transient{Err: holdfast.WrapError(holdfast.CodeModelFailed, err, x.Provider+" cannot be reached")}
}

// readError classifies why the stream ended. nil is an answer that was whole.
func (x *Exchange) readError(ctx context.Context, watch *IdleWatch, err error) error {
	switch {
	case x.Decoder.Complete() && Interrupted(ctx) == nil:
		return nil
	case ctx.Err() != nil:
		return x.interrupted(ctx, watch)
	case errors.Is(err, ErrEventTooLong):
		return holdfast.WrapError(holdfast.CodeModelFailed, err,
			fmt.Sprintf("%s sent an event of more than %d MiB", x.Provider, MaxEvent>>20))
	case errors.As(err, new(*UnreadableError)):
		return x.garbage(err)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return x.cut(err)
}

// interrupted is the error of a context that has ended. Only silence of the
// provider may be answered with another attempt.
func (x *Exchange) interrupted(ctx context.Context, watch *IdleWatch) error {
	err := watch.Interrupted(ctx)
	if holdfast.CodeOf(err) == holdfast.CodeModelFailed {
		return &Transient{Err: err}
	}
	return err
}

// cut is the error of an answer that broke off.
func (x *Exchange) cut(cause error) error {
	return &Transient{Err: holdfast.WrapError(holdfast.CodeModelFailed, cause, "the answer of "+x.Provider+" broke off")}
}

func (x *Exchange) garbage(cause error) error {
	return holdfast.WrapError(holdfast.CodeModelFailed, cause, x.Provider+" sent what cannot be read")
}

// isWhole looks at the beginning of an answer that is not announced as an event
// stream: servers announce streams as JSON and whole answers as nothing. The
// reader that it returns has all of the answer. framed says that events are not
// lines of text.
func isWhole(body io.Reader, contentType string, framed bool) (io.Reader, bool) {
	said := strings.HasPrefix(contentType, "application/json") || strings.HasPrefix(contentType, "text/html")
	if framed {
		return body, said
	}
	r := bufio.NewReader(body)
	for n := 1; ; n++ {
		// An error comes again when the answer is read.
		b, err := r.Peek(n)
		if err != nil {
			return r, said
		}
		switch b[n-1] {
		case ' ', '\t', '\r', '\n':
			continue
		case '{', '[', '<', '"':
			return r, true
		}
		return r, false
	}
}

// notAStream reads an answer that announces success and is no event stream: a
// whole answer, an error as JSON, which some servers send so, or a stranger's
// page.
func (x *Exchange) notAStream(ctx context.Context, watch *IdleWatch, body io.Reader, yield func(Chunk) error) error {
	b, err := io.ReadAll(io.LimitReader(body, MaxEvent+1))
	switch {
	case err != nil:
		return x.readError(ctx, watch, err)
	case len(b) > MaxEvent:
		return x.readError(ctx, watch, ErrEventTooLong)
	}
	if d, ok := x.Decoder.(WholeDecoder); ok && json.Valid(b) {
		ok, err := d.Whole(b, yield)
		switch {
		case errors.As(err, new(*UnreadableError)):
			return x.garbage(err)
		case err != nil || ok:
			return err
		}
	}
	f := x.Classify(0, nil, b)
	if f.Message != "" || f.Code != "" {
		return f.Err()
	}
	return x.garbage(errNoStream)
}

// drainTime is how long the end of a connection's answer may take after the
// end of the stream, so that the connection can serve the next call.
const drainTime = 50 * time.Millisecond

func drain(stream io.Reader, watch *IdleWatch) {
	t := time.AfterFunc(drainTime, watch.Stop)
	defer t.Stop()
	// What comes after the last event matters to nobody, nor does an error here:
	// the connection is then closed instead of kept.
	_, _ = io.CopyN(io.Discard, stream, 4<<10)
}

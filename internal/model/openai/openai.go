package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/holdfast-run/holdfast/internal/model"
)

// Options are what the program, not the agent file, decides.
type Options struct {
	// HTTPClient makes the calls. Its Timeout must be 0, or it cuts long answers;
	// Config.IdleTimeout watches instead. It is where a deployment refuses
	// addresses. Default: http.DefaultClient.
	HTTPClient *http.Client
}

// Model is a model behind one of the two APIs.
type Model struct {
	cfg    model.Config
	name   string
	set    *settings
	client sdk.Client
}

var _ model.Model = (*Model)(nil)

// New checks cfg and returns its model. It makes no call. It fails with
// CodeInvalid for a configuration that cannot work and with CodeModelAuth if a
// key is missing.
func New(cfg model.Config, opt Options) (*Model, error) {
	set, err := check(cfg)
	if err != nil {
		return nil, err
	}
	httpClient := opt.HTTPClient
	if httpClient == nil {
		httpClient = http.DefaultClient
	}
	m := &Model{cfg: cfg, name: cfg.Provider + "/" + cfg.Model, set: set}
	// Not sdk.NewClient: it would read keys, URLs and headers from the environment
	// of the process, which belongs to no tenant.
	m.client = sdk.Client{Options: []option.RequestOption{
		option.WithBaseURL(set.baseURL),
		option.WithHTTPClient(httpClient),
		option.WithMaxRetries(0), // model.Retry knows what has been handed out
		option.WithHeader("User-Agent", "Holdfast"),
		option.WithHeader("Accept", "text/event-stream"),
		option.WithHeaderDel("X-Stainless-Retry-Count"),
		option.WithMiddleware(refuseErrors),
	}}
	add := func(o option.RequestOption) { m.client.Options = append(m.client.Options, o) }
	for k, v := range set.headers {
		add(option.WithHeader(k, v))
	}
	for k, v := range set.query {
		add(option.WithQuery(k, v))
	}
	switch {
	case cfg.APIKey == "":
	case set.alias.quirks.azure:
		add(option.WithHeader("api-key", cfg.APIKey))
	default:
		add(option.WithAPIKey(cfg.APIKey))
	}
	return m, nil
}

// Name is "provider/model".
func (m *Model) Name() string { return m.name }

// trackUsage reports whether chunks carry usage.
func (m *Model) trackUsage() bool { return m.cfg.TrackUsage == nil || *m.cfg.TrackUsage }

// decoder turns the events of one answer into chunks.
type decoder interface {
	// event reads one event. done says that the provider has ended the answer.
	event(data []byte, yield func(model.Chunk) error) (done bool, err error)
	// complete reports whether the answer may end here without its last word.
	complete() bool
	// finish hands out what had to wait for the end.
	finish(yield func(model.Chunk) error) error
}

// Stream makes the call, and makes it again while nothing of an answer has been
// handed out and the failure may pass.
func (m *Model) Stream(ctx context.Context, req model.Request, yield func(model.Chunk) error) error {
	if err := model.Interrupted(ctx); err != nil {
		return err
	}
	body, err := m.body(&req)
	if err != nil {
		return err
	}
	return model.Retry(ctx, m.cfg.MaxRetries, yield, func(yield func(model.Chunk) error) error {
		return m.attempt(ctx, body, yield)
	})
}

func (m *Model) body(req *model.Request) ([]byte, error) {
	if m.set.api == responsesAPI {
		return m.responsesRequest(req)
	}
	return m.chatRequest(req)
}

func (m *Model) decoder() decoder {
	if m.set.api == responsesAPI {
		return newResponsesDecoder(m)
	}
	return newChatDecoder(m)
}

func (m *Model) attempt(ctx context.Context, body []byte, yield func(model.Chunk) error) error {
	ctx, watch := model.WatchIdle(ctx, m.cfg.IdleTimeout)
	defer watch.Stop()

	var res *http.Response
	watch.Wait()
	err := m.client.Post(ctx, m.set.path, body, &res)
	watch.Arrived()
	if err != nil {
		return m.callError(ctx, watch, err)
	}
	// Closing a body that has not been read to its end closes the connection (or,
	// in HTTP/2, resets the stream) before Close returns.
	defer res.Body.Close()

	stream := watch.Reader(res.Body)
	if t := res.Header.Get("Content-Type"); strings.HasPrefix(t, "application/json") || strings.HasPrefix(t, "text/html") {
		return m.notAStream(ctx, watch, stream)
	}
	events := model.NewEventReader(stream, model.MaxEvent)
	dec := m.decoder()
	for {
		_, data, err := events.Next()
		if err != nil {
			if err := m.readError(ctx, watch, dec, err); err != nil {
				return err
			}
			return dec.finish(yield)
		}
		if len(data) == 0 {
			continue // a sign of life
		}
		done, err := dec.event(data, yield)
		switch {
		case err == nil:
		case events.Truncated() && errors.Is(err, errGarbage):
			return m.cut(io.ErrUnexpectedEOF)
		default:
			return err
		}
		if done {
			if err := dec.finish(yield); err != nil {
				return err
			}
			drain(stream, watch)
			return nil
		}
		if err := model.Interrupted(ctx); err != nil {
			return err
		}
	}
}

// drainTime is how long the end of a connection's answer may take after the
// end of the stream, so that the connection can serve the next call.
const drainTime = 50 * time.Millisecond

func drain(stream io.Reader, watch *model.IdleWatch) {
	t := time.AfterFunc(drainTime, watch.Stop)
	defer t.Stop()
	// What comes after the last event matters to nobody, nor does an error here:
	// the connection is then closed instead of kept.
	_, _ = io.CopyN(io.Discard, stream, 4<<10)
}

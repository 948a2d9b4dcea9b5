package openai

import (
	"context"
	"net/http"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/holdfast-run/holdfast/internal/model"
)

// Options are what the program, not the agent file, decides.
type Options struct {
	// HTTPClient makes the calls. Its Timeout must be 0, or it cuts long answers;
	// Config.IdleTimeout watches instead. It is where a deployment refuses
	// addresses. Redirects are not followed. Default: http.DefaultClient.
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
	m := &Model{cfg: cfg, name: cfg.Provider + "/" + cfg.Model, set: set}
	// Not sdk.NewClient: it would read keys, URLs and headers from the environment
	// of the process, which belongs to no tenant.
	m.client = sdk.Client{Options: []option.RequestOption{
		option.WithBaseURL(set.baseURL),
		option.WithHTTPClient(model.StayOnOrigin(opt.HTTPClient)),
		option.WithMaxRetries(0), // model.Retry knows what has been handed out
		option.WithHeader("User-Agent", "Holdfast"),
		option.WithHeader("Accept", "text/event-stream"),
		option.WithHeaderDel("X-Stainless-Retry-Count"),
		option.WithMiddleware(func(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
			// The SDK would read an error's body without a bound and understands only
			// OpenAI's own form.
			return model.RefuseErrors(next(req))
		}),
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
		x := model.Exchange{
			Provider: m.cfg.Provider, IdleTimeout: m.cfg.IdleTimeout, Classify: m.failure, Decoder: m.decoder(),
			Send: func(ctx context.Context) (*http.Response, error) {
				var res *http.Response
				err := m.client.Post(ctx, m.set.path, body, &res)
				return res, err
			},
		}
		return x.Run(ctx, yield)
	})
}

func (m *Model) body(req *model.Request) ([]byte, error) {
	if m.set.api == responsesAPI {
		return m.responsesRequest(req)
	}
	return m.chatRequest(req)
}

func (m *Model) decoder() model.WholeDecoder {
	if m.set.api == responsesAPI {
		return newResponsesDecoder(m)
	}
	return newChatDecoder(m)
}

package anthropic

import (
	"context"
	"net/http"
	"strings"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/holdfast-run/holdfast/internal/model"
)

// Options are what the program, not the agent file, decides.
type Options struct {
	// HTTPClient makes the calls. Its Timeout must be 0, or it cuts long answers;
	// Config.IdleTimeout watches instead. It is where a deployment refuses
	// addresses. Redirects are not followed. Default: http.DefaultClient.
	HTTPClient *http.Client
}

// Model is a model behind the Messages API.
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
	set, err := check(&cfg)
	if err != nil {
		return nil, err
	}
	m := &Model{cfg: cfg, name: cfg.Provider + "/" + cfg.Model, set: set}
	// Not sdk.NewClient: it would read keys, URLs, headers and profiles from the
	// environment of the process, which belongs to no tenant.
	m.client = sdk.Client{Options: []option.RequestOption{
		option.WithBaseURL(set.baseURL + "/"),
		option.WithHTTPClient(model.StayOnOrigin(opt.HTTPClient)),
		option.WithMaxRetries(0), // model.Retry knows what has been handed out
		option.WithoutOpenTelemetry(),
		option.WithOpenTelemetryPropagation(false),
		option.WithHeader("User-Agent", "Holdfast"),
		option.WithHeader("Accept", "text/event-stream"),
		option.WithHeaderDel("X-Stainless-Retry-Count"),
		option.WithMiddleware(func(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
			// The SDK would read an error's body without a bound.
			return model.RefuseErrors(next(req))
		}),
	}}
	add := func(o option.RequestOption) { m.client.Options = append(m.client.Options, o) }
	for k, v := range set.headers {
		add(option.WithHeader(k, v))
	}
	switch {
	case cfg.APIKey == "":
	case set.bearer:
		add(option.WithHeader("Authorization", "Bearer "+cfg.APIKey))
	default:
		add(option.WithHeader("X-Api-Key", cfg.APIKey))
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
	body, betas, err := m.request(&req)
	if err != nil {
		return err
	}
	var opts []option.RequestOption
	if len(betas) > 0 {
		opts = append(opts, option.WithHeader("Anthropic-Beta", strings.Join(betas, ",")))
	}
	return model.Retry(ctx, m.cfg.MaxRetries, yield, func(yield func(model.Chunk) error) error {
		x := model.Exchange{
			Provider: m.cfg.Provider, IdleTimeout: m.cfg.IdleTimeout, Classify: m.failure, Decoder: &decoder{m: m},
			Send: func(ctx context.Context) (*http.Response, error) {
				var res *http.Response
				err := m.client.Post(ctx, "v1/messages", body, &res, opts...)
				return res, err
			},
		}
		return x.Run(ctx, yield)
	})
}

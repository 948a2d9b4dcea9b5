package gemini

import (
	"bytes"
	"context"
	"net/http"

	"github.com/holdfast-run/holdfast/internal/model"
)

// Options are what the program, not the agent file, decides.
type Options struct {
	// HTTPClient makes the calls. Its Timeout must be 0, or it cuts long answers;
	// Config.IdleTimeout watches instead. It is where a deployment refuses
	// addresses. Redirects are not followed. Default: http.DefaultClient.
	HTTPClient *http.Client
}

// Model is a model behind the Gemini API.
type Model struct {
	cfg    model.Config
	name   string
	set    *settings
	client *http.Client
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
	return &Model{
		cfg: cfg, name: cfg.Provider + "/" + cfg.Model, set: set, client: model.StayOnOrigin(opt.HTTPClient),
	}, nil
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
	body, err := m.request(&req)
	if err != nil {
		return err
	}
	return model.Retry(ctx, m.cfg.MaxRetries, yield, func(yield func(model.Chunk) error) error {
		x := model.Exchange{
			Provider: m.cfg.Provider, IdleTimeout: m.cfg.IdleTimeout, Classify: m.failure,
			Decoder: &decoder{m: m, seed: [][]byte{[]byte(req.IdempotencyKey), body}},
			Send:    func(ctx context.Context) (*http.Response, error) { return m.send(ctx, body) },
		}
		return x.Run(ctx, yield)
	})
}

func (m *Model) send(ctx context.Context, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.set.url, bytes.NewReader(body))
	if err != nil {
		return nil, m.cfg.Invalid("base_url and the model's name make no address")
	}
	for k, v := range m.set.headers {
		req.Header.Set(k, v)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "Holdfast")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	if m.cfg.APIKey != "" {
		// Never in the address, where proxies and errors show it.
		req.Header.Set("X-Goog-Api-Key", m.cfg.APIKey)
	}
	return model.RefuseErrors(m.client.Do(req))
}

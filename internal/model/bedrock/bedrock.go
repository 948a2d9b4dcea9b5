package bedrock

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// Credentials are an access key of AWS.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // of temporary credentials, "" for others
}

func (c Credentials) complete() bool { return c.AccessKeyID != "" && c.SecretAccessKey != "" }

// Options are what the program, not the agent file, decides.
type Options struct {
	// HTTPClient makes the calls. Its Timeout must be 0, or it cuts long answers;
	// Config.IdleTimeout watches instead. It is where a deployment refuses
	// addresses. Redirects are not followed. Default: http.DefaultClient.
	HTTPClient *http.Client
	// Credentials sign the calls if Config has no API key. They come from the
	// tenant's secrets.
	Credentials Credentials
}

// Model is a model behind ConverseStream.
type Model struct {
	cfg    model.Config
	name   string
	set    *settings
	keys   Credentials
	client *http.Client
	signer *v4.Signer
}

var _ model.Model = (*Model)(nil)

// New checks cfg and returns its model. It makes no call. It fails with
// CodeInvalid for a configuration that cannot work and with CodeModelAuth if
// there are no credentials.
func New(cfg model.Config, opt Options) (*Model, error) {
	set, err := check(&cfg, &opt)
	if err != nil {
		return nil, err
	}
	return &Model{
		cfg: cfg, name: cfg.Provider + "/" + cfg.Model, set: set, keys: opt.Credentials,
		client: model.StayOnOrigin(opt.HTTPClient), signer: v4.NewSigner(),
	}, nil
}

// Name is "provider/model".
func (m *Model) Name() string { return m.name }

// trackUsage reports whether chunks carry usage.
func (m *Model) trackUsage() bool { return m.cfg.TrackUsage == nil || *m.cfg.TrackUsage }

// secrets must not appear in what is shown.
func (m *Model) secrets() []string {
	return []string{m.cfg.APIKey, m.keys.SecretAccessKey, m.keys.SessionToken, m.keys.AccessKeyID}
}

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
			Provider: m.cfg.Provider, IdleTimeout: m.cfg.IdleTimeout, Classify: m.failure, Decoder: &decoder{m: m},
			Events: func(r io.Reader) model.EventSource { return newFrames(r) },
			Send:   func(ctx context.Context) (*http.Response, error) { return m.send(ctx, body) },
		}
		return x.Run(ctx, yield)
	})
}

func (m *Model) send(ctx context.Context, body []byte) (*http.Response, error) {
	u := *m.set.url
	req := (&http.Request{
		Method: http.MethodPost, URL: &u, Host: u.Host, Header: http.Header{}, ContentLength: int64(len(body)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body:    io.NopCloser(bytes.NewReader(body)),
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}).WithContext(ctx)
	for k, v := range m.set.headers {
		req.Header.Set(k, v)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "Holdfast")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/vnd.amazon.eventstream")
	switch {
	case m.cfg.APIKey != "":
		req.Header.Set("Authorization", "Bearer "+m.cfg.APIKey)
	case m.keys.complete():
		sum := sha256.Sum256(body)
		keys := aws.Credentials{AccessKeyID: m.keys.AccessKeyID, SecretAccessKey: m.keys.SecretAccessKey, SessionToken: m.keys.SessionToken}
		if err := m.signer.SignHTTP(ctx, keys, req, hex.EncodeToString(sum[:]), "bedrock", m.set.region, time.Now()); err != nil {
			return nil, holdfast.WrapError(holdfast.CodeModelAuth, err, m.cfg.Provider+": the request cannot be signed")
		}
	}
	return model.RefuseErrors(m.client.Do(req))
}

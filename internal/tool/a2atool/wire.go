package a2atool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/google/uuid"

	"github.com/holdfast-run/holdfast/internal/a2awire"
	"github.com/holdfast-run/holdfast/internal/model"
)

// wire speaks JSON-RPC over HTTP to one agent.
type wire struct {
	http    http.Client
	release func()
	headers map[string]string
	home    *url.URL // where the card is
	agent   string   // User-Agent
}

// rpcError is what an agent answers instead of a result.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%s (code %d)", e.Message, e.Code) }

// statusError is an answer that is none of the protocol.
type statusError struct {
	status   int
	location string
}

func (e *statusError) Error() string {
	switch {
	case e.status == http.StatusUnauthorized || e.status == http.StatusForbidden:
		return fmt.Sprintf("the agent wants other credentials (HTTP %d); the agent file gives them under `headers`", e.status)
	case e.status >= 300 && e.status < 400:
		return fmt.Sprintf("the agent redirects to %q, which is refused (HTTP %d)", e.location, e.status)
	}
	return fmt.Sprintf("the agent answered HTTP %d", e.status)
}

// do sends a request and returns an answer with status 200, whose body has to be
// closed.
func (w *wire) do(ctx context.Context, method string, to *url.URL, version string, body []byte, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", w.agent)
	req.Header.Set("Accept", accept)
	if version != "" {
		req.Header.Set(a2awire.VersionHeader, version)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if to.Scheme == "https" || to.Scheme == w.home.Scheme && to.Host == w.home.Host {
		for name, value := range w.headers {
			req.Header.Set(name, value)
		}
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // the status says it
		return nil, &statusError{resp.StatusCode, resp.Header.Get("Location")}
	}
	return resp, nil
}

// card reads the agent's card, and where and how the agent is spoken to.
func (w *wire) card(ctx context.Context) (*card, peer, error) {
	places := []string{"/.well-known/agent-card.json", "/.well-known/agent.json"} // the second before 0.3
	if strings.HasSuffix(w.home.Path, ".json") {
		places = []string{""}
	}
	var resp *http.Response
	var err error
	for _, place := range places {
		at := *w.home
		at.Path, at.RawPath = strings.TrimSuffix(at.Path, "/")+place, ""
		var status *statusError
		if resp, err = w.do(ctx, http.MethodGet, &at, a2awire.Version, nil, "application/json"); err == nil {
			break
		} else if !errors.As(err, &status) || status.status != http.StatusNotFound {
			return nil, peer{}, err
		}
	}
	if err != nil {
		return nil, peer{}, errors.New("there is no card of an agent at this URL")
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := readAll(resp.Body, maxCard)
	if err != nil {
		return nil, peer{}, err
	}
	var c card
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, peer{}, errors.New("the card of the agent cannot be read")
	}
	p, err := c.peer()
	return &c, p, err
}

var errTooLong = fmt.Errorf("a message of the agent has more than %d bytes", MaxMessage)

func readAll(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if int64(len(raw)) > limit {
		return nil, errTooLong
	}
	return raw, nil
}

func encode(method string, params any) ([]byte, error) {
	return json.Marshal(struct {
		JSONRPC string `json:"jsonrpc"`
		ID      string `json:"id"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
	}{"2.0", uuid.NewString(), method, params})
}

// decode returns the event of an answer.
func (p peer) decode(o op, raw []byte) (a2a.Event, error) {
	var resp struct {
		Result json.RawMessage `json:"result"`
		Error  *rpcError       `json:"error"`
	}
	if err := json.Unmarshal(raw, &resp); err != nil {
		return nil, errors.New("the agent answered what is no JSON-RPC")
	}
	if resp.Error != nil {
		return nil, resp.Error
	}
	event, err := p.dialect.event(o, resp.Result)
	if err != nil {
		return nil, fmt.Errorf("the agent answered what cannot be read: %w", err)
	}
	return event, nil
}

// ask makes a request with one answer.
func (w *wire) ask(ctx context.Context, to peer, o op, params any) (a2a.Event, error) {
	body, err := encode(to.dialect.methods[o], to.dialect.params(params, to.tenant))
	if err != nil {
		return nil, err
	}
	resp, err := w.do(ctx, http.MethodPost, to.url, to.dialect.version, body, "application/json")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := readAll(resp.Body, MaxMessage)
	if err != nil {
		return nil, err
	}
	return to.decode(o, raw)
}

// stream makes a request whose answer is a stream of events. An agent that
// answers with one event all the same is understood.
func (w *wire) stream(ctx context.Context, to peer, params any) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		body, err := encode(to.dialect.methods[opStream], to.dialect.params(params, to.tenant))
		if err != nil {
			yield(nil, err)
			return
		}
		resp, err := w.do(ctx, http.MethodPost, to.url, to.dialect.version, body, "text/event-stream, application/json;q=0.5")
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
			raw, err := readAll(resp.Body, MaxMessage)
			if err != nil {
				yield(nil, err)
				return
			}
			yield(to.decode(opStream, raw))
			return
		}
		for events := model.NewEventReader(resp.Body, MaxMessage); ; {
			_, data, err := events.Next()
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.Is(err, model.ErrEventTooLong):
				err = errTooLong
			}
			if err != nil {
				yield(nil, err)
				return
			}
			event, err := to.decode(opStream, data)
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Package a2atool makes an agent that speaks the A2A protocol (1.0 or 0.3, over
// JSON-RPC) a [tool.Toolset] of one tool: ask it something, get its answer.
//
// The agent's card says which version it speaks. Of an agent that speaks both, 1.0
// is taken. What they have in common is all that is known here but for one file,
// dialect.go.
//
// # Calls
//
// The agent's card is read before the first call, from
// /.well-known/agent-card.json below the URL, or from the URL itself if that
// names a JSON file. A call sends one message and waits for the end of the task
// that it begins: over a stream if the agent offers streams, whose words come out
// as progress, else by asking again. A stream that breaks off while the task goes
// on is followed by asking too. A canceled call cancels the task.
//
// # Conversations
//
// The session keeps the agent's context, so that its next call goes on with the
// same conversation. An agent that needs an answer (input-required) gives its
// question to the model, together with the id of the task; a call with that
// task_id answers it. The model may know the answer, or ask its own user.
//
// The message's id is made of the call's idempotency key and so is the same for
// all attempts: an agent may tell doubled messages by it (A2A 1.0 section 3.3.1). None
// has to, so a call whose outcome was lost is not repeated by itself.
//
// # Bounds and trust
//
// A call ends after [Options.CallTimeout]. Of a card [maxCard] bytes are read, of
// an answer or an event of a stream [MaxMessage]. The card names the URL that
// messages go to. The headers of the configuration, which may hold secrets, go
// there too, but without TLS only to the card's own origin. Redirects are refused.
//
// The types are those of the protocol's SDK of 0.3; its client is not used, because it
// loses the status of a refusal, takes no event longer than 64 KiB and reads
// answers of any length.
package a2atool

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// MaxMessage is the most bytes of an answer, or of one event of a stream.
	MaxMessage = 16 << 20
	// maxCard is the most bytes of an agent's card.
	maxCard = 1 << 20
	// cardAge is how old a card may be before it is read again.
	cardAge = time.Hour

	defaultCallTimeout = 10 * time.Minute
	cardTimeout        = 30 * time.Second
	cancelTimeout      = 5 * time.Second
	minPoll            = 250 * time.Millisecond
	maxPoll            = 5 * time.Second
)

// Config says which agent.
type Config struct {
	// URL is where the agent's card is, or the address above it. Required.
	URL string
	// Name is the name of the toolset; "" is the URL.
	Name string
	// Headers go with every request.
	Headers map[string]string
}

// Options are the deployment's. The zero value works.
type Options struct {
	// Transport carries the requests; it is the place of the guard of outgoing
	// connections. nil means tool.NewTransport().
	Transport http.RoundTripper
	// CallTimeout bounds a call; 0 is 10 minutes: agents take their time.
	CallTimeout time.Duration
	// Logger gets what an operator may want to know; nil discards.
	Logger *slog.Logger
	// Version is what the User-Agent says; "" is "dev".
	Version string
}

var reservedHeaders = []string{"Accept", "Connection", "Content-Length", "Content-Type", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// New returns the toolset of an agent, which is not asked anything yet. The error
// has the code invalid.
func New(cfg Config, o Options) (*Toolset, error) {
	invalid := func(format string, args ...any) (*Toolset, error) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "A2A agent %q: "+format, append([]any{cmp.Or(cfg.Name, cfg.URL)}, args...)...)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return invalid("the URL must be an absolute one with http or https")
	}
	if u.User != nil {
		return invalid("the URL holds a user or a password; use a header")
	}
	for name := range cfg.Headers {
		if slices.Contains(reservedHeaders, textproto.CanonicalMIMEHeaderKey(name)) {
			return invalid("the header %q cannot be set", name)
		}
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = defaultCallTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &wire{home: u, headers: cfg.Headers, agent: "holdfast/" + cmp.Or(o.Version, "dev"), release: func() {}}
	c.http.Transport = o.Transport
	if o.Transport == nil {
		own := tool.NewTransport()
		c.http.Transport, c.release = own, own.CloseIdleConnections
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Toolset{name: cmp.Or(cfg.Name, cfg.URL), given: cfg.Name, opts: o, wire: c, reading: make(chan struct{}, 1)}, nil
}

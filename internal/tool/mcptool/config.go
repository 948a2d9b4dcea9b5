// Package mcptool makes an MCP server a [tool.Toolset]: by command (stdio) or by
// URL (streamable HTTP, or the older HTTP with SSE), over the client of mcp-go.
//
// # Life
//
// Nothing starts before the first Tools or Call. A server that ends, or breaks
// the protocol, fails the calls in flight with an error result and is started
// again by the next call, after a pause that grows with each failure in a row.
// Close ends everything: a command gets its standard input closed, then SIGTERM,
// then SIGKILL, each for its whole process group.
//
// # Bounds
//
// A call ends after [Options.CallTimeout] at the latest, and the server is told
// to stop (notifications/cancelled, or the end of the request's stream where the
// protocol says so). No message of a server may be longer than [MaxMessage]; one
// that sends more, or floods with what nobody asked for, is cut off. Outputs are
// at most [tool.MaxOutput].
//
// # Trust
//
// A server says about its tools what it likes: readOnlyHint makes a tool run
// without approval, idempotentHint makes it run again after a crash, because
// whoever wrote the agent file chose the server. What a server asks of us
// (sampling, roots) is declined, and questions to the user (elicitation) are asked:
// while the call goes on ([tool.Call] Elicit) where the protocol holds it open, else
// as [tool.InputRequired]. A command sees the environment of
// its configuration and PATH and HOME, never that of the worker. A URL is asked
// at its own origin only; redirects are refused.
//
// # Results
//
// Text is joined to the output, embedded text resources with it. Images, audio,
// links and blobs leave a line that names them in the output and go whole to
// Meta: {"content": […], "structuredContent": …}.
//
// # Prompts and resources
//
// A server that declares them gets tools that list and read them, read-only:
// list_prompts_of_NAME, get_prompt_of_NAME, list_resources_of_NAME,
// list_resource_templates_of_NAME, read_resource_of_NAME. A filter names them so or by
// the request (prompts/list, resources/read, …).
//
// # Revisions
//
// MCP 2024-11-05 to 2026-07-28. The newest (without handshake and sessions) is
// tried first, except over the older HTTP with SSE.
package mcptool

import (
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Values of [Config.Transport].
const (
	TransportStreamable = "streamable"
	TransportSSE        = "sse"
)

// MaxMessage is the most bytes of one message from a server: a line on standard
// output, a JSON body, an event of a stream. It leaves room for a result of
// which tool.MaxOutput is kept, and for images in base64.
const MaxMessage = 16 << 20

// KeyMeta is the key of a call's idempotency key in the _meta of tools/call. It
// is the same for all attempts of the same call.
const KeyMeta = "holdfast.run/idempotency-key"

// Config says which server. Exactly one of Command and URL is set.
type Config struct {
	// Name is the name of the toolset within its agent. Required.
	Name string

	// Command is looked up in the worker's PATH unless it is a path.
	Command string
	Args    []string
	// Env is what the command sees besides PATH and HOME.
	Env map[string]string
	// Dir is where the command runs; "" is where the worker runs.
	Dir string
	// Sandbox runs the command; nil runs it as the worker.
	Sandbox *tool.Sandbox

	// URL is the endpoint, http or https.
	URL string
	// Transport is [TransportStreamable] ("" means that) or [TransportSSE].
	Transport string
	// Headers go with every request to the URL. Those that the protocol itself
	// needs cannot be set.
	Headers map[string]string

	// Prefix, if not "", comes before the names of the server's tools, with a "_"
	// between, so that those of several servers stay apart.
	Prefix string
	// Tools are the names, as the server spells them or with the prefix, of the tools that exist for
	// the agent, and those for prompts and resources; none means all. A name that the server does not have is no error.
	Tools []string
	// Instruction replaces what the server says of itself for the system prompt.
	Instruction string
}

// Options are the deployment's. The zero value works.
type Options struct {
	// Logger gets what an operator may want to know; nil discards.
	Logger *slog.Logger
	// StartTimeout bounds a start until the server has answered the handshake.
	// 0 means 1 minute: package runners may have to download the server first.
	StartTimeout time.Duration
	// CallTimeout bounds a call after the start, and each listing of tools.
	// 0 means 2 minutes.
	CallTimeout time.Duration
	// ListAge is how long a list of tools is good if the server does not say that it
	// changed. One that never says so may name a shorter time. 0 means 10 minutes.
	ListAge time.Duration
	// InheritEnv hands the whole environment of the worker to commands. For
	// development on one's own machine only.
	InheritEnv bool
	// RoundTripper carries the requests to URLs. It is the place for
	// authorization and for the guard of outgoing connections: it sees every
	// request and every 401. An error that it returns reaches the caller of Tools
	// and Call through errors.As. nil means a transport of the toolset's own,
	// without a proxy, whose 401 becomes a *tool.AuthorizationError.
	RoundTripper http.RoundTripper
	// Version is what the client says of itself; "" is "dev".
	Version string
}

const (
	defaultStartTimeout = time.Minute
	defaultCallTimeout  = 2 * time.Minute
	defaultListAge      = 10 * time.Minute
)

// reservedHeaders belong to the protocol or to net/http.
var reservedHeaders = []string{
	"Accept", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Host", "Last-Event-Id",
	"Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// validate returns the parsed URL, nil for a command.
func (c *Config) validate() (*url.URL, error) {
	invalid := func(format string, args ...any) (*url.URL, error) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "MCP server %q: "+format, append([]any{c.Name}, args...)...)
	}
	switch {
	case c.Name == "":
		return invalid("it has no name")
	case c.Command == "" && c.URL == "":
		return invalid("it needs a command or a URL")
	case c.Command != "" && c.URL != "":
		return invalid("it has a command and a URL; one is enough")
	case c.Command != "" && (c.Transport != "" || len(c.Headers) > 0):
		return invalid("a transport and headers go with a URL, not with a command")
	case c.URL != "" && (len(c.Args) > 0 || len(c.Env) > 0 || c.Dir != ""):
		return invalid("arguments, environment and directory go with a command, not with a URL")
	}
	if c.Command != "" {
		return nil, nil
	}
	if c.Transport != "" && c.Transport != TransportStreamable && c.Transport != TransportSSE {
		return invalid("the transport %q does not exist; use %q or %q", c.Transport, TransportStreamable, TransportSSE)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return invalid("the URL must be an absolute one with http or https")
	}
	if u.User != nil {
		return invalid("the URL holds a user or a password; use a header")
	}
	for name := range c.Headers {
		if slices.Contains(reservedHeaders, textproto.CanonicalMIMEHeaderKey(name)) {
			return invalid("the header %q cannot be set", name)
		}
	}
	return u, nil
}

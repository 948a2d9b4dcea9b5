// Package httptool makes HTTP endpoints tools: one that an agent file describes
// ([NewAPI]), or the operations of an OpenAPI document ([NewOpenAPI]).
//
// # Calls
//
// A call is one request. GET, HEAD and OPTIONS count as reading, PUT and DELETE
// as idempotent (RFC 9110 section 9.2), POST and PATCH as what may change
// something each time. What may change something carries the call's idempotency
// key in the header Idempotency-Key, the same for all attempts, unless the
// configuration sets that header itself. An answer with a status of 400 and above
// is an error result that the model reads, with the answer's text.
//
// # Bounds
//
// A call ends after [Options.Timeout]. Of an answer tool.MaxOutput bytes are
// kept, of a document [MaxDocument] are read, and at most [MaxOperations] of its
// operations become tools.
//
// # Trust
//
// Arguments come from a model. They never change scheme or host of a request, a
// path segment of their own cannot climb ("..", and slashes are escaped), and
// headers take no line ends. Redirects are followed only by what reads, and only
// within the origin.
//
// Headers of the configuration, which may hold secrets, go where the agent file
// says: to the endpoint, or to the document and to the servers that the document
// names, for its author wired the document. They do not leave the document's
// origin without TLS. Which addresses may be reached at all is the concern of the
// RoundTripper that the deployment brings.
package httptool

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// Options are the deployment's. The zero value works.
type Options struct {
	// Transport carries the requests; it is the place of the guard of outgoing
	// connections. nil means tool.NewTransport().
	Transport http.RoundTripper
	// Timeout bounds a call, and the reading of a document; 0 is 1 minute.
	Timeout time.Duration
	// Version is what the User-Agent says; "" is "dev".
	Version string
}

// operation is one tool: how it looks and how its arguments become a request.
type operation struct {
	def tool.Definition
	// build makes the request. Its error is for the model.
	build func(args map[string]json.RawMessage) (*request, error)
}

// Toolset is a list of HTTP operations.
type Toolset struct {
	name   string
	client *client
	// load makes the list. It is asked again after an error, and after what it
	// returned is older than documentAge.
	load func(ctx context.Context) ([]operation, error)

	loading chan struct{} // holds a token while somebody loads

	mu       sync.Mutex
	ops      []operation
	loadedAt time.Time
	fixed    bool // the list never changes
}

var _ tool.Toolset = (*Toolset)(nil)

// Name implements [tool.Toolset].
func (t *Toolset) Name() string { return t.name }

// Instructions implements [tool.Toolset]: there are none.
func (t *Toolset) Instructions() string { return "" }

// Tools implements [tool.Toolset].
func (t *Toolset) Tools(ctx context.Context) ([]tool.Definition, error) {
	ops, err := t.operations(ctx)
	if err != nil {
		return nil, err
	}
	defs := make([]tool.Definition, len(ops))
	for i := range ops {
		defs[i] = ops[i].def
	}
	return defs, nil
}

// operations returns the list, loading it unless it is known and fresh. A list
// that is only too old still serves when it cannot be had anew.
func (t *Toolset) operations(ctx context.Context) ([]operation, error) {
	known := func() ([]operation, bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.ops, t.ops != nil && (t.fixed || time.Since(t.loadedAt) < documentAge)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("listing the tools of %s: %w", t.name, err)
	}
	if ops, fresh := known(); fresh {
		return ops, nil
	}
	select {
	case t.loading <- struct{}{}:
		defer func() { <-t.loading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("listing the tools of %s: %w", t.name, ctx.Err())
	}
	old, fresh := known()
	if fresh {
		return old, nil // somebody else was quicker
	}
	ops, err := t.load(ctx)
	if err != nil && (old == nil || ctx.Err() != nil) {
		return nil, err
	}
	if err != nil {
		ops = old
	}
	t.mu.Lock()
	t.ops, t.loadedAt = ops, time.Now()
	t.mu.Unlock()
	return ops, nil
}

// Call implements [tool.Toolset]. Its only Go error is that of a canceled
// context.
func (t *Toolset) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if err := ctx.Err(); err != nil {
		return tool.Result{}, fmt.Errorf("calling %s: %w", c.Name, err)
	}
	args := map[string]json.RawMessage{}
	if strings.TrimSpace(c.Arguments) != "" {
		if err := json.Unmarshal([]byte(c.Arguments), &args); err != nil || args == nil {
			return tool.ErrorResult(fmt.Sprintf("The arguments of %s are no JSON object.", c.Name)), nil
		}
	}
	ops, err := t.operations(ctx)
	if ctx.Err() != nil {
		return tool.Result{}, fmt.Errorf("calling %s: %w", c.Name, ctx.Err())
	}
	if err != nil {
		return tool.ErrorResult(fmt.Sprintf("The tool %s cannot be used: %v.", c.Name, err)), nil
	}
	for i := range ops {
		if ops[i].def.Name != c.Name {
			continue
		}
		r, err := ops[i].build(args)
		if err != nil {
			return tool.ErrorResult(fmt.Sprintf("The arguments of %s cannot be used: %v.", c.Name, err)), nil
		}
		if ops[i].def.Effect != tool.EffectReadOnly {
			r.key = c.IdempotencyKey
		}
		return t.client.call(ctx, r)
	}
	return tool.ErrorResult(fmt.Sprintf("There is no tool %q in the toolset %q.", c.Name, t.name)), nil
}

// Close implements [tool.Toolset].
func (t *Toolset) Close() error {
	t.client.close()
	return nil
}

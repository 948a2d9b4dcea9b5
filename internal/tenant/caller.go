package tenant

import "context"

// Default is the tenant of every request where no keys are configured.
const Default = "default"

// Caller is who makes a request.
type Caller struct {
	Tenant string
	// Key identifies the API key in logs: the first eight hex digits of its SHA-256,
	// "" if none was needed.
	Key string
	// Operator says that it is the operator of the deployment and no tenant: Tenant is
	// then "".
	Operator bool
}

type callerKey struct{}

// With returns a context that carries the caller.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From returns the caller that [With] put into the context; false if there is
// none, which means that nobody checked any credentials.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

package tool

import "context"

type userKey struct{}

// WithUser returns a context that says on whose behalf a toolset is built: the
// session's user, "" for the one user of a tenant without users.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// UserOf returns what [WithUser] put into the context, "" if nothing.
func UserOf(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}

package model

import (
	"context"
	"errors"

	holdfast "github.com/holdfast-run/holdfast"
)

// Interrupted returns nil while ctx goes on, and otherwise the error with which
// an adapter leaves Stream: CodeTimeout when the caller's deadline passed,
// CodeCanceled for every other end. The cause of the context is wrapped, so
// that errors.Is finds it.
func Interrupted(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if !errors.Is(cause, err) {
		cause = errors.Join(err, cause)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return holdfast.WrapError(holdfast.CodeTimeout, cause, "the model call took longer than allowed")
	}
	return holdfast.WrapError(holdfast.CodeCanceled, cause, "the model call was canceled")
}

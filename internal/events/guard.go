package events

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Guard runs fn and makes an error of its panic, [ErrPanicked], which it also says
// in the log, with the stack. It is for loops that serve many: what panicked is
// tried again like anything that failed, and everything else goes on.
func Guard(log *slog.Logger, in string, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error("panic", "in", in, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("%s: %w: %v", in, ErrPanicked, r)
		}
	}()
	return fn()
}

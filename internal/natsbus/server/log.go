package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
)

// levelServerDebug is where nats-server's own debug lines go: under our debug
// level, because they come per connection and per raft step.
const levelServerDebug = slog.LevelDebug - 4

// logger hands nats-server's log lines to slog and remembers the first fatal
// one instead of ending the process.
type logger struct {
	to    *slog.Logger
	first atomic.Pointer[error]
}

func newLogger(to *slog.Logger) *logger {
	if to == nil {
		to = slog.New(slog.DiscardHandler)
	}
	return &logger{to: to.With("component", "nats-server")}
}

func (l *logger) debugEnabled() bool {
	return l.to.Enabled(context.Background(), levelServerDebug)
}

// fatal returns the first fatal error, or nil.
func (l *logger) fatal() error {
	if p := l.first.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *logger) print(level slog.Level, format string, v []any) {
	ctx := context.Background()
	if l.to.Enabled(ctx, level) {
		l.to.Log(ctx, level, fmt.Sprintf(format, v...))
	}
}

func (l *logger) Noticef(format string, v ...any) { l.print(slog.LevelDebug, format, v) }
func (l *logger) Warnf(format string, v ...any)   { l.print(slog.LevelWarn, format, v) }
func (l *logger) Errorf(format string, v ...any)  { l.print(slog.LevelError, format, v) }
func (l *logger) Debugf(format string, v ...any)  { l.print(levelServerDebug, format, v) }
func (l *logger) Tracef(format string, v ...any)  { l.print(levelServerDebug, format, v) }

func (l *logger) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	l.first.CompareAndSwap(nil, &err)
	l.print(slog.LevelError, format, v)
}

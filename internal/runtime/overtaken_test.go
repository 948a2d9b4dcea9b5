package runtime_test

import (
	"context"
	"errors"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// TestDriveOvertaken: another worker has claimed the session before the first one
// has read it. That is a lost session and no failure.
func TestDriveOvertaken(t *testing.T) {
	w := newWorld(t, "")
	session := ref("overtaken")
	w.create(session, &holdfast.SessionCreatedEvent{})
	claim := func(worker string) *events.Writer {
		tail, err := events.ReadTail(t.Context(), w.bus, w.store, session)
		if err != nil {
			t.Fatal(err)
		}
		writer, _, err := events.Claim(t.Context(), w.bus, w.store, session, tail, worker, "command")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := writer.Close(context.Background()); err != nil && !errors.Is(err, events.ErrLost) {
				t.Error(err)
			}
		})
		return writer
	}
	first := claim("first")
	claim("second")
	engine := runtime.NewEngine(runtime.Config{Reader: w.reader, Agents: w.agents, Logger: w.log})
	if err := engine.Drive(t.Context(), first, nil); !errors.Is(err, events.ErrLost) {
		t.Errorf("the worker that lost the session got %v, want %v", err, events.ErrLost)
	}
}

package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

var errLocked = errors.New("the server asks for authorization")

// expiring is an authorizer whose flows have expired when they begin.
type expiring struct {
	mu   sync.Mutex
	anew []bool // of each flow
}

func (*expiring) Server(err error) (url, kind string, ok bool) {
	return "http://effects.test/", "remote", errors.Is(err, errLocked)
}

func (e *expiring) Begin(_ context.Context, r runtime.AuthorizationRequest) (runtime.AuthorizationBegun, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.anew = append(e.anew, r.Anew)
	return runtime.AuthorizationBegun{Flow: fmt.Sprint("flow-", len(e.anew)), URL: "http://start.test/", Expires: time.Now().Add(-time.Second)}, nil
}

func (*expiring) Deliver(context.Context, holdfast.SessionRef, string, []byte) error { return nil }

func (*expiring) Finish(context.Context, holdfast.SessionRef, string, string) (runtime.AuthorizationResult, error) {
	return runtime.AuthorizationResult{}, errors.New("nobody answered")
}

// TestAuthorizationAnew: a flow that expires without any answer is followed by one
// that registers anew.
func TestAuthorizationAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, holding)
	az := &expiring{}
	w.authorizer, w.agents.tools.locked = az, errLocked
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "go", "")
	w.waitParked(s, events.WaitingAuthorization)
	for n := 2; n <= 3; n++ {
		if err := w.send(s, events.KindAuthorize, events.AuthorizeBody{Confirm: true}).Err(); err != nil {
			t.Fatal(err)
		}
		w.wait(s, "another flow", func(events.Envelope) bool {
			az.mu.Lock()
			defer az.mu.Unlock()
			return len(az.anew) == n
		})
		w.waitParked(s, events.WaitingAuthorization)
	}
	if want := []bool{false, true, true}; !slices.Equal(az.anew, want) {
		t.Errorf("flows began anew: %v, want %v", az.anew, want)
	}
}

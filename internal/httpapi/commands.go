package httpapi

import (
	"context"
	"errors"
	"fmt"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/quota"
)

// errPending says that a command is durable and that nobody has said yet what
// became of it.
var errPending = errors.New("the command is stored; its outcome is not known yet")

// request sends a command and returns the answer of the session's owner. A
// refusal is an error with the owner's code; errPending means that the command
// is stored and that the log will tell.
func (a *API) request(ctx context.Context, c events.Command) (events.Answer, error) {
	c.Trace = traceOf(ctx)
	// Whether the command is stored must not depend on the client's patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.AnswerWait)
	defer cancel()
	ans, err := a.cfg.Commands.Request(ctx, c)
	if err != nil && quotaOf(err) != nil && a.askedBefore(ctx, c) {
		ans, err = a.cfg.Commands.Request(quota.Admitted(ctx), c) // it gets the answer that it got then
	}
	switch {
	case holdfast.CodeOf(err) == holdfast.CodeTimeout, err == nil && ans.Code == holdfast.CodeTimeout:
		return events.Answer{}, errPending
	case err != nil:
		return events.Answer{}, unavailable(fmt.Errorf("send %s to %s: %w", c.Kind, c.Session, err))
	}
	return ans, ans.Err()
}

// commandID is the id of a command, the same for the same Idempotency-Key in the
// same session, "" (a new one) without a key.
func commandID(ref holdfast.SessionRef, what, key string) string {
	if key == "" {
		return ""
	}
	return holdfast.DeriveID(ref.Tenant, ref.Session, what, key)
}

// maxKey is the most bytes of an Idempotency-Key.
const maxKey = 255

// checkKey refuses a key that is too long.
func checkKey(key string) error {
	if len(key) > maxKey {
		return holdfast.Errorf(holdfast.CodeInvalid, "Idempotency-Key: longer than %d characters", maxKey)
	}
	return nil
}

// runRequest is a run as both kinds of routes ask for it.
type runRequest struct {
	ref         holdfast.SessionRef
	agent       string
	agentInFile string
	messages    []holdfast.Message
	mode        string
	history     bool
	key         string
	fresh       bool // no request had the key before
}

// command makes the command of a run whose agent is known.
func (q runRequest) command() (c events.Command, run string, err error) {
	run = holdfast.NewID()
	if q.key != "" {
		run = holdfast.DeriveID(q.ref.Tenant, q.ref.Session, "run-id", q.key)
	}
	c, err = events.NewCommand(q.ref, events.KindRun, commandID(q.ref, "run", q.key), events.RunBody{
		Run: run, Agent: q.agent, AgentInFile: q.agentInFile, Messages: q.messages, Mode: q.mode, History: q.history,
	})
	return c, run, err
}

// deleteCommand asks for the end of a session.
func deleteCommand(ref holdfast.SessionRef, key string) (events.Command, error) {
	return events.NewCommand(ref, events.KindDelete, commandID(ref, events.KindDelete, key), nil)
}

// createOnce creates a session, once for the same key: with a key that was used
// before it returns what the key made then. id "" is a new one.
func (a *API) createOnce(ctx context.Context, id, key string, ev *holdfast.SessionCreatedEvent) (v *View, created bool, err error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: id}
	switch {
	case id == "" && key == "":
		ref.Session = holdfast.NewID()
	case id == "":
		ref.Session = holdfast.DeriveID(ref.Tenant, "session", key)
	}
	if key != "" {
		ev.Command = holdfast.DeriveID(ref.Tenant, "session-command", key)
	}
	v, err = a.create(ctx, ref, id == "" && key == "", ev)
	if !errors.Is(err, events.ErrConflict) {
		return v, err == nil, err
	}
	if v, err = a.view(ctx, ref, 0); err != nil {
		if errors.Is(err, errDeleted) {
			err = holdfast.Errorf(holdfast.CodeGone, "session %s was deleted; take another id or key", ref.Session)
		}
		return nil, false, err
	}
	switch {
	case v.Created != nil && v.Created.Command == ev.Command && sameCreation(v.Created, ev) && key != "":
		return v, false, nil
	case key != "" && v.Created != nil && v.Created.Command == ev.Command:
		return nil, false, holdfast.Errorf(holdfast.CodeKeyReused, "the Idempotency-Key was used before with another body")
	}
	return nil, false, holdfast.Errorf(holdfast.CodeConflict, "there is a session %s already", ref.Session)
}

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// run starts a run and streams its events until it has finished. The stream is a
// reading of the log and nothing else: the run goes on without it, and the same
// request finds the run again.
func (l legacyAPI) run(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	body, err := readBody(w, r, l.cfg.MaxBody)
	if err != nil {
		return err
	}
	input, err := runInput(body)
	if err != nil {
		return err
	}
	q := runRequest{
		ref: l.ref(r), agentInFile: r.PathValue("agent_name"), key: r.Header.Get("Idempotency-Key"),
		history: true, // these clients send what they have sent before once more
	}
	said := ofUser(input)
	if len(said) == 0 && len(input) > 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "messages: none of them is a text of the user")
	}
	if q.messages, err = userMessages(said); err != nil {
		return err
	}
	if err := checkKey(q.key); err != nil {
		return err
	}
	if err := q.ref.Validate(); err != nil {
		return err
	}
	info, err := l.usableAgent(ctx, r.PathValue("agent"))
	if err != nil {
		return err
	}
	q.agent = info.Name
	if err := l.ensure(ctx, q.ref); err != nil {
		return err
	}
	c, run, err := q.command()
	if err != nil {
		return err
	}
	out := &runSink{legacyWire: newLegacyWire(q.ref.Session), ref: q.ref, own: run}
	after := uint64(0)
	ans, err := l.request(ctx, c)
	switch {
	case errors.Is(err, errPending):
		out.command = c.ID // the log will say which run it is
	case err != nil:
		return err
	default:
		out.run = ans.Run
		if ans.Run == run && ans.Seq > 0 {
			after = ans.Seq - 1
		}
	}
	// The feed is opened first: what is wrong with it can still be answered.
	_, release, err := l.hub.open(ctx, q.ref)
	if err != nil {
		return err
	}
	defer release()
	if out.run != "" {
		if after, err = l.ahead(ctx, out, after); err != nil {
			l.logError(ctx, "what a run waits for could not be read", err) // the run itself can be
		}
	}
	if out.wire, err = l.startWire(w, typeSSE, beatSSE); err != nil {
		l.logError(ctx, "a stream could not begin", err)
		return nil
	}
	err = l.hub.stream(ctx, q.ref, after, out)
	if errors.Is(err, errOtherRun) {
		err = l.hub.stream(ctx, q.ref, 0, out)
	}
	if err != nil && ctx.Err() == nil {
		l.logError(ctx, "a stream broke off", err)
	}
	return nil
}

// ahead gives a stream what the run before its own waits for: a client that has not
// delivered a decision, and says something else instead, would see nothing at all of
// a run that has to wait for its turn. It returns where the stream is to begin.
func (l legacyAPI) ahead(ctx context.Context, out *runSink, after uint64) (uint64, error) {
	v, err := l.view(ctx, out.ref, 0)
	if err != nil || v.Info.Run == "" || v.Info.Run == out.run {
		return after, err
	}
	asked := map[uint64]bool{}
	for _, p := range v.Pending {
		asked[p.Seq] = p.Run == v.Info.Run
	}
	for _, q := range v.Questions {
		asked[q.Seq] = q.Run == v.Info.Run
	}
	if len(asked) == 0 {
		return after, nil // it goes on by itself
	}
	out.before, out.asked, out.since = v.Info.Run, asked, v.Info.Head.Seq
	for seq := range asked {
		after = min(after, seq-1)
	}
	return after, nil
}

// ofUser returns what the user has said of what a client sends. Existing clients
// send the whole conversation as they have it, answers included, and also what a
// user sent without a word; what the others said the session knows better.
func ofUser(list []MessageIn) []MessageIn {
	out := make([]MessageIn, 0, len(list))
	for _, m := range list {
		switch m.Role {
		case string(holdfast.RoleAssistant), string(holdfast.RoleTool), string(holdfast.RoleSystem):
			continue
		}
		if m.Content != "" || len(m.Parts) > 0 {
			out = append(out, m)
		}
	}
	return out
}

// errOtherRun says that the run to be streamed began before the cursor.
var errOtherRun = errors.New("the request joined another run")

// runSink is the stream of one run for existing clients.
type runSink struct {
	*wire
	*legacyWire
	ref holdfast.SessionRef
	// own is the run that the request proposed; run is the one that is streamed, ""
	// while command has no answer yet.
	own, run, command string
	// before is the run whose turn it is while run waits for its own, "" if that waits
	// for nobody: asked are the events with which it asks, and what it does behind
	// since is shown too.
	before string
	asked  map[uint64]bool
	since  uint64
	buf    []byte
}

// event implements sink.
func (s *runSink) event(it *item) (done bool, err error) {
	if it.typ == holdfast.TypeSessionDeleted {
		return true, nil
	}
	if s.command != "" {
		return s.await(it)
	}
	switch {
	case it.run == s.run:
		if it.typ == holdfast.TypeRunFinished {
			return true, nil
		}
	case s.before != "" && it.run == s.before && (s.asked[it.seq] || it.seq > s.since):
	default:
		return false, nil
	}
	// What is void must be told here too: the text has been shown, and another follows,
	// of the same model or of the one that takes over. Clients that do not know the
	// event pass over it.
	if events.Internal(it.typ) && it.typ != holdfast.TypeModelCallVoided {
		return false, nil
	}
	if s.buf, err = s.append(s.buf[:0], it); err != nil {
		return false, err
	}
	return false, s.write(s.buf)
}

// await looks for what became of the command.
func (s *runSink) await(it *item) (done bool, err error) {
	switch it.typ {
	case holdfast.TypeCommandAccepted, holdfast.TypeCommandRefused:
	default:
		return false, nil
	}
	ev, err := holdfast.UnmarshalEvent(it.line)
	if err != nil {
		return false, fmt.Errorf("read event %d: %w", it.seq, err)
	}
	switch ev := ev.(type) {
	case *holdfast.CommandAcceptedEvent:
		if ev.Command != s.command {
			return false, nil
		}
		s.command, s.run = "", ev.Run
		if ev.Run != s.own {
			return false, errOtherRun
		}
	case *holdfast.CommandRefusedEvent:
		if ev.Command != s.command {
			return false, nil
		}
		refusal := &holdfast.ErrorEvent{Error: ev.Message, Code: ev.Code, Retryable: ev.Code.Retryable()}
		line, err := holdfast.MarshalEvent(refusal)
		if err != nil {
			return false, err
		}
		return true, s.write(appendEvent(nil, it.seq, line))
	}
	return false, nil
}

// delete asks for a session's deletion. errPending means that it will come.
func (a *API) delete(ctx context.Context, ref holdfast.SessionRef, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := a.exists(ctx, ref); err != nil {
		return err
	}
	c, err := deleteCommand(ref, key)
	if err != nil {
		return err
	}
	if _, err := a.request(ctx, c); err != nil {
		return err
	}
	a.recent.deleted(ref)
	return nil
}

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Steps of the load are short, so that they fit between two blows: a model call
// that breaks off five times in a row fails its run by design.
const talkerWords, callerWords = 40, 12

// load are clients that talk to sessions, one run after the other.
type load struct {
	t        testing.TB
	c        *cluster
	tools    *effects
	sessions []*talk
	http     *http.Client
	stopping chan struct{} // closed: no new runs
	done     sync.WaitGroup
}

// talk is one client and its session.
type talk struct {
	l   *load
	rec *record
	rng *rand.Rand
	// runs are what the client was told that it started, with what they will say.
	runs []started
	err  error
	// approved counts the times that the client said yes to run a call again whose
	// outcome is not known.
	approved map[string]int
	asked    int
}

type started struct{ run, say, want string }

// newLoad creates sessions and begins to talk to them.
func newLoad(t testing.TB, c *cluster, tools *effects, sessions int, rng *rand.Rand) *load {
	t.Helper()
	l := &load{t: t, c: c, tools: tools, stopping: make(chan struct{}), http: &http.Client{Transport: balancer(c.apis)}}
	cl := newClient(t, "http://api", client.WithHTTPClient(l.http), client.WithIdleTimeout(12*time.Second))
	for range sessions {
		s := &talk{l: l, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), approved: map[string]int{}}
		s.rec = newSession(t, cl, client.NewSession{Title: "chaos", ToolsApproved: true})
		l.sessions = append(l.sessions, s)
		l.done.Go(func() { s.err = s.run(t.Context()) })
	}
	return l
}

// balancer sends each new connection to the next API process that takes one.
func balancer(apis []*node) *http.Transport {
	var next atomic.Uint64
	dialer := &net.Dialer{Timeout: time.Second}
	return &http.Transport{
		MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
			for range apis {
				n := apis[next.Add(1)%uint64(len(apis))]
				if conn, err = dialer.DialContext(ctx, network, n.address); err == nil {
					return conn, nil
				}
			}
			return nil, err
		},
	}
}

// run starts runs until the load is to stop.
func (s *talk) run(ctx context.Context) error {
	for n := 0; ; n++ {
		select {
		case <-s.l.stopping:
			return nil
		default:
		}
		r := started{say: fmt.Sprintf("%s/%d", s.rec.session, n), want: numbered(talkerWords)}
		agent := "talker"
		if s.rng.IntN(2) == 0 {
			agent, r.want = "caller", strings.Repeat(numbered(callerWords), 3)
		}
		body := map[string]any{"agent": agent, "messages": []client.Message{{Content: r.say}}}
		key := fmt.Sprintf("run-%d", n)
		settled, err := s.post(ctx, "/runs", key, body)
		if err != nil {
			return fmt.Errorf("start run %d: %w", n, err)
		}
		r.run = settled.Run
		s.runs = append(s.runs, r)
		if s.rng.IntN(4) == 0 { // an answer that got lost: the same request again
			again, err := s.post(ctx, "/runs", key, body)
			if err != nil || again.Run != r.run {
				return fmt.Errorf("run %d, posted again with its key: %+v, %w", n, again, err)
			}
		}
		if err := s.await(ctx, r.run); err != nil {
			return fmt.Errorf("run %d (%s): %w", n, r.run, err)
		}
	}
}

// stuck is how long a session may show nothing, healed or not: blows follow each
// other quickly, and none takes longer than some seconds.
const stuck = 45 * time.Second

// await waits until the run has finished and answers questions meanwhile.
func (s *talk) await(ctx context.Context, run string) error {
	at := 0
	limit := time.NewTimer(stuck)
	defer limit.Stop()
	for {
		all, changed, err := s.rec.look()
		for ; at < len(all); at++ {
			switch ev := all[at].Event.(type) {
			case *holdfast.RunFinishedEvent:
				if ev.Run == run {
					return nil
				}
			case *holdfast.ToolCallConfirmationEvent:
				if all[at].Run != run {
					continue
				}
				if err := s.decide(ctx, ev, all[at].Seq); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return err
		}
		limit.Reset(stuck)
		select {
		case <-changed:
		case <-limit.C:
			return fmt.Errorf("no event for %s", stuck)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// decide answers the question about a call whose outcome is not known.
func (s *talk) decide(ctx context.Context, ev *holdfast.ToolCallConfirmationEvent, seq uint64) error {
	s.asked++
	d := client.Decision{Decision: client.ResumeTypeReject}
	if s.rng.IntN(2) == 0 {
		d.Decision = client.ResumeTypeApprove
		s.approved[ev.ToolCall.ID]++
	}
	_, err := s.post(ctx, "/tool-calls/"+ev.ToolCall.ID+"/decision", fmt.Sprintf("decide-%d", seq), d)
	return err
}

// post sends a command until it is settled, always with the same key, as every
// client must that wants to know.
func (s *talk) post(ctx context.Context, path, key string, in any) (out client.Settled, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	began := time.Now()
	for {
		out, again, err := s.postOnce(ctx, path, key, body)
		if !again {
			return out, err
		}
		if time.Since(began) > stuck {
			return out, fmt.Errorf("not settled after %s: %+v, %w", stuck, out, err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return out, context.Cause(ctx)
		}
	}
}

func (s *talk) postOnce(ctx context.Context, path, key string, body []byte) (out client.Settled, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://api/v1/sessions/"+s.rec.session+path, bytes.NewReader(body))
	if err != nil {
		return out, false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := s.l.http.Do(req)
	if err != nil {
		return out, true, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return out, true, err
	case resp.StatusCode == http.StatusOK:
		return out, false, json.Unmarshal(data, &out)
	case resp.StatusCode == http.StatusAccepted:
		return out, true, nil
	case resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout:
		return out, true, fmt.Errorf("%s: %s", resp.Status, data)
	}
	return out, false, fmt.Errorf("%s: %s", resp.Status, data)
}

// finish lets the clients come to their end.
func (l *load) finish() {
	l.t.Helper()
	close(l.stopping)
	l.done.Wait()
	runs := 0
	for _, s := range l.sessions {
		runs += len(s.runs)
		if s.err != nil {
			l.t.Errorf("session %s: %v\n%s", s.rec.session, s.err, tail(outline(s.rec.entries()), 40))
		}
	}
	l.t.Logf("%d sessions made %d runs", len(l.sessions), runs)
}

// tail are the last lines of a text.
func tail(s string, lines int) string {
	all := strings.Split(s, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// check compares what the clients have with the log, the archive and the tool
// server.
func (l *load) check() {
	l.t.Helper()
	log := l.c.log()
	ledger := map[string]*intent{}
	asked := 0
	for _, s := range l.sessions {
		asked += s.asked
		all := log.session(s.rec.session)
		if s.err != nil { // reported; what it did counts all the same
			s.collect(ledger)
			continue
		}
		if len(all) == 0 {
			continue
		}
		end := all[len(all)-1].Seq
		s.rec.await("the last event of the log", 0, func(e received) bool { return e.Seq >= end })
		s.rec.stop()
		if len(s.rec.entries()) > len(all) { // it was parked meanwhile
			all = log.session(s.rec.session)
		}
		log.sameAsLog(s.rec, all[:min(len(all), len(s.rec.entries()))])
		s.checkRuns()
		s.collect(ledger)
		await(l.t, "the archive is complete", func() bool {
			info, err := log.store.Session(l.t.Context(), sessionRef(s.rec.session))
			return err == nil && info.Head.Seq >= all[len(all)-1].Seq
		})
		log.sameAsArchive(s.rec.session, all)
	}
	l.checkEffects(ledger)
	l.t.Logf("%d tool calls had %d effects; %d times a client was asked what is to become of one", len(ledger), len(l.tools.count()), asked)
}

// checkRuns holds the session to what its client did: every run once, whole, in
// order.
func (s *talk) checkRuns() {
	t := s.l.t
	var users []string
	reasons := map[string][]string{}
	gaveUp := map[string]bool{}
	all := s.rec.entries()
	for _, e := range all {
		switch ev := e.Event.(type) {
		case *holdfast.UserMessageEvent:
			users = append(users, ev.Message)
		case *holdfast.RunFinishedEvent:
			reasons[ev.Run] = append(reasons[ev.Run], ev.Reason)
		case *holdfast.ErrorEvent:
			gaveUp[e.Run] = ev.Code == holdfast.CodeModelFailed && strings.Contains(ev.Error, "times in a row")
			t.Logf("session %s, run %s: %s", s.rec.session, e.Run, ev.Error)
		}
	}
	if len(users) != len(s.runs) {
		t.Errorf("session %s: the client said %d things, the log has %d: %q", s.rec.session, len(s.runs), len(users), users)
		return
	}
	for i, r := range s.runs {
		if users[i] != r.say {
			t.Errorf("session %s: message %d is %q, want %q", s.rec.session, i, users[i], r.say)
		}
		if gaveUp[r.run] {
			continue
		}
		if got := reasons[r.run]; len(got) != 1 || got[0] != "stop" {
			t.Errorf("session %s: run %s ended with %q", s.rec.session, r.run, got)
		}
		if got := text(all, r.run); got != r.want {
			t.Errorf("session %s: run %s says %q, want %q", s.rec.session, r.run, got, r.want)
		}
	}
}

// intent is a tool call as the log has it.
type intent struct {
	tool, say string
	// answered says that the tool's own outcome is in the log.
	answered bool
	// approved is how often the call was allowed to run once more.
	approved int
}

// collect adds the session's tool calls by idempotency key.
func (s *talk) collect(ledger map[string]*intent) {
	open := map[string]*intent{} // by call id, within a run
	unknown := map[string]bool{} // calls that a human was asked about
	all := s.rec.entries()
	for _, e := range all {
		switch ev := e.Event.(type) {
		case *holdfast.RunStartedEvent:
			clear(open)
			clear(unknown)
		case *holdfast.ToolCallEvent:
			var args struct{ Say string }
			if err := json.Unmarshal([]byte(ev.ToolCall.Function.Arguments), &args); err != nil {
				s.l.t.Errorf("session %s: event %d: %v", s.rec.session, e.Seq, err)
			}
			c := &intent{tool: ev.ToolCall.Function.Name, say: args.Say}
			if was, ok := ledger[ev.IdempotencyKey]; ok && (was.tool != c.tool || was.say != c.say) {
				s.l.t.Errorf("session %s: event %d: key %s belongs to %+v already", s.rec.session, e.Seq, ev.IdempotencyKey, was)
			} else if !ok {
				ledger[ev.IdempotencyKey] = c
			}
			open[ev.ToolCall.ID] = ledger[ev.IdempotencyKey]
		case *holdfast.ToolOutcomeUnknownEvent:
			unknown[ev.ToolCallID] = true
		case *holdfast.ToolCallDecidedEvent:
			if c := open[ev.ToolCallID]; c != nil && ev.Decision != "reject" {
				c.approved++
			} else if c != nil {
				unknown[ev.ToolCallID] = true
			}
		case *holdfast.ToolCallResponseEvent:
			if c := open[ev.ToolCallID]; c != nil {
				c.answered = !ev.Result.IsError
				if ev.Result.IsError && !unknown[ev.ToolCallID] {
					s.l.t.Errorf("session %s: event %d: the tool %s failed: %s", s.rec.session, e.Seq, c.tool, ev.Response)
				}
			}
		}
	}
}

// checkEffects compares the calls that reached the tools with the intents in the
// log.
func (l *load) checkEffects(ledger map[string]*intent) {
	l.t.Helper()
	reached := map[string]int{}
	for e, times := range l.tools.count() {
		reached[e.key] += times
		if c := ledger[e.key]; c == nil || c.tool != e.tool || c.say != e.say {
			l.t.Errorf("%d calls of %+v have no intent in the log, or another one: %+v", times, e, c)
		}
	}
	repeated := 0
	for key, c := range ledger {
		n := reached[key]
		if c.answered && n == 0 {
			l.t.Errorf("the call %+v is answered and never reached the tool", c)
		}
		if n > 1 {
			repeated++
		}
		if c.tool == "unkeyed" && n > 1+c.approved {
			l.t.Errorf("the unkeyed call %+v reached the tool %d times", c, n)
		}
	}
	l.t.Logf("%d calls reached their tool more than once, with the same key or with leave", repeated)
}

// sameAsArchive compares the archive with the log as it was read before.
func (l *logReader) sameAsArchive(session string, all []events.Envelope) {
	l.t.Helper()
	var archived []events.Envelope
	for len(archived) < len(all) {
		page, err := l.store.Read(l.t.Context(), sessionRef(session), uint64(len(archived)), len(all)-len(archived))
		if err != nil || len(page) == 0 {
			l.t.Errorf("session %s: the archive ends after %d events, the log has %d: %v", session, len(archived), len(all), err)
			return
		}
		archived = append(archived, page...)
	}
	for i := range all {
		a, b := archived[i].AppendWire(nil, session), all[i].AppendWire(nil, session)
		if !bytes.Equal(a, b) || archived[i].Epoch != all[i].Epoch {
			l.t.Errorf("session %s: event %d of the archive is %s, of the log %s", session, all[i].Seq, a, b)
		}
	}
}

package e2e_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/pgstore"
)

// logReader reads the log of a cluster past the programs, for checks.
type logReader struct {
	t     testing.TB
	bus   *natsbus.Bus
	store *pgstore.Store
	both  *events.Reader
}

func (c *cluster) log() *logReader {
	c.t.Helper()
	store, err := pgstore.Open(c.t.Context(), c.dsn, pgstore.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	nc, err := nats.Connect(c.nats.URL())
	if err != nil {
		c.t.Fatal(err)
	}
	bus, err := natsbus.Open(c.t.Context(), nc, natsbus.Config{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := bus.Close(); err != nil {
			c.t.Error(err)
		}
		nc.Close()
		if err := store.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return &logReader{t: c.t, bus: bus, store: store, both: &events.Reader{Bus: bus, Store: store}}
}

func sessionRef(session string) holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: "default", Session: session}
}

// session returns a session's log and reports what is wrong with it by itself.
func (l *logReader) session(session string) (all []events.Envelope) {
	l.t.Helper()
	_, err := l.both.Read(l.t.Context(), sessionRef(session), 0, func(e events.Envelope) error {
		all = append(all, e)
		return nil
	})
	if err != nil {
		l.t.Errorf("read the log of %s: %v", session, err)
	}
	l.check(session, all)
	return all
}

// check holds a log to the rules of the envelope: seq counts, epoch never falls
// and rises with a claim alone, no command is accepted twice.
func (l *logReader) check(session string, all []events.Envelope) {
	l.t.Helper()
	settled := map[string]uint64{}
	epoch := uint64(0)
	for i, e := range all {
		if e.Seq != uint64(i)+1 {
			l.t.Errorf("session %s: event %d stands at place %d", session, e.Seq, i+1)
			return
		}
		switch claim := e.Type == holdfast.TypeSessionClaimed; {
		case e.Epoch < epoch:
			l.t.Errorf("session %s: event %d has epoch %d, the one before %d", session, e.Seq, e.Epoch, epoch)
		case i > 0 && claim != (e.Epoch > epoch):
			l.t.Errorf("session %s: event %d is a %s and goes from epoch %d to %d", session, e.Seq, e.Type, epoch, e.Epoch)
		}
		epoch = e.Epoch
		ev, err := e.Event()
		if err != nil {
			l.t.Errorf("session %s: event %d: %v", session, e.Seq, err)
			continue
		}
		command := ""
		switch ev := ev.(type) {
		case *holdfast.CommandAcceptedEvent:
			command = ev.Command
		case *holdfast.CommandRefusedEvent:
			command = ev.Command
		}
		if command == "" {
			continue
		}
		if was, ok := settled[command]; ok {
			l.t.Errorf("session %s: command %s is settled by event %d and by event %d", session, command, was, e.Seq)
		}
		settled[command] = e.Seq
	}
}

// sameAsLog compares what a client has seen with the log, event by event.
func (l *logReader) sameAsLog(r *record, all []events.Envelope) {
	l.t.Helper()
	seen := r.entries()
	if len(seen) != len(all) {
		l.t.Errorf("session %s: the client has %d events, the log %d", r.session, len(seen), len(all))
	}
	for i := range min(len(seen), len(all)) {
		ev, err := holdfast.UnmarshalEvent(all[i].AppendWire(nil, r.session))
		if err != nil {
			l.t.Errorf("session %s: event %d: %v", r.session, all[i].Seq, err)
			continue
		}
		if got, want := marshal(l.t, seen[i].Event), marshal(l.t, ev); got != want {
			l.t.Errorf("session %s: event %d of the client is %s, of the log %s", r.session, all[i].Seq, got, want)
		}
	}
}

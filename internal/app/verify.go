package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// VerifyOptions select what [Verify] looks at.
type VerifyOptions struct {
	// Only is one session; zero is all of all tenants.
	Only holdfast.SessionRef
	// ArchiveOnly reads the database alone: what is not recorded yet is not seen.
	ArchiveOnly bool
}

// VerifyReport is what [Verify] found.
type VerifyReport struct {
	Sessions, Events, Violations int
}

// Verify reads logs and nothing else and writes every rule that one breaks to
// out, a line each: the rules of package events, the projection of the database
// against a fold of its events, and snapshots against a fold from the first
// event.
func Verify(ctx context.Context, cfg config.Config, o VerifyOptions, out io.Writer) (VerifyReport, error) {
	p := &program{cfg: cfg, o: Options{Name: "holdfast-verify"}, log: slog.New(slog.DiscardHandler)}
	defer func() { _ = p.stop() }() // nothing was written
	if err := p.openStore(ctx); err != nil {
		return VerifyReport{}, err
	}
	v := &verifier{store: p.store, out: out, reader: &events.Reader{Bus: noBus{}, Store: p.store}}
	if !o.ArchiveOnly {
		if err := p.openBus(ctx); err != nil {
			if errors.Is(err, server.ErrInUse) {
				err = fmt.Errorf("%w; --archive-only reads the database alone", err)
			}
			return VerifyReport{}, err
		}
		v.reader.Bus = p.bus
	}
	if o.Only != (holdfast.SessionRef{}) {
		return v.report, v.session(ctx, o.Only)
	}
	var after holdfast.SessionRef
	for {
		rows, err := p.store.All(ctx, after, 500)
		if err != nil {
			return v.report, err
		}
		for _, row := range rows {
			after = row.Session
			if err := v.session(ctx, row.Session); err != nil {
				return v.report, err
			}
		}
		if len(rows) < 500 {
			return v.report, v.rowless(ctx)
		}
	}
}

type verifier struct {
	reader *events.Reader
	store  Store
	out    io.Writer
	report VerifyReport
	// timers are those of one tenant, by session and id.
	tenant string
	timers map[string]map[string]events.Timer
}

func (v *verifier) bad(violation events.Violation) {
	v.report.Violations++
	fmt.Fprintln(v.out, violation)
}

// session verifies one session. Its error says that the session could not be
// read, not that it is wrong.
func (v *verifier) session(ctx context.Context, ref holdfast.SessionRef) error {
	v.report.Sessions++
	row, err := v.store.Session(ctx, ref)
	if err != nil && !errors.Is(err, events.ErrNoSession) {
		return err
	}
	recorded := err == nil
	snap, err := v.store.Snapshot(ctx, ref, 0)
	if err != nil {
		return err
	}
	rules := events.NewVerifier(ref, v.bad)
	state := runtime.NewState(ref)
	fold := events.NewRebuilt(ref)
	reader := v.reader
	if row.Deleted { // what the bus still has of it is of no use
		reader = &events.Reader{Bus: noBus{}, Store: v.store}
	}
	head, err := reader.Read(ctx, ref, 0, func(e events.Envelope) error {
		v.report.Events++
		rules.Event(&e)
		if err := state.Fold(&e); err != nil {
			v.bad(events.Violation{Session: ref, Seq: e.Seq, Rule: "fold", Detail: err.Error()})
		}
		if snap.Seq == e.Seq {
			v.snapshot(state, snap)
		}
		switch {
		case row.ForkOf != "" && e.Seq <= row.ForkSeq:
			fold.Inherit(&e) // the projection is of the session's own events
		case recorded && e.Seq <= row.Head.Seq:
			if err := fold.Apply(&e); err != nil {
				v.bad(events.Violation{Session: ref, Seq: e.Seq, Rule: "projection", Detail: err.Error()})
			}
		}
		return nil
	})
	short := recorded && head.Seq < row.Head.Seq && (err == nil || errors.Is(err, events.ErrNoSession))
	if (short || errors.Is(err, events.ErrGap) || errors.Is(err, events.ErrCorrupt)) && !row.Deleted {
		// It may have been deleted since its row was read.
		if again, rerr := v.store.Session(ctx, ref); rerr == nil && again.Deleted {
			v.report.Sessions--
			return v.session(ctx, ref)
		}
	}
	switch {
	case row.Deleted && (head.Seq == 0 || state.Deleted):
		return nil // its events are gone, as they should be, or a fork needs them
	case errors.Is(err, events.ErrGap), errors.Is(err, events.ErrCorrupt):
		v.bad(events.Violation{Session: ref, Seq: head.Seq + 1, Rule: "read", Detail: err.Error()})
		return nil
	case short:
		v.bad(events.Violation{
			Session: ref, Seq: head.Seq + 1, Rule: "read",
			Detail: fmt.Sprintf("the log ends at %d, the database has recorded %d events", head.Seq, row.Head.Seq),
		})
		return nil
	case err != nil || !recorded:
		return err
	}
	v.projection(row, fold.Info)
	return v.beside(ctx, row, fold)
}

// snapshot compares a snapshot with the fold from the first event.
func (v *verifier) snapshot(s *runtime.State, snap events.Snapshot) {
	want, err := json.Marshal(s)
	if err != nil || snap.Format != runtime.StateFormat {
		return
	}
	if have, err := events.Unpack(snap.Data); err != nil || !bytes.Equal(want, have) {
		v.bad(events.Violation{Session: s.Ref, Seq: snap.Seq, Rule: "snapshot", Detail: "differs from a fold of the log; delete it"})
	}
}

// projection compares the row with the fold of the same events.
func (v *verifier) projection(row, fold events.SessionInfo) {
	row.CreatedAt, row.UpdatedAt = row.CreatedAt.UTC(), row.UpdatedAt.UTC()
	fold.CreatedAt, fold.UpdatedAt = fold.CreatedAt.UTC(), fold.UpdatedAt.UTC()
	if len(row.Metadata) == 0 {
		row.Metadata = nil
	}
	if len(fold.Metadata) == 0 {
		fold.Metadata = nil
	}
	if reflect.DeepEqual(row, fold) {
		return
	}
	a, b := reflect.ValueOf(row), reflect.ValueOf(fold)
	for i := range a.NumField() {
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			v.bad(events.Violation{
				Session: row.Session, Seq: row.Head.Seq, Rule: "projection",
				Detail: fmt.Sprintf("%s is %v, the log says %v", a.Type().Field(i).Name, a.Field(i).Interface(), b.Field(i).Interface()),
			})
		}
	}
}

// noBus is a bus that has nothing.
type noBus struct{}

var errNoBus = errors.New("there is no bus")

func (noBus) Append(context.Context, holdfast.SessionRef, uint64, []byte) (uint64, error) {
	return 0, errNoBus
}

func (noBus) Last(context.Context, holdfast.SessionRef) (events.Stored, error) {
	return events.Stored{}, events.ErrNoFrame
}

func (noBus) At(context.Context, holdfast.SessionRef, uint64) (events.Stored, error) {
	return events.Stored{}, events.ErrNoFrame
}

func (noBus) Follow(context.Context, holdfast.SessionRef, func(events.Stored)) (func(), error) {
	return nil, errNoBus
}

func (noBus) Send(context.Context, events.Command) error { return errNoBus }

var (
	_ events.Bus = noBus{}
	_ events.Bus = (*natsbus.Bus)(nil)
)

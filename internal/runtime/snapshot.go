package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
)

// StateFormat names the form of snapshots, JSON of a [State] that is packed by
// [events.Pack]; one of another form is ignored.
const StateFormat = "runtime.State/8 packed"

// snapshot keeps the state in the background if enough has happened since the
// last snapshot.
func (e *Engine) snapshot(s *State, since uint64) {
	if e.cfg.Snapshots == nil || s.Seq-since < e.cfg.SnapshotEvery || s.Deleted {
		return
	}
	if s.Run != nil {
		for _, t := range s.Run.Threads {
			if t.Open != nil {
				return // what a model is saying right now is not in the JSON form
			}
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		e.log.Error("encode snapshot", "session", s.Ref.String(), "error", err)
		return
	}
	snap := events.Snapshot{Seq: s.Seq, Format: StateFormat, Data: events.Pack(data)}
	ref := s.Ref
	e.background.Go(func() {
		defer e.survive("keep a snapshot", ref)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.cfg.Snapshots.PutSnapshot(ctx, ref, snap); err != nil {
			e.log.Warn("keep snapshot", "session", ref.String(), "error", err)
		}
	})
}

// beside reports whether the log has the last event of a snapshot. It has not, if
// the bus has lost that event before the store had it: a snapshot, which is stored
// when a session is left, is then of a past that never was.
func (e *Engine) beside(ctx context.Context, s *State) (same bool, err error) {
	if s.Seq == 0 {
		return false, nil
	}
	_, err = e.cfg.Reader.Read(ctx, s.Ref, s.Seq-1, func(env events.Envelope) error {
		same = env.Seq == s.Seq && env.Epoch == s.Epoch && env.Time.UnixMicro() == s.Now.UnixMicro()
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return false, fmt.Errorf("look where the snapshot of %s was made: %w", s.Ref, err)
	}
	return same, nil
}

// timed is the event with its time as every reader of the log sees it, in whole
// microseconds and UTC: who has just written it folds the same state as who reads it
// in a year, in another time zone.
func timed(e *events.Envelope) *events.Envelope {
	c := *e
	c.Time = time.UnixMicro(e.Time.UnixMicro()).UTC()
	return &c
}

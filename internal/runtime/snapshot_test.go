package runtime_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// counting is an agent that says how many messages it has heard.
var counting = strings.Replace(gated, `- {say: "ok, {{.User}}"}`, `- {say: "heard {{.Messages}}"}`, 1)

// TestSnapshotOfAnotherPast: what a worker keeps of a session may survive, in the
// database, a bus that loses the events which the database did not have yet. The
// session goes on after what is left; the snapshot of what is lost counts for
// nothing, neither while the log is shorter nor when it has grown past it.
func TestSnapshotOfAnotherPast(t *testing.T) {
	t.Parallel()
	past := newWorld(t, counting)
	s := ref("s")
	_, stop := past.start(-1, false)
	past.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	for n := range 4 {
		past.say(s, fmt.Sprintf("lost %d", n), "")
		past.waitParked(s, events.WaitingIdle)
	}
	stop() // returns when its snapshots are kept
	snap, err := past.store.Snapshot(t.Context(), s, 0)
	if err != nil || snap.Seq == 0 {
		t.Fatalf("snapshot at %d, %v", snap.Seq, err)
	}
	fold := runtime.NewState(s)
	for _, e := range past.events(s)[:snap.Seq] {
		if err := fold.Fold(&e); err != nil {
			t.Fatal(err)
		}
	}
	have, err := events.Unpack(snap.Data)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := json.Marshal(fold); err != nil || string(want) != string(have) {
		t.Errorf("%v; the snapshot is no fold of the log:\n%s\nwant\n%s", err, have, want)
	}

	w := past.branch("new")
	w.agents.file = counting
	w.start(-1, false)
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	var want []string
	for n := 0; w.state(s).Seq < snap.Seq+20; n++ {
		w.say(s, fmt.Sprintf("kept %d", n), "")
		w.waitParked(s, events.WaitingIdle)
		want = append(want, fmt.Sprintf("user: kept %d | assistant: heard %d", n, 2*n+2))
	}
	// Those of another program and those that are damaged count for nothing either.
	for _, damaged := range []bool{false, true} {
		other := w.state(s)
		other.Conversation = nil
		data, err := json.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		snap := events.Snapshot{Seq: other.Seq, Format: "of another version", Data: events.Pack(data)}
		if damaged {
			snap.Format, snap.Data = runtime.StateFormat, snap.Data[:len(snap.Data)/2]
		}
		if err := w.store.PutSnapshot(t.Context(), s, snap); err != nil {
			t.Fatal(err)
		}
		n := len(want)
		w.say(s, fmt.Sprintf("kept %d", n), "")
		w.waitParked(s, events.WaitingIdle)
		want = append(want, fmt.Sprintf("user: kept %d | assistant: heard %d", n, 2*n+2))
	}
	wantTalk(t, w.talk(s), strings.Join(want, " | "))
	claims := 0
	for _, e := range w.events(s) {
		if e.Type == holdfast.TypeSessionClaimed {
			claims++
		}
	}
	if claims > len(want) {
		t.Errorf("%d claims for %d runs:\n%s", claims, len(want), transcript(w.events(s)))
	}
}

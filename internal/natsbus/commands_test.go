package natsbus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/worker"
)

const patience = 30 * time.Second

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func command(t testing.TB, ref holdfast.SessionRef, id string) events.Command {
	t.Helper()
	c, err := events.NewCommand(ref, events.KindRun, id, events.RunBody{Run: id})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t testing.TB, b *natsbus.Bus, c events.Command) {
	t.Helper()
	if err := b.Send(patient(t), c); err != nil {
		t.Fatal(err)
	}
}

// next waits for a delivery, as a worker's loop does.
func next(t testing.TB, b *natsbus.Bus) worker.Delivery {
	t.Helper()
	ctx := patient(t)
	for {
		d, err := b.NextCommand(ctx)
		if err == nil {
			return d
		}
		if !errors.Is(err, worker.ErrNoCommand) {
			t.Fatal(err)
		}
	}
}

func ids(q []worker.Queued) []string {
	var all []string
	for _, c := range q {
		all = append(all, c.Command.ID)
	}
	return all
}

func wantCommands(t testing.TB, b *natsbus.Bus, ref holdfast.SessionRef, after uint64, want ...string) []worker.Queued {
	t.Helper()
	q, err := b.Commands(patient(t), ref, after)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(ids(q)) != fmt.Sprint(want) {
		t.Fatalf("commands after %d: %v, want %v", after, ids(q), want)
	}
	return q
}

func TestCommands(t *testing.T) {
	s := startServer(t)
	b := open(t, connect(t, s), natsbus.Config{AckWait: 300 * time.Millisecond})
	if _, err := b.NextCommand(patient(t)); !errors.Is(err, worker.ErrNoCommand) {
		t.Fatalf("NextCommand of an empty queue: %v", err)
	}
	ref, other := eventstest.NewRef(), eventstest.NewRef()
	for _, id := range []string{"a", "b", "c"} {
		send(t, b, command(t, ref, id))
		send(t, b, command(t, other, "other-"+id))
	}
	q := wantCommands(t, b, ref, 0, "a", "b", "c")
	wantCommands(t, b, ref, q[0].Pos, "b", "c")
	wantCommands(t, b, ref, q[2].Pos)
	wantCommands(t, b, eventstest.NewRef(), 0)

	// Deliveries come in order; what is acknowledged is gone, also from Commands.
	first := next(t, b)
	if first.Command.ID != "a" || first.Pos != q[0].Pos || first.Command.Session != ref {
		t.Fatalf("delivered %+v", first.Queued)
	}
	if err := first.Ack(patient(t)); err != nil {
		t.Fatal(err)
	}
	wantCommands(t, b, ref, 0, "b", "c")

	// What nobody acknowledges comes again, to another process too.
	second := open(t, connect(t, s), natsbus.Config{AckWait: 300 * time.Millisecond})
	count := map[string]int{}
	for range 5 {
		count[next(t, b).Command.ID]++
	}
	for range 5 {
		d := next(t, second)
		count[d.Command.ID]++
		if err := d.Ack(patient(t)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"b", "c", "other-a", "other-b", "other-c"} {
		if count[id] != 2 {
			t.Fatalf("deliveries: %v, want two of %s", count, id)
		}
	}
	wantCommands(t, b, ref, 0)

	// What is given back comes again after the delay.
	send(t, b, command(t, ref, "later"))
	d := next(t, b)
	began := time.Now()
	if err := d.Retry(100 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	d = next(t, b)
	if d.Command.ID != "later" || time.Since(began) < 100*time.Millisecond {
		t.Fatalf("%s came after %s", d.Command.ID, time.Since(began))
	}
	if err := d.Retry(0); err != nil {
		t.Fatal(err)
	}
	if d = next(t, b); d.Command.ID != "later" {
		t.Fatalf("delivered %+v", d.Queued)
	}
}

// TestHold: a command that a live worker works on does not come again so soon.
func TestHold(t *testing.T) {
	const wait = 400 * time.Millisecond
	b := open(t, connect(t, startServer(t)), natsbus.Config{AckWait: wait})
	ref := eventstest.NewRef()
	send(t, b, command(t, ref, "held"))
	d := next(t, b)
	for try := 1; ; try++ {
		began := time.Now()
		release := d.Hold()
		d = next(t, b)
		release()
		if d.Command.ID != "held" {
			t.Fatalf("delivered %+v", d.Queued)
		}
		took := time.Since(began)
		if took >= 2*wait {
			break
		}
		// A machine that stands still for half of wait keeps the holder from saying
		// that it holds; not time after time.
		if try == 20 {
			t.Fatalf("it came again after %s", took)
		}
	}
	if d = next(t, b); d.Command.ID != "held" { // nobody holds it any more
		t.Fatalf("delivered %+v", d.Queued)
	}
	d.Hold()() // and who has let go of it at once does not either
	if d = next(t, b); d.Command.ID != "held" {
		t.Fatalf("delivered %+v", d.Queued)
	}
}

// TestAbandonedPull: a command is not swallowed by who has stopped asking.
func TestAbandonedPull(t *testing.T) {
	b := open(t, connect(t, startServer(t)), natsbus.Config{AckWait: time.Hour})
	for i := range 20 {
		ctx, cancel := context.WithCancel(patient(t))
		done := make(chan error, 1)
		go func() {
			_, err := b.NextCommand(ctx)
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		id := fmt.Sprint(i)
		send(t, b, command(t, eventstest.NewRef(), id))
		d := next(t, b)
		if d.Command.ID != id {
			t.Fatalf("delivered %s, want %s", d.Command.ID, id)
		}
		if err := d.Ack(patient(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnreadableCommand: it is put aside, and the queue goes on.
func TestUnreadableCommand(t *testing.T) {
	nc := connect(t, startServer(t))
	b := open(t, nc, natsbus.Config{})
	ref := eventstest.NewRef()
	if err := nc.Publish("hf.c."+ref.Tenant+"."+ref.Session, []byte("not a command")); err != nil {
		t.Fatal(err)
	}
	send(t, b, command(t, ref, "good"))
	if d := next(t, b); d.Command.ID != "good" {
		t.Fatalf("delivered %+v", d.Queued)
	}
	wantCommands(t, b, ref, 0, "good")
}

func TestOwner(t *testing.T) {
	s := startServer(t)
	b := open(t, connect(t, s), natsbus.Config{})
	other := open(t, connect(t, s), natsbus.Config{})
	ref := eventstest.NewRef()
	ask := func(id string) (bool, error) { return other.AskOwner(patient(t), command(t, ref, id)) }
	if _, err := ask("x"); !errors.Is(err, worker.ErrNobody) {
		t.Fatalf("a session without an owner: %v", err)
	}
	stuck := make(chan struct{})
	stop, err := b.Own(ref, func(ctx context.Context, c events.Command) bool {
		if c.ID == "stuck" {
			close(stuck)
			<-ctx.Done()
		}
		return c.ID == "yes" && c.Session == ref
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ready(patient(t)); err != nil { // a round trip: the server knows of the owner
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"yes": true, "no": false} {
		if got, err := ask(id); err != nil || got != want {
			t.Fatalf("AskOwner(%s) = %v, %v", id, got, err)
		}
	}
	// An owner that hangs holds up nobody else, and hears that it is over.
	answered := make(chan error, 1)
	go func() {
		accepted, err := ask("stuck")
		if accepted {
			err = errors.New("accepted")
		}
		answered <- err
	}()
	<-stuck
	if got, err := ask("yes"); err != nil || !got {
		t.Fatalf("AskOwner beside one that hangs = %v, %v", got, err)
	}
	stop()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if err := b.Ready(patient(t)); err != nil {
		t.Fatal(err)
	}
	if accepted, err := ask("yes"); accepted || err != nil && !errors.Is(err, worker.ErrNobody) {
		t.Fatalf("AskOwner after stop = %v, %v", accepted, err)
	}
}

func TestRequest(t *testing.T) {
	s := startServer(t)
	api := open(t, connect(t, s), natsbus.Config{})
	b := open(t, connect(t, s), natsbus.Config{})
	ref := eventstest.NewRef()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d := next(t, b)
		if err := b.Answer(d.Command, events.Answer{Command: d.Command.ID, Seq: 7, Run: "r"}); err != nil {
			t.Error(err)
		}
		if err := d.Ack(patient(t)); err != nil {
			t.Error(err)
		}
	}()
	a, err := api.Request(patient(t), command(t, ref, "id"))
	if err != nil || a.Command != "id" || a.Seq != 7 || a.Run != "r" {
		t.Fatalf("Request = %+v, %v", a, err)
	}
	<-done

	// Nobody answers: the command is queued, and the error says so.
	for limit := range testenv.Limits(200 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err = api.Request(ctx, command(t, ref, "unanswered"))
		cancel()
		if holdfast.CodeOf(err) != holdfast.CodeUnavailable { // that is: not even queued in that time
			break
		}
	}
	if holdfast.CodeOf(err) != holdfast.CodeTimeout {
		t.Fatalf("Request that nobody answers: %v", err)
	}
	wantCommands(t, b, ref, 0, "unanswered")

	bad := command(t, ref, "bad")
	bad.Session.Session = "a.b"
	if _, err := api.Request(patient(t), bad); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Fatalf("Request to a session that cannot be: %v", err)
	}
	if err := b.Answer(command(t, ref, "nobody waits"), events.Answer{}); err != nil {
		t.Fatal(err)
	}
}

func TestRegistry(t *testing.T) {
	s := startServer(t)
	b := open(t, connect(t, s), natsbus.Config{})
	other := open(t, connect(t, s), natsbus.Config{})
	ctx := patient(t)
	state := func() string {
		t.Helper()
		live, marked, err := other.Workers(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal([][]string{live, marked})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if err := other.Ping(ctx, "w1"); !errors.Is(err, worker.ErrNobody) {
		t.Fatalf("Ping of nobody: %v", err)
	}
	beats := make(chan string, 100)
	deaf, err := other.Beats(func(name string) {
		select {
		case beats <- name:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf()
	stop, err := b.Announce(ctx, "w1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first key and a renewal
		select {
		case name := <-beats:
			if name != "w1" {
				t.Fatalf("a key of %q was renewed", name)
			}
		case <-ctx.Done():
			t.Fatal("no worker renews its key")
		}
	}
	if err := other.Ping(ctx, "w1"); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != `[["w1"],["w1"]]` {
		t.Fatalf("workers: %s", got)
	}
	refs := []holdfast.SessionRef{{Tenant: "a", Session: "1"}, {Tenant: "a", Session: "2"}, {Tenant: "b", Session: "1"}}
	for _, ref := range refs {
		for range 2 { // again is the same
			if err := b.Mark(ctx, "w1", ref); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.Mark(ctx, "w11", refs[0]); err != nil {
		t.Fatal(err)
	}
	marked := func(name string) []holdfast.SessionRef {
		t.Helper()
		refs, _, err := other.Marked(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return refs
	}
	if got := marked("w1"); fmt.Sprint(got) != fmt.Sprint(refs) {
		t.Fatalf("marked: %v", got)
	}
	if err := b.Unmark(ctx, "w1", refs[1]); err != nil {
		t.Fatal(err)
	}
	if err := b.Unmark(ctx, "w1", refs[1]); err != nil {
		t.Fatalf("Unmark of what is not marked: %v", err)
	}
	if got := marked("w1"); fmt.Sprint(got) != fmt.Sprint([]holdfast.SessionRef{refs[0], refs[2]}) {
		t.Fatalf("marked: %v", got)
	}
	// A note that was made again after the list is not removed with what was listed.
	_, at, err := other.Marked(ctx, "w1")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Mark(ctx, "w1", refs[2]); err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		if err := other.UnmarkAt(ctx, "w1", ref, at); err != nil {
			t.Fatal(err)
		}
	}
	if got := marked("w1"); fmt.Sprint(got) != fmt.Sprint(refs[2:]) {
		t.Fatalf("marked: %v", got)
	}
	stop()
	if err := other.Ping(ctx, "w1"); !errors.Is(err, worker.ErrNobody) {
		t.Fatalf("Ping of one that left: %v", err)
	}
	// Its sessions are still noted; when they have other owners it is forgotten.
	if got := state(); got != `[null,["w1","w11"]]` {
		t.Fatalf("workers: %s", got)
	}
	for _, ref := range refs {
		if err := other.Unmark(ctx, "w1", ref); err != nil {
			t.Fatal(err)
		}
	}
	if got := marked("w1"); len(got) != 0 {
		t.Fatalf("marked: %v", got)
	}
	if got := state(); got != `[null,["w11"]]` {
		t.Fatalf("workers: %s", got)
	}
	if _, err := b.Announce(ctx, "a.b"); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Fatalf("a name that cannot be: %v", err)
	}
}

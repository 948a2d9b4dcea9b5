package natsbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

func TestOpenAgain(t *testing.T) {
	s := startServer(t)
	nc := connect(t, s)
	first := open(t, nc, natsbus.Config{Shards: 3, MaxBytes: 3 << 20})
	ref := eventstest.NewRef()
	pos, err := first.Append(patient(t), ref, 0, []byte("frame"))
	if err != nil {
		t.Fatal(err)
	}
	// Nothing configured takes what is there; a limit that is configured changes it.
	for _, cfg := range []natsbus.Config{{}, {Shards: 3}, {MaxBytes: 6 << 20}} {
		again := open(t, nc, cfg)
		if again.Shards() != 3 {
			t.Fatalf("%+v: %d shards", cfg, again.Shards())
		}
		if st, err := again.Last(patient(t), ref); err != nil || st.Pos != pos {
			t.Fatalf("%+v: Last = %+v, %v", cfg, st, err)
		}
	}
	info, err := first.Info(patient(t), first.Streams()[0])
	if err != nil || info.MaxBytes != 2<<20 {
		t.Fatalf("Info = %+v, %v", info, err)
	}
	_, err = natsbus.Open(patient(t), nc, natsbus.Config{Shards: 4})
	if err == nil || !strings.Contains(err.Error(), "made with 3 shards, the configuration says 4") {
		t.Fatalf("Open with another number of shards: %v", err)
	}
	for _, cfg := range []natsbus.Config{{Shards: -1}, {Shards: 1000}, {Replicas: 9}, {Prefix: "a.b"}, {MaxBytes: -1}} {
		if _, err := natsbus.Open(patient(t), nc, cfg); err == nil {
			t.Fatalf("Open with %+v succeeded", cfg)
		}
	}
}

func TestOpenTogether(t *testing.T) {
	s := startServer(t)
	var wg sync.WaitGroup
	for range 8 {
		nc := connect(t, s)
		wg.Go(func() {
			b, err := natsbus.Open(patient(t), nc, natsbus.Config{Shards: 2})
			if err != nil {
				t.Error(err)
				return
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestOpenForeignStream(t *testing.T) {
	nc := connect(t, startServer(t))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(patient(t), jetstream.StreamConfig{Name: "hf-commands", Subjects: []string{"hf.c.*.*"}}); err != nil {
		t.Fatal(err)
	}
	_, err = natsbus.Open(patient(t), nc, natsbus.Config{})
	if err == nil || !strings.Contains(err.Error(), "stream hf-commands does not fit this program: retention is Limits, not WorkQueue") {
		t.Fatalf("Open: %v", err)
	}
}

func TestSmallServer(t *testing.T) {
	s, err := server.Start(t.Context(), server.Config{SyncInterval: servertest.SyncInterval, StoreDir: t.TempDir(), MaxPayload: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.WithoutCancel(t.Context())) })
	_, err = natsbus.Open(patient(t), connect(t, s), natsbus.Config{})
	if err == nil || !strings.Contains(err.Error(), "raise its max_payload") {
		t.Fatalf("Open: %v", err)
	}
}

// TestFull: a full stream refuses frames and keeps what it has.
func TestFull(t *testing.T) {
	b := open(t, connect(t, startServer(t)), natsbus.Config{MaxBytes: 1 << 20})
	ref, prev := eventstest.NewRef(), uint64(0)
	frame := bytes.Repeat([]byte("x"), 100<<10)
	var err error
	stored := 0
	for ; stored < 100; stored++ {
		var pos uint64
		if pos, err = b.Append(patient(t), ref, prev, frame); err != nil {
			break
		}
		prev = pos
	}
	if !errors.Is(err, events.ErrBusy) || holdfast.CodeOf(err) != holdfast.CodeUnavailable || stored < 5 {
		t.Fatalf("after %d frames: %v", stored, err)
	}
	if st, err := b.Last(patient(t), ref); err != nil || st.Pos != prev {
		t.Fatalf("Last = %d, %v, want %d", st.Pos, err, prev)
	}
	if err := b.Trim(patient(t), b.Streams()[0], prev-1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(patient(t), ref, prev, frame); err != nil {
		t.Fatalf("after trimming: %v", err)
	}
}

// TestServerAway: while there is no server every call fails at once; when it is
// back everything goes on.
func TestServerAway(t *testing.T) {
	dir := t.TempDir()
	start := func(listen string) *server.Server {
		t.Helper()
		s, err := server.Start(t.Context(), server.Config{SyncInterval: servertest.SyncInterval, StoreDir: dir, Listen: listen})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := start(fmt.Sprintf("127.0.0.1:%d", testenv.Port(t)))
	url := s.URL()
	var log lockedBuffer
	nc, err := natsbus.Connect(url, "test", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b := open(t, nc, natsbus.Config{})
	ref := eventstest.NewRef()
	pos, err := b.Append(patient(t), ref, 0, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	frames := make(chan events.Stored, 10)
	stopFollowing, err := b.Follow(patient(t), ref, func(st events.Stored) { frames <- st })
	if err != nil {
		t.Fatal(err)
	}
	defer stopFollowing()

	// Who waits when the connection is lost hears of it.
	waiting := make(chan error, 1)
	go func() {
		_, err := b.Request(patient(t), command(t, ref, "waits"))
		waiting <- err
	}()
	next(t, b)
	lost, back := nc.StatusChanged(nats.RECONNECTING), nc.StatusChanged(nats.CONNECTED)
	if err := s.Stop(patient(t)); err != nil {
		t.Fatal(err)
	}
	await(t, lost, "the connection is lost")
	began := time.Now()
	if _, err := b.Append(patient(t), ref, pos, []byte("two")); !errors.Is(err, events.ErrBusy) || holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Fatalf("Append without a server: %v", err)
	}
	if _, err := b.Last(patient(t), ref); err == nil || errors.Is(err, events.ErrNoFrame) {
		t.Fatalf("Last without a server: %v", err)
	}
	if err := b.Ready(patient(t)); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Fatalf("Ready without a server: %v", err)
	}
	if _, err := b.NextCommand(patient(t)); err == nil {
		t.Fatal("NextCommand without a server succeeded")
	}
	if took := time.Since(began); took > patience/2 {
		t.Fatalf("the calls took %s", took)
	}

	s = start(strings.TrimPrefix(url, "nats://"))
	t.Cleanup(func() { s.Stop(context.WithoutCancel(t.Context())) })
	await(t, back, "the connection is back")
	// What the first call hears is not sure; what is stored is.
	if _, err := b.Append(patient(t), ref, pos, []byte("two")); errors.Is(err, events.ErrConflict) {
		t.Fatal(err)
	}
	st, err := b.Last(patient(t), ref)
	if err != nil {
		t.Fatal(err)
	}
	if string(st.Data) != "two" {
		if _, err := b.Append(patient(t), ref, pos, []byte("two")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case st := <-frames:
		if string(st.Data) != "two" {
			t.Fatalf("followed %q", st.Data)
		}
	case <-time.After(patience):
		t.Fatal("the follower hears nothing after the restart")
	}
	// The request was asked again with the same id.
	for answered := false; !answered; {
		d := next(t, b)
		if err := b.Answer(d.Command, events.Answer{Command: d.Command.ID}); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-waiting:
			if err != nil {
				t.Fatal(err)
			}
			answered = true
		case <-time.After(100 * time.Millisecond): // before the first comes again, and again ahead of the second
		}
	}
	for _, want := range []string{"lost the connection to NATS", "reconnected to NATS"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

// TestConnectBeforeServer: a program that starts before its server says so,
// waits, and goes on.
func TestConnectBeforeServer(t *testing.T) {
	url := fmt.Sprintf("nats://127.0.0.1:%d", testenv.Port(t))
	var log lockedBuffer
	nc, err := natsbus.Connect(url, "test", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := natsbus.Open(short, nc, natsbus.Config{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Open without a server: %v", err)
	}
	opened := make(chan error, 1)
	go func() {
		b, err := natsbus.Open(patient(t), nc, natsbus.Config{})
		if err == nil {
			err = b.Close()
		}
		opened <- err
	}()
	s, err := server.Start(t.Context(), server.Config{SyncInterval: servertest.SyncInterval, StoreDir: t.TempDir(), Listen: strings.TrimPrefix(url, "nats://")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.WithoutCancel(t.Context())) })
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "no NATS server can be reached yet") {
		t.Errorf("the log does not say that there is no server:\n%s", log.String())
	}
	if _, err := natsbus.Connect("nats://%zz", "test", nil); err == nil {
		t.Error("Connect to nonsense succeeded")
	}
}

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("not after %s: %s", patience, what)
		panic("unreachable")
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

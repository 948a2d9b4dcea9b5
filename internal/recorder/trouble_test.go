package recorder_test

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

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/recorder"
)

// source is a bus that remembers what was kept aside and removed.
type source struct {
	recorder.Source
	mu     sync.Mutex
	buried []recorder.Frame
	change chan struct{} // closed and replaced when something was buried or trimmed
	trims  []uint64
	fail   int // how many calls of Bury fail first
}

func newSource(s recorder.Source) *source {
	return &source{Source: s, change: make(chan struct{})}
}

func (s *source) changed() {
	close(s.change)
	s.change = make(chan struct{})
}

func (s *source) Bury(ctx context.Context, stream string, f recorder.Frame, reason error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return errors.New("not now")
	}
	if err := s.Source.Bury(ctx, stream, f, reason); err != nil {
		return err
	}
	s.buried = append(s.buried, f)
	s.changed()
	return nil
}

func (s *source) Trim(ctx context.Context, stream string, upto uint64) error {
	err := s.Source.Trim(ctx, stream, upto)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trims = append(s.trims, upto)
	s.changed()
	return err
}

func (s *source) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		done, change := ok(), s.change
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-change:
		case <-timeout:
			t.Fatalf("not after %s: %s", patience, what)
		}
	}
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startLogged is start with a log and a reader of the instruments.
func startLogged(t *testing.T, s recorder.Source, store events.Store, cfg recorder.Config) (*logBuffer, *metric.ManualReader, func()) {
	t.Helper()
	log, reader := &logBuffer{}, metric.NewManualReader()
	meter := metric.NewMeterProvider(metric.WithReader(reader)).Meter("test")
	r, err := recorder.New(s, store, cfg, slog.New(slog.NewTextHandler(log, nil)), meter)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // the cause is our own cancel
	}()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return log, reader, stop
}

// raw appends bytes to a session past its writer.
func raw(t *testing.T, b *bench, ref holdfast.SessionRef, frame []byte) {
	t.Helper()
	var prev uint64
	if st, err := b.bus.Last(t.Context(), ref); err == nil {
		prev = st.Pos
	}
	if _, err := b.bus.Append(t.Context(), ref, prev, frame); err != nil {
		t.Fatal(err)
	}
}

// TestPoison: a frame that cannot be decoded is kept aside, with what then
// cannot follow; other sessions go on.
func TestPoison(t *testing.T) {
	b := newBench(t, 1)
	src := newSource(b.bus)
	src.fail = 2
	w := watch(b.store)
	log, reader, _ := startLogged(t, src, w, recorder.Config{MaxWait: time.Millisecond})
	s, other := newSession(t, b), newSession(t, b)
	last := s.add(t, 3)
	w.untilAt(t, s.ref, last)
	raw(t, b, s.ref, []byte("garbage"))
	src.until(t, "the garbage is kept aside", func() bool { return len(src.buried) == 1 })
	w.untilAt(t, other.ref, other.add(t, 5))
	if src.buried[0].Session != s.ref || string(src.buried[0].Data) != "garbage" {
		t.Fatalf("kept aside: %+v", src.buried[0])
	}
	// Frames of the same session that leave a gap cannot be recorded either.
	st, err := b.bus.Last(t.Context(), s.ref)
	if err != nil {
		t.Fatal(err)
	}
	raw(t, b, s.ref, events.AppendFrame(nil, st.Pos, []events.Envelope{{Seq: last + 2, Epoch: 1, Type: "x", V: 1, Time: time.Now(), Payload: []byte("{}")}}))
	src.until(t, "the frame after a gap is kept aside", func() bool { return len(src.buried) == 2 })
	otherLast := other.add(t, 5)
	w.untilAt(t, other.ref, otherLast)
	other.checkStore(t, b.store, otherLast)
	s.checkStore(t, b.store, last)
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "kept aside") {
		t.Errorf("the log does not say it loudly:\n%s", log.String())
	}
	if n := counter(t, reader, "holdfast.recorder.buried"); n != 2 {
		t.Errorf("holdfast.recorder.buried is %d, want 2", n)
	}
}

func counter(t *testing.T, reader *metric.ManualReader, name string) int64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				return d.DataPoints[0].Value
			case metricdata.Gauge[int64]:
				return d.DataPoints[0].Value
			}
		}
	}
	t.Fatalf("no instrument %s", name)
	return 0
}

// TestNewerFrame: a frame that only a newer program can read stops the stream
// before it; nothing is kept aside or passed over.
func TestNewerFrame(t *testing.T) {
	b := newBench(t, 1)
	src := newSource(b.bus)
	w := watch(b.store)
	s := newSession(t, b)
	last := s.add(t, 3)
	raw(t, b, s.ref, []byte{'H', 200, 0, 1, 2, 3})
	after := newSession(t, b)
	after.add(t, 1)
	log, _, stop := startLogged(t, src, w, recorder.Config{MaxWait: time.Millisecond})
	w.untilAt(t, s.ref, last)
	s.checkStore(t, b.store, last)
	cursor, err := b.store.Cursor(t.Context(), b.bus.Streams()[0])
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if len(src.buried) != 0 {
		t.Fatalf("kept aside: %+v", src.buried)
	}
	if _, err := b.store.Session(t.Context(), after.ref); !errors.Is(err, events.ErrNoSession) {
		t.Fatalf("what comes after it was recorded: %v", err)
	}
	info, err := b.bus.Info(t.Context(), b.bus.Streams()[0])
	if err != nil || cursor >= info.Last {
		t.Fatalf("cursor %d, the stream ends at %d, %v", cursor, info.Last, err)
	}
	if !strings.Contains(log.String(), "newer version of this program") {
		t.Errorf("the log does not say why:\n%s", log.String())
	}
}

// TestMend: what the store lacks before a frame is found on the bus.
func TestMend(t *testing.T) {
	b := newBench(t, 1)
	s := newSession(t, b)
	s.add(t, 20)
	// A cursor that is ahead of what was recorded, as after a restored backup.
	stream := b.bus.Streams()[0]
	info, err := b.bus.Info(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Record(t.Context(), events.Batch{Stream: stream, To: info.Last - 5}); err != nil {
		t.Fatal(err)
	}
	w := watch(b.store)
	src := newSource(b.bus)
	startLogged(t, src, w, recorder.Config{})
	last := s.add(t, 1)
	w.untilAt(t, s.ref, last)
	s.checkStore(t, b.store, last)
	if len(src.buried) != 0 {
		t.Fatalf("kept aside: %+v", src.buried)
	}
}

// TestRolledBack: the stream has lost frames that are recorded, and the session
// goes on; what comes is recorded though its positions were used before.
func TestRolledBack(t *testing.T) {
	b := newBench(t, 1)
	stream := b.bus.Streams()[0]
	s := newSession(t, b)
	last := s.add(t, 3)
	w := watch(b.store)
	_, stop := start(t, b.bus, w, recorder.Config{})
	w.untilAt(t, s.ref, last)
	stop()
	// The store has recorded 1,000 positions more than the stream has now.
	cursor, err := b.store.Cursor(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Record(t.Context(), events.Batch{Stream: stream, From: cursor, To: cursor + 1000}); err != nil {
		t.Fatal(err)
	}
	log, _, stop := startLogged(t, newSource(b.bus), w, recorder.Config{})
	last = s.add(t, 5)
	w.untilAt(t, s.ref, last)
	s.checkStore(t, b.store, last)
	stop()
	if !strings.Contains(log.String(), "lost frames that are recorded") {
		t.Errorf("the log does not say it:\n%s", log.String())
	}
	// The next recorder goes on from there.
	_, stop = start(t, b.bus, w, recorder.Config{})
	last = s.add(t, 5)
	w.untilAt(t, s.ref, last)
	stop()
	s.checkStore(t, b.store, last)
}

// overtaken is a bus on which more happens right after somebody has looked where
// a stream ends.
type overtaken struct {
	recorder.Source
	once sync.Once
	more func()
}

func (o *overtaken) Info(ctx context.Context, stream string) (recorder.StreamInfo, error) {
	info, err := o.Source.Info(ctx, stream)
	o.once.Do(o.more)
	return info, err
}

// TestOvertakenAtStart: a recorder starts while another one is at work, which
// records between the newcomer's looks at the stream and at the cursor. No frame
// is lost, and there is one cursor.
func TestOvertakenAtStart(t *testing.T) {
	b := newBench(t, 1)
	s := newSession(t, b)
	w := watch(b.store)
	start(t, b.bus, w, recorder.Config{})
	looked, recorded := make(chan struct{}), make(chan struct{})
	late := &overtaken{Source: b.bus, more: func() { close(looked); <-recorded }}
	log, _, _ := startLogged(t, late, w, recorder.Config{Standby: 20 * time.Millisecond})
	<-looked
	w.untilAt(t, s.ref, s.add(t, 3))
	close(recorded)
	last := s.add(t, 5)
	w.untilAt(t, s.ref, last)
	stream := b.bus.Streams()[0]
	st, err := b.bus.Last(t.Context(), s.ref)
	if err != nil {
		t.Fatal(err)
	}
	if cursor, err := b.store.Cursor(t.Context(), stream); err != nil || cursor != st.Pos {
		t.Errorf("the stream's cursor is at %d, %v, and its last frame at %d", cursor, err, st.Pos)
	}
	if strings.Contains(log.String(), "lost frames") {
		t.Errorf("the log says that frames are lost:\n%s", log.String())
	}
}

// TestRolledBackConflict: a session went on without frames that the bus lost;
// its new frames contradict the store and are kept aside, aloud.
func TestRolledBackConflict(t *testing.T) {
	b := newBench(t, 1)
	stream := b.bus.Streams()[0]
	s := newSession(t, b)
	last := s.add(t, 2)
	envelope := func(text string) events.Envelope {
		return events.Envelope{Seq: last + 1, Epoch: 1, Type: holdfast.TypeAgentChoice, V: 1, Time: time.Now(), Payload: fmt.Appendf(nil, `{"content":%q}`, text)}
	}
	w := watch(b.store)
	_, stop := start(t, b.bus, w, recorder.Config{})
	w.untilAt(t, s.ref, last)
	stop()
	cursor, err := b.store.Cursor(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Record(t.Context(), events.Batch{
		Stream: stream, From: cursor, To: cursor + 1000,
		Sessions: []events.SessionEvents{{Session: s.ref, Events: []events.Envelope{envelope("lost by the bus")}}},
	}); err != nil {
		t.Fatal(err)
	}
	st, err := b.bus.Last(t.Context(), s.ref)
	if err != nil {
		t.Fatal(err)
	}
	raw(t, b, s.ref, events.AppendFrame(nil, st.Pos, []events.Envelope{envelope("another")}))
	src := newSource(b.bus)
	startLogged(t, src, w, recorder.Config{})
	src.until(t, "the frame that contradicts is kept aside", func() bool { return len(src.buried) == 1 })
	if !bytes.Contains(src.buried[0].Data, []byte("another")) {
		t.Fatalf("kept aside: %q", src.buried[0].Data)
	}
}

// TestTrim: recorded frames leave the bus when they are old, and sessions go on.
func TestTrim(t *testing.T) {
	b := newBench(t, 1)
	stream := b.bus.Streams()[0]
	src := newSource(b.bus)
	w := watch(b.store)
	const retention = 300 * time.Millisecond
	startLogged(t, src, w, recorder.Config{Retention: retention, Standby: 20 * time.Millisecond})
	s := newSession(t, b)
	last := s.add(t, 5)
	began := time.Now()
	src.until(t, "all frames are removed", func() bool {
		info, err := b.bus.Info(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		return info.Bytes == 0
	})
	if took := time.Since(began); took < retention/2 {
		t.Errorf("frames were removed after %s", took)
	}
	s.checkStore(t, b.store, last)
	last = s.add(t, 3)
	w.untilAt(t, s.ref, last)
	s.checkStore(t, b.store, last)
	r := events.Reader{Bus: b.bus, Store: b.store}
	if _, err := r.Read(t.Context(), s.ref, 0, eventstest.NewCheck().Event); err != nil {
		t.Fatal(err)
	}
}

// TestNothingUnrecordedIsTrimmed: while the store is away nothing leaves the bus.
func TestNothingUnrecordedIsTrimmed(t *testing.T) {
	b := newBench(t, 1)
	faulty := eventstest.NewFaultyStore(b.store, 1, eventstest.Faults{})
	w := watch(faulty)
	src := newSource(b.bus)
	_, reader, _ := startLogged(t, src, w, recorder.Config{Retention: 300 * time.Millisecond, Standby: 5 * time.Millisecond})
	s := newSession(t, b)
	first := s.add(t, 3)
	w.untilAt(t, s.ref, first)
	faulty.SetFaults(eventstest.Faults{Lost: 1000})
	end := s.add(t, 10) // the writer's store is not the recorder's
	if info, err := b.store.Session(t.Context(), s.ref); err != nil || info.Head.Seq >= end {
		t.Fatalf("the store is away and has %+v, %v", info.Head, err)
	}
	if n := counter(t, reader, "holdfast.recorder.lag"); n < 0 {
		t.Errorf("lag %d", n)
	}
	// What is recorded has left the stream, so what is not is as old as that.
	stream, pos := b.bus.Streams()[0], recorded(t, b)
	for {
		info, err := b.bus.Info(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if info.First > pos {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	r := events.Reader{Bus: b.bus, Store: b.store}
	check := eventstest.NewCheck()
	if _, err := r.Read(t.Context(), s.ref, 0, check.Event); err != nil || check.Seq() != end {
		t.Fatalf("the log ends at %d, want %d: %v", check.Seq(), end, err)
	}
	faulty.SetFaults(eventstest.Faults{})
	w.untilAt(t, s.ref, end)
	s.checkStore(t, b.store, end)
}

// TestVoidRoot: a frame that came too late, when the bus had forgotten what took
// its place, leaves nothing in the store, however far it reaches.
func TestVoidRoot(t *testing.T) {
	b := newBench(t, 1)
	w := watch(b.store)
	src := newSource(b.bus)
	startLogged(t, src, w, recorder.Config{})
	s := newSession(t, b)
	last := s.add(t, 3)
	w.untilAt(t, s.ref, last)
	if err := b.bus.Trim(t.Context(), b.bus.Streams()[0], recorded(t, b)); err != nil {
		t.Fatal(err)
	}
	var late []events.Envelope
	for i := range uint64(5) {
		late = append(late, events.Envelope{Seq: last - 1 + i, Epoch: 1, Type: holdfast.TypeAgentChoice, V: 1, Time: time.Now(), Payload: []byte(`{"content":"void"}`)})
	}
	raw(t, b, s.ref, events.AppendFrame(nil, 0, late))
	// The owner goes on behind it, and then another one.
	last = s.add(t, 2)
	s.claim(t, b, "w2")
	last = max(last, s.add(t, 2))
	w.untilAt(t, s.ref, last)
	s.checkStore(t, b.store, last)
	if len(src.buried) != 0 {
		t.Fatalf("kept aside: %+v", src.buried)
	}
}

func recorded(t *testing.T, b *bench) uint64 {
	t.Helper()
	pos, err := b.store.Cursor(t.Context(), b.bus.Streams()[0])
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

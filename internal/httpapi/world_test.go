package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
	"github.com/holdfast-run/holdfast/internal/recorder"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// world is the API over a real bus and a real store, with an owner of sessions
// that follows a script.
type world struct {
	t     testing.TB
	bus   *natsbus.Bus
	store events.Store
	owner *owner
	api   *httpapi.API
	srv   *httptest.Server
	// faults stand between the API and its bus and store.
	faults *faults
}

// newWorld starts one; change may alter the API's configuration.
func newWorld(t testing.TB, change ...func(*httpapi.Config)) *world {
	t.Helper()
	s, err := server.Start(t.Context(), server.Config{SyncInterval: servertest.SyncInterval, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	nc, err := s.Connect(natsbus.Options(t.Name(), nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	bus, err := natsbus.Open(t.Context(), nc, natsbus.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bus.Close() })
	store, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "log.db"), sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })

	w := &world{t: t, bus: bus, store: store, faults: &faults{Bus: bus, Store: store}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() { record(ctx, t, bus, w.faults) })
	w.owner = newOwner(t, bus, store)
	wg.Go(func() { w.owner.run(ctx) })

	cfg := httpapi.Config{
		Bus: w.faults, Store: storeFaults{w.faults}, Commands: w.faults, Agents: testLibrary(store), Schedules: store,
		AgentAliases: map[string]string{"pirate.yaml": "demo"},
		Heartbeat:    time.Second,
		Checks:       []httpapi.Check{{Name: "store", Check: w.faults.checkStore}},
	}
	for _, c := range change {
		c(&cfg)
	}
	if w.api, err = httpapi.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.srv = httptest.NewUnstartedServer(w.api)
	w.srv.Config = httpapi.NewServer(w.api)
	w.srv.Start()
	t.Cleanup(func() { w.api.Close(); w.srv.Close() })
	return w
}

// record is the plainest recorder: one frame a batch, and none while the faults
// say so.
func record(ctx context.Context, t testing.TB, bus *natsbus.Bus, f *faults) {
	stream := bus.Streams()[0]
	frames := make(chan recorder.Frame)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		err := bus.Frames(ctx, stream, 0, func(fr recorder.Frame) error {
			select {
			case frames <- fr:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		if err != nil && ctx.Err() == nil {
			t.Errorf("recorder: %v", err)
		}
	})
	var at uint64
	for {
		f.waitRecorder(ctx)
		var fr recorder.Frame
		select {
		case <-ctx.Done():
			return
		case fr = <-frames:
		}
		frame, err := events.DecodeFrame(fr.Data)
		if err == nil {
			err = f.Store.Record(ctx, events.Batch{Stream: stream, From: at, To: fr.Pos, Sessions: []events.SessionEvents{{Session: fr.Session, Events: frame.Events}}})
		}
		if err != nil {
			if ctx.Err() == nil {
				t.Errorf("recorder: %v", err)
			}
			return
		}
		at = fr.Pos
	}
}

// faults let the parts that the API depends on fail.
type faults struct {
	events.Bus
	Store events.Store

	mu        sync.Mutex
	busDown   bool
	storeDown bool
	mute      bool          // commands are stored and nobody answers
	held      chan struct{} // not nil: the recorder waits
	dropLive  bool          // live frames get lost
}

var errDown = errors.New("down for the test")

func (f *faults) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// hold stops the recorder until the returned function is called.
func (f *faults) hold() (release func()) {
	ch := make(chan struct{})
	f.set(func() { f.held = ch })
	return sync.OnceFunc(func() {
		f.set(func() { f.held = nil })
		close(ch)
	})
}

func (f *faults) waitRecorder(ctx context.Context) {
	f.mu.Lock()
	ch := f.held
	f.mu.Unlock()
	if ch != nil {
		select {
		case <-ch:
		case <-ctx.Done():
		}
	}
}

func (f *faults) bus() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busDown {
		return errDown
	}
	return nil
}

func (f *faults) checkStore(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.storeDown {
		return errDown
	}
	return nil
}

func (f *faults) Last(ctx context.Context, s holdfast.SessionRef) (events.Stored, error) {
	if err := f.bus(); err != nil {
		return events.Stored{}, err
	}
	return f.Bus.Last(ctx, s)
}

func (f *faults) Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error) {
	if err := f.bus(); err != nil {
		return 0, err
	}
	return f.Bus.Append(ctx, s, prev, frame)
}

func (f *faults) Follow(ctx context.Context, s holdfast.SessionRef, fn func(events.Stored)) (func(), error) {
	if err := f.bus(); err != nil {
		return nil, err
	}
	return f.Bus.Follow(ctx, s, func(st events.Stored) {
		f.mu.Lock()
		drop := f.dropLive
		f.mu.Unlock()
		if !drop {
			fn(st)
		}
	})
}

func (f *faults) Request(ctx context.Context, c events.Command) (events.Answer, error) {
	if err := f.bus(); err != nil {
		return events.Answer{}, holdfast.WrapError(holdfast.CodeUnavailable, err, "the request could not be queued")
	}
	f.mu.Lock()
	mute := f.mute
	f.mu.Unlock()
	if mute {
		if err := f.Send(ctx, c); err != nil {
			return events.Answer{}, err
		}
		return events.Answer{}, holdfast.Errorf(holdfast.CodeTimeout, "queued")
	}
	return f.Bus.(*natsbus.Bus).Request(ctx, c)
}

// storeFaults is the store as the API sees it.
type storeFaults struct{ f *faults }

func (s storeFaults) Cursor(ctx context.Context, stream string) (uint64, error) {
	return s.f.Store.Cursor(ctx, stream)
}
func (s storeFaults) Record(context.Context, events.Batch) error { return errors.ErrUnsupported }
func (s storeFaults) PutSnapshot(context.Context, holdfast.SessionRef, events.Snapshot) error {
	return errors.ErrUnsupported
}

func (s storeFaults) Snapshot(context.Context, holdfast.SessionRef, uint64) (events.Snapshot, error) {
	return events.Snapshot{}, errors.ErrUnsupported
}

func (s storeFaults) Read(ctx context.Context, ref holdfast.SessionRef, after uint64, limit int) ([]events.Envelope, error) {
	if err := s.f.checkStore(ctx); err != nil {
		return nil, err
	}
	return s.f.Store.Read(ctx, ref, after, limit)
}

func (s storeFaults) Session(ctx context.Context, ref holdfast.SessionRef) (events.SessionInfo, error) {
	if err := s.f.checkStore(ctx); err != nil {
		return events.SessionInfo{}, err
	}
	return s.f.Store.Session(ctx, ref)
}

func (s storeFaults) Sessions(ctx context.Context, tenant string, p events.Page) ([]events.SessionInfo, error) {
	if err := s.f.checkStore(ctx); err != nil {
		return nil, err
	}
	return s.f.Store.Sessions(ctx, tenant, p)
}

// testAgents are the agent files of the deployment, one of them broken.
func testAgents() agent.Source {
	files := map[string][]byte{
		"demo.yaml":   []byte("version: \"2\"\nagents:\n  root:\n    model: scripted/demo\n    description: Does as it is told.\n    instruction: Obey.\n"),
		"team.yaml":   []byte("version: \"2\"\nagents:\n  root:\n    model: scripted/team\n    description: Two of them.\n    sub_agents: [other]\n  other:\n    model: scripted/team\n"),
		"broken.yaml": []byte("agents:\n  root:\n    modle: openai/x\n"),
	}
	return agent.Builtin(files, agent.Options{})
}

// testLibrary is the deployment's files and, with a store, those of tenants.
func testLibrary(store agent.Store) *agent.Library {
	return agent.NewLibrary(store, testAgents(), agent.Options{})
}

// call makes one request and returns status and body.
func (w *world) call(method, path, body string, header ...string) (int, string) {
	w.t.Helper()
	resp := w.open(w.t.Context(), method, path, body, header...)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return resp.StatusCode, string(b)
}

func (w *world) open(ctx context.Context, method, path, body string, header ...string) *http.Response {
	w.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, w.srv.URL+path, r)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.srv.Client().Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

// mustCall is call for requests that must succeed with 2xx; it decodes the answer.
func (w *world) mustCall(method, path, body string, into any) {
	w.t.Helper()
	st, answer := w.call(method, path, body)
	if st < 200 || st > 299 {
		w.t.Fatalf("%s %s: %d %s", method, path, st, answer)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(answer), into); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
		}
	}
}

// newSession creates a session over the legacy route.
func (w *world) newSession() string {
	w.t.Helper()
	var s struct{ ID string }
	w.mustCall("POST", "/api/sessions", "null", &s)
	return s.ID
}

// until waits for a condition that another goroutine brings about.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			w.t.Fatalf("waited a minute for: %s", what)
		case <-tick.C:
		}
	}
}

// stored reads the session's log without the API.
func (w *world) stored(id string) []events.Envelope {
	w.t.Helper()
	r := events.Reader{Bus: w.bus, Store: w.store}
	var all []events.Envelope
	_, err := r.Read(w.t.Context(), holdfast.SessionRef{Tenant: "default", Session: id}, 0, func(e events.Envelope) error {
		all = append(all, e)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// archived waits until the store has the session's newest event.
func (w *world) archived(id string) {
	w.t.Helper()
	log := w.stored(id)
	w.until("the archive to have "+id, func() bool {
		info, err := w.store.Session(w.t.Context(), holdfast.SessionRef{Tenant: "default", Session: id})
		return err == nil && info.Head.Seq >= log[len(log)-1].Seq
	})
}

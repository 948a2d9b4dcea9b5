package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/client"
)

// TestDisconnects is the short form of TestChaosDisconnects.
func TestDisconnects(t *testing.T) {
	t.Parallel()
	disconnects(t, 6, 150, 700)
}

// disconnects cuts so many connections of clients that read sessions, through
// two API processes, while they are written. Of each session one client is ours,
// which reconnects by itself, and one knows nothing but HTTP and Last-Event-ID.
// What each has put together in the end is byte for byte the log.
func disconnects(t *testing.T, sessions, cuts, mean int) {
	c := newCluster(t, setup{apis: 2, files: map[string]string{"talker.yaml": talker(150, 20*time.Millisecond)}})
	cut := newCutter(t, c.apis, mean, cuts, rand.New(rand.NewPCG(rand.Uint64(), 0)))
	cl := c.client()
	// Not one of the readers: a connection of its own for each request.
	through := newClient(t, cut.url(), client.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers, writers sync.WaitGroup
	read := make([][2]*transcript, sessions)
	ids := make([]string, sessions)
	for i := range ids {
		doc, err := cl.CreateSession(t.Context(), client.NewSession{Title: "cut", Agent: "talker"})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = doc.ID
		read[i] = [2]*transcript{newTranscript(), newTranscript()}
		readers.Go(func() { read[i][0].end(withClient(ctx, through, doc.ID, read[i][0])) })
		readers.Go(func() { read[i][1].end(withHTTP(ctx, cut.url(), doc.ID, read[i][1])) })
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-cut.over:
					return
				case <-ctx.Done():
					return
				default:
				}
				run, err := cl.StartRun(ctx, doc.ID, client.NewRun{Messages: []client.Message{{Content: fmt.Sprint("go ", n)}}})
				if err != nil {
					t.Errorf("session %s: %v", doc.ID, err)
					return
				}
				// By a connection that nobody cuts: the readers may be behind.
				for e, err := range cl.Events(ctx, doc.ID, run.Seq-1) {
					if err != nil {
						t.Errorf("session %s: %v", doc.ID, err)
						return
					}
					if e.Event.EventType() == "session_parked" {
						break
					}
				}
			}
		})
	}
	writers.Wait()
	log := c.log()
	total := 0
	for i, id := range ids {
		var want bytes.Buffer
		for _, e := range log.session(id) {
			want.Write(e.AppendWire(nil, id))
			want.WriteByte('\n')
		}
		total += want.Len()
		for n, name := range []string{"our client", "the plain client"} {
			if got := read[i][n].await(t, want.Len()); !bytes.Equal(got, want.Bytes()) {
				t.Errorf("session %s: %s has %d bytes that are not the %d bytes of the log; they part at %d", id, name, len(got), want.Len(), common(got, want.Bytes()))
			}
		}
	}
	cancel()
	readers.Wait()
	cut.mu.Lock()
	defer cut.mu.Unlock()
	t.Logf("%d connections cut in %d sessions, logs of %d bytes", cut.cuts, sessions, total)
	if cut.cuts != cuts {
		t.Errorf("%d connections were cut, want %d", cut.cuts, cuts)
	}
}

// common is how many bytes two texts begin with in common.
func common(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// transcript is the events that a client has, each as it came and a newline.
type transcript struct {
	mu      sync.Mutex // guards what follows
	text    bytes.Buffer
	err     error
	changed chan struct{} // closed when text or err changes
}

func newTranscript() *transcript { return &transcript{changed: make(chan struct{})} }

func (tr *transcript) add(event []byte) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.text.Write(event)
	tr.text.WriteByte('\n')
	close(tr.changed)
	tr.changed = make(chan struct{})
}

func (tr *transcript) end(err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.err = err
	close(tr.changed)
	tr.changed = make(chan struct{})
}

// await returns the text when it has so many bytes.
func (tr *transcript) await(t testing.TB, size int) []byte {
	t.Helper()
	limit := time.NewTimer(waitLimit)
	defer limit.Stop()
	for {
		tr.mu.Lock()
		text, err, changed := bytes.Clone(tr.text.Bytes()), tr.err, tr.changed
		tr.mu.Unlock()
		if len(text) >= size {
			return text
		}
		if err != nil {
			t.Errorf("a client gave up: %v", err)
			return text
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Errorf("a client has %d of %d bytes after %s", len(text), size, waitLimit)
			return text
		}
	}
}

// withClient reads a session with the Go client.
func withClient(ctx context.Context, cl *client.Client, session string, tr *transcript) error {
	for e, err := range cl.Events(ctx, session, 0) {
		if err != nil {
			return err
		}
		tr.add(e.Raw)
	}
	return nil
}

// withHTTP reads a session as any program could: whole events count, and the id
// of the last one is where the next connection goes on.
func withHTTP(ctx context.Context, url, session string, tr *transcript) error {
	transport := &http.Transport{DisableKeepAlives: true}
	last := ""
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/sessions/"+session+"/events", http.NoBody)
		if err != nil {
			return err
		}
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			continue // cut in the header
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return fmt.Errorf("session %s after %q: %s", session, last, resp.Status)
		}
		id, data := "", []byte(nil)
		for r := bufio.NewReader(resp.Body); ; {
			line, err := r.ReadBytes('\n')
			if err != nil {
				break // what is not whole does not count
			}
			line = line[:len(line)-1]
			if text, ok := bytes.CutPrefix(line, []byte("id: ")); ok {
				id = string(text)
			} else if text, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				data = text
			} else if len(line) == 0 {
				// What has no id is no event of the log.
				if id != "" && data != nil {
					tr.add(data)
					last = id
				}
				id, data = "", nil
			}
		}
		resp.Body.Close()
	}
	return nil
}

package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

type memory struct{ heap, goroutines int64 }

// liveMemory is what is reachable now.
func liveMemory() memory {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{int64(m.HeapAlloc), int64(runtime.NumGoroutine())}
}

// runWorker runs a worker with a recorder in this process.
func (w *world) runWorker() {
	w.b.Helper()
	w.run(app.Roles{Worker: true, Recorder: true}, "inside")
}

// BenchmarkStorage measures what a session of 1,000 turns takes in Postgres after
// compaction, beside its unique content: what the user said, what the agent
// said, arguments and results of tools. The texts have the frequencies of words
// of a natural language; zstd of the bare content is the peer.
func BenchmarkStorage(b *testing.B) {
	const turns = 1000
	w := newWorld(b, 1)
	text := newProse()
	var script, content strings.Builder
	questions := make([]string, turns)
	for i := range turns {
		question, thought, answer := fmt.Sprintf("%s (%d)", text.words(30), i), text.words(20), text.words(150)
		fmt.Fprintf(&script, "  - { when: { contains: \"(%d)\", turn: 0 }, say: \"Let me think.\", call: [{ name: think, arguments: { thought: %q } }] }\n", i, thought)
		fmt.Fprintf(&script, "  - { when: { contains: \"(%d)\", after_tool: think }, say: %q }\n", i, answer)
		questions[i] = question
		content.WriteString(question + "Let me think." + `{"thought":"` + thought + `"}` + "Thought noted." + answer)
	}
	w.agent("prose", script.String())
	id := w.create(1, "prose")[0]
	var last uint64
	for _, question := range questions {
		s, err := w.start(id, question)
		if err != nil {
			b.Fatal(err)
		}
		err = w.stream(b.Context(), id, s.Seq-1, func(e *entry) bool { last = e.seq; return !e.is("session_parked") })
		if err != nil {
			b.Fatal(err)
		}
	}
	w.waitRecorded(last)
	w.waitSnapshot(id)
	doc, err := w.client.GetSession(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	if len(doc.Messages) != 4*turns {
		b.Fatalf("%d messages, want %d", len(doc.Messages), 4*turns)
	}
	store, err := pgstore.Open(b.Context(), w.dsn, pgstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // the benchmark is over
	recorded := w.tableBytes("event_chunks")
	if err := store.Compact(b.Context(), holdfast.SessionRef{Tenant: "default", Session: id}); err != nil {
		b.Fatal(err)
	}
	unique := float64(content.Len())
	b.ReportMetric(unique/1024, "content-KB")
	b.ReportMetric(float64(last), "events")
	b.ReportMetric(recorded/unique, "recorded/content")
	b.ReportMetric(w.tableBytes("event_chunks")/unique, "compacted/content")
	b.ReportMetric(w.tableBytes("snapshots")/unique, "snapshot/content")
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(enc.EncodeAll([]byte(content.String()), nil)))/unique, "zstd-alone/content")
	b.ReportMetric(0, "ns/op")
}

// tableBytes is what a table with its indexes takes when nothing dead is in it.
func (w *world) tableBytes(table string) (size float64) {
	w.b.Helper()
	if _, err := w.db.Exec(w.b.Context(), "VACUUM FULL "+table); err != nil {
		w.b.Fatal(err)
	}
	if err := w.db.QueryRow(w.b.Context(), "SELECT pg_total_relation_size($1::regclass)::float8", table).Scan(&size); err != nil {
		w.b.Fatal(err)
	}
	return size
}

// prose makes text of made-up words, common and rare ones as in a language
// (Zipf's law), the same in every run.
type prose struct {
	rand       *rand.Rand
	zipf       *rand.Zipf
	vocabulary []string
}

func newProse() *prose {
	p := &prose{rand: rand.New(rand.NewPCG(1, 2)), vocabulary: make([]string, 20_000)}
	p.zipf = rand.NewZipf(p.rand, 1.1, 4, uint64(len(p.vocabulary)-1))
	const consonants, vowels = "bcdfghklmnprstvw", "aeiou"
	for i := range p.vocabulary {
		var word strings.Builder
		for range 1 + int(math.Log10(float64(i+2))) + p.rand.IntN(2) {
			word.WriteByte(consonants[p.rand.IntN(len(consonants))])
			word.WriteByte(vowels[p.rand.IntN(len(vowels))])
		}
		p.vocabulary[i] = word.String()
	}
	return p
}

func (p *prose) words(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = p.vocabulary[p.zipf.Uint64()]
	}
	return strings.Join(list, " ")
}

// BenchmarkDev measures the embedded mode: the time from the start of the program
// until a client has the first token of its first run, and its memory after that
// and after a hundred more.
func BenchmarkDev(b *testing.B) {
	bin := testenv.Build(b, "./cmd/holdfast")
	var ready, token []time.Duration
	var first, later, most []float64
	for range max(5, *repetitions) {
		begin := time.Now()
		p := testenv.Start(b, bin, nil, "dev", "--listen", "127.0.0.1:0", "--data", filepath.Join(b.TempDir(), "data"))
		line := p.WaitLog("http://")
		_, addr, _ := strings.Cut(line, "http://")
		w := &world{b: b, addr: strings.TrimSpace(addr)}
		w.connect()
		ready = append(ready, time.Since(begin))
		run := func() (first time.Time) {
			doc, err := w.client.CreateSession(b.Context(), client.NewSession{Agent: "demo", ToolsApproved: true})
			if err != nil {
				b.Fatal(err)
			}
			s, err := w.start(doc.ID, "hello")
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			defer cancel()
			err = w.stream(ctx, doc.ID, s.Seq-1, func(e *entry) bool {
				if first.IsZero() && e.is("agent_choice") {
					first = e.got
				}
				return !e.is("run_finished")
			})
			if err != nil {
				b.Fatal(err)
			}
			return first
		}
		token = append(token, run().Sub(begin))
		now, _ := resident(b, p.PID())
		first = append(first, now/(1<<20))
		w.each(100, 20, func(int) error { run(); return nil })
		now, peak := resident(b, p.PID())
		later, most = append(later, now/(1<<20)), append(most, peak/(1<<20))
		p.Kill()
	}
	b.ReportMetric(ms(quantile(ready, 0.5)), "ready-ms")
	b.ReportMetric(ms(quantile(token, 0.5)), "first-token-ms")
	b.ReportMetric(ms(quantile(token, 1)), "first-token-max-ms")
	b.ReportMetric(quantile(first, 0.5), "resident-MB")
	b.ReportMetric(quantile(later, 0.5), "resident-after-100-runs-MB")
	b.ReportMetric(quantile(most, 0.5), "resident-at-most-MB")
	b.ReportMetric(0, "ns/op")
}

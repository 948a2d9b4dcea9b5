package app_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// damaged is an archive that somebody changes behind the programs' backs.
type damaged struct {
	t       *testing.T
	db      *sql.DB
	session string
}

func (d *damaged) exec(query string, args ...any) {
	d.t.Helper()
	res, err := d.db.ExecContext(d.t.Context(), query, args...)
	if err != nil {
		d.t.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		d.t.Fatalf("%s changed %d rows, %v", query, n, err)
	}
}

// log rewrites the session's events.
func (d *damaged) log(change func(evs []events.Envelope) []events.Envelope) {
	d.t.Helper()
	rows, err := d.db.QueryContext(d.t.Context(), `SELECT first_seq, last_seq, data FROM event_chunks WHERE session = ? ORDER BY first_seq`, d.session)
	if err != nil {
		d.t.Fatal(err)
	}
	defer rows.Close()
	var evs []events.Envelope
	for rows.Next() {
		var c events.Chunk
		if err := rows.Scan(&c.First, &c.Last, &c.Data); err != nil {
			d.t.Fatal(err)
		}
		more, err := c.Events(holdfast.SessionRef{})
		if err != nil {
			d.t.Fatal(err)
		}
		evs = append(evs, more...)
	}
	if err := rows.Err(); err != nil {
		d.t.Fatal(err)
	}
	rows.Close()
	d.exec(`DELETE FROM event_chunks WHERE session = ?`, d.session)
	var chunks []events.Chunk
	evs = change(evs)
	for len(evs) > 0 { // a chunk has no gap in it
		n := 1
		for n < len(evs) && evs[n].Seq == evs[n-1].Seq+1 {
			n++
		}
		chunks = events.AppendChunks(chunks, evs[:n])
		evs = evs[n:]
	}
	for _, c := range chunks {
		d.exec(`INSERT INTO event_chunks (tenant, session, first_seq, last_seq, size, data) VALUES ('default', ?, ?, ?, ?, ?)`,
			d.session, c.First, c.Last, c.Size, c.Data)
	}
}

// nth is where the log has the nth event of a type, from 1.
func (d *damaged) nth(evs []events.Envelope, typ string, n int) *events.Envelope {
	d.t.Helper()
	for i := range evs {
		if evs[i].Type == typ {
			if n--; n == 0 {
				return &evs[i]
			}
		}
	}
	d.t.Fatalf("the log has no such %s", typ)
	return nil
}

// gone makes an event one that says nothing, so that seq stays without a gap.
func (d *damaged) gone(typ string, n int) {
	d.t.Helper()
	d.log(func(evs []events.Envelope) []events.Envelope {
		e := d.nth(evs, typ, n)
		e.Type, e.Payload = "nothing_at_all", []byte("{}")
		return evs
	})
}

// again puts what an event says into the place of another one.
func (d *damaged) again(typ string, n int, over string, m int) {
	d.t.Helper()
	d.log(func(evs []events.Envelope) []events.Envelope {
		from, to := *d.nth(evs, typ, n), d.nth(evs, over, m)
		from.Seq, from.Epoch = to.Seq, to.Epoch
		*to = from
		return evs
	})
}

// TestVerifyFindsDamage: whatever is changed in the database, verify says in which
// session, at which event, and which rule is broken.
func TestVerifyFindsDamage(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	base, stop := start(t, data, "HOLDFAST_APPROVAL_TIMEOUT=24h")
	var s document
	call(t, http.MethodPost, base+"/v1/sessions", `{"metadata":{"k":"v"}}`, http.StatusCreated, &s)
	var settled struct{ Seq uint64 }
	say := func(text string) (all []event) {
		t.Helper()
		call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/runs", `{"agent":"demo","messages":[{"content":"`+text+`"}]}`, http.StatusOK, &settled)
		return follow(t, base, s.ID, settled.Seq, holdfast.TypeSessionParked)
	}
	say("hello")
	var asked holdfast.ToolCallConfirmationEvent
	find(t, say("remember the milk"), holdfast.TypeToolCallConfirmation, &asked)
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/tool-calls/"+asked.ToolCall.ID+"/decision", `{"decision":"approve"}`, http.StatusOK, &settled)
	follow(t, base, s.ID, settled.Seq, holdfast.TypeSessionParked)
	say("hello again")
	at := time.Now().Add(90 * 24 * time.Hour).UTC().Format(time.RFC3339)
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/messages", `{"at":"`+at+`","messages":[{"content":"in three months"}]}`, http.StatusOK, nil)
	var fork, dead document
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/forks", `{"seq":10}`, http.StatusCreated, &fork)
	call(t, http.MethodPost, base+"/v1/sessions", `{}`, http.StatusCreated, &dead)
	run(t, base, dead.ID, "hello")
	stop()
	verify(t, data, 3, 0)
	whole, err := os.ReadFile(filepath.Join(data, "holdfast.db"))
	if err != nil {
		t.Fatal(err)
	}

	const mine = ` WHERE session = ?`
	cases := []struct {
		name   string
		rules  string // any of them
		damage func(d *damaged)
	}{
		{"the first chunk is gone", "read", func(d *damaged) { d.exec(`DELETE FROM event_chunks`+mine+` AND first_seq = 1`, d.session) }},
		{"a chunk in the middle is gone", "read", func(d *damaged) {
			d.exec(`DELETE FROM event_chunks WHERE rowid = (SELECT rowid FROM event_chunks WHERE session = ? ORDER BY first_seq LIMIT 1 OFFSET 2)`, d.session)
		}},
		{"the last chunk is gone", "read", func(d *damaged) {
			d.exec(`DELETE FROM event_chunks WHERE rowid = (SELECT rowid FROM event_chunks WHERE session = ? ORDER BY first_seq DESC LIMIT 1)`, d.session)
		}},
		{"all chunks are gone", "read", func(d *damaged) { d.exec(`DELETE FROM event_chunks`+mine, d.session) }},
		{"a chunk is zeros", "read", func(d *damaged) {
			d.exec(`UPDATE event_chunks SET data = zeroblob(100)`+mine+` AND first_seq = (SELECT max(first_seq) FROM event_chunks WHERE session = ?)`, d.session, d.session)
		}},
		{"a chunk is cut", "read", func(d *damaged) {
			d.exec(`UPDATE event_chunks SET data = substr(data, 1, length(data) - 7)`+mine+` AND first_seq = 1`, d.session)
		}},
		{"a chunk is empty", "read", func(d *damaged) {
			d.exec(`UPDATE event_chunks SET data = x''`+mine+` AND first_seq = 1`, d.session)
		}},
		{"a chunk stands in the place of another", "read", func(d *damaged) {
			d.exec(`UPDATE event_chunks SET data = (SELECT data FROM event_chunks WHERE session = ?1 ORDER BY first_seq DESC LIMIT 1) WHERE session = ?1 AND first_seq = 1`, d.session)
		}},
		{"a chunk says that it begins later", "read", func(d *damaged) {
			d.exec(`UPDATE event_chunks SET first_seq = first_seq + 1`+mine+` AND first_seq = (SELECT max(first_seq) FROM event_chunks WHERE session = ?1)`, d.session)
		}},
		{"an epoch falls", "read epoch fold", func(d *damaged) {
			d.log(func(evs []events.Envelope) []events.Envelope {
				for i := range evs[len(evs)-3:] {
					evs[len(evs)-3+i].Epoch = 1
				}
				return evs
			})
		}},
		{"an event is missing", "read", func(d *damaged) {
			d.log(func(evs []events.Envelope) []events.Envelope { return slices.Delete(evs, 8, 9) })
		}},
		{"the end is missing", "read", func(d *damaged) {
			d.log(func(evs []events.Envelope) []events.Envelope { return evs[:len(evs)-2] })
		}},
		{"a payload cannot be read", "payload", func(d *damaged) {
			d.log(func(evs []events.Envelope) []events.Envelope {
				d.nth(evs, holdfast.TypeToolCall, 1).Payload = []byte(`{"tool_call":7}`)
				return evs
			})
		}},
		{"the session is not created", "first", func(d *damaged) { d.gone(holdfast.TypeSessionCreated, 1) }},
		{"a claim is missing", "epoch", func(d *damaged) { d.gone(holdfast.TypeSessionClaimed, 2) }},
		{"something follows session_parked", "left", func(d *damaged) { d.again(holdfast.TypeSessionParked, 1, holdfast.TypeRunStarted, 1) }},
		{"a command is accepted twice", "command", func(d *damaged) { d.again(holdfast.TypeCommandAccepted, 1, holdfast.TypeCommandAccepted, 2) }},
		{"a run is not queued", "run", func(d *damaged) { d.gone(holdfast.TypeRunQueued, 1) }},
		{"a run does not finish", "run", func(d *damaged) { d.gone(holdfast.TypeRunFinished, 1) }},
		{"a stream does not stop", "stream", func(d *damaged) { d.gone(holdfast.TypeStreamStopped, 1) }},
		{"a model call does not finish", "model", func(d *damaged) { d.gone(holdfast.TypeModelCallFinished, 1) }},
		{"a call has no intent", "intent", func(d *damaged) { d.gone(holdfast.TypeToolCall, 1) }},
		{"a call has no outcome", "outcome", func(d *damaged) { d.gone(holdfast.TypeToolCallResponse, 1) }},
		{"a call has two outcomes", "outcome", func(d *damaged) {
			d.log(func(evs []events.Envelope) []events.Envelope {
				from := *d.nth(evs, holdfast.TypeToolCallResponse, 1)
				to := &evs[from.Seq] // what follows it
				from.Seq, from.Epoch = to.Seq, to.Epoch
				*to = from
				return evs
			})
		}},
		{"a call runs although a human said no", "decision", func(d *damaged) {
			d.log(func(evs []events.Envelope) []events.Envelope {
				e := d.nth(evs, holdfast.TypeToolCallDecided, 1)
				e.Payload = bytes.Replace(e.Payload, []byte(`"approve"`), []byte(`"reject"`), 1)
				return evs
			})
		}},
		{"nobody was asked", "decision", func(d *damaged) { d.gone(holdfast.TypeToolCallConfirmation, 1) }},
		{"a timer fires that is not set", "timer", func(d *damaged) {
			d.log(func(evs []events.Envelope) []events.Envelope {
				e := d.nth(evs, holdfast.TypeTimerFired, 1)
				e.Payload = []byte(`{"timer":"another"}`)
				return evs
			})
		}},
		{"a key is another one", "key", func(d *damaged) {
			d.log(func(evs []events.Envelope) []events.Envelope {
				first, second := d.nth(evs, holdfast.TypeToolCall, 1), d.nth(evs, holdfast.TypeToolCall, 2)
				key := regexp.MustCompile(`"idempotency_key":"[^"]*"`)
				second.Payload = key.ReplaceAll(second.Payload, key.Find(first.Payload))
				return evs
			})
		}},
		{"the row is gone", "projection", func(d *damaged) { d.exec(`DELETE FROM sessions WHERE id = ?`, d.session) }},
		{"the row is further", "read", func(d *damaged) { d.exec(`UPDATE sessions SET head_seq = head_seq + 1 WHERE id = ?`, d.session) }},
		{"the row is behind", "projection", func(d *damaged) { d.exec(`UPDATE sessions SET head_seq = head_seq - 1 WHERE id = ?`, d.session) }},
		{"the row says that it was deleted", "projection", func(d *damaged) { d.exec(`UPDATE sessions SET deleted = 1 WHERE id = ?`, d.session) }},
		{"another title", "projection", func(d *damaged) { d.exec(`UPDATE sessions SET title = 'x' WHERE id = ?`, d.session) }},
		{"another status", "projection", func(d *damaged) { d.exec(`UPDATE sessions SET status = 'running' WHERE id = ?`, d.session) }},
		{"other labels", "projection", func(d *damaged) { d.exec(`UPDATE sessions SET metadata = '{"k":"w"}' WHERE id = ?`, d.session) }},
		{"other tokens", "projection", func(d *damaged) {
			d.exec(`UPDATE sessions SET input_tokens = input_tokens + 1 WHERE id = ?`, d.session)
		}},
		{"a timer is gone", "projection", func(d *damaged) { d.exec(`DELETE FROM timers`+mine, d.session) }},
		{"a timer has another time", "projection", func(d *damaged) { d.exec(`UPDATE timers SET at = at - 1`+mine, d.session) }},
		{"a timer that nobody set", "projection", func(d *damaged) {
			d.exec(`INSERT INTO timers (tenant, session, timer, at, due, kind) VALUES ('default', ?, 't', 1, 9000000000000000, 'run')`, d.session)
		}},
		{"usage is gone", "projection", func(d *damaged) { d.exec(`DELETE FROM usage`+mine, d.session) }},
		{"more usage", "projection", func(d *damaged) { d.exec(`UPDATE usage SET calls = calls + 1`+mine, d.session) }},
		{"a snapshot of something else", "snapshot", func(d *damaged) {
			d.exec(`INSERT INTO snapshots (tenant, session, seq, format, data) VALUES ('default', ?, 20, ?, ?)`,
				d.session, runtime.StateFormat, events.Pack([]byte(`{"Seq":20}`)))
		}},
	}
	for n, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "holdfast.db"), whole, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("sqlite", filepath.Join(dir, "holdfast.db"))
			if err != nil {
				t.Fatal(err)
			}
			c.damage(&damaged{t, db, s.ID})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Load([]string{"HOLDFAST_DATA=" + dir})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			r, err := app.Verify(t.Context(), cfg, app.VerifyOptions{ArchiveOnly: true}, &out)
			if err != nil {
				t.Fatalf("case %d: verify gives up: %v", n, err)
			}
			for line := range strings.Lines(out.String()) {
				session, rest, _ := strings.Cut(line, ": seq ")
				var seq uint64
				var rule string
				if _, err := fmt.Sscanf(rest, "%d: %s", &seq, &rule); err != nil || seq == 0 {
					t.Errorf("verify says %q: %v", line, err)
				}
				if strings.HasSuffix(session, s.ID) && slices.Contains(strings.Fields(c.rules), strings.TrimSuffix(rule, ":")) {
					return
				}
			}
			t.Errorf("want a finding of %s in %s, got %d:\n%s", c.rules, s.ID, r.Violations, out.String())
		})
	}
}

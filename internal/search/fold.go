package search

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Message is a message as the index has it.
type Message struct {
	// Seq is the event that completed it, at At.
	Seq  uint64
	At   time.Time
	Role holdfast.Role // user or assistant
	// Run is the run that it belongs to, Agent the agent that said it, both "" where
	// nobody's.
	Run, Agent string
	// Text is at most [MaxText] bytes, valid UTF-8 in canonical composition, without
	// NUL.
	Text string
}

// Marks returns the sessions of a batch, each once, of which the index has
// something to learn: a message was completed, or may have become void, or the
// session is new and may inherit some. Most batches have none: they are parts of
// what models stream.
func Marks(b *events.Batch) (refs []holdfast.SessionRef) {
	seen := map[holdfast.SessionRef]bool{}
	for i := range b.Sessions {
		se := &b.Sessions[i]
		for j := range se.Events {
			if marks(se.Events[j].Type) {
				if !seen[se.Session] {
					seen[se.Session] = true
					refs = append(refs, se.Session)
				}
				break
			}
		}
	}
	return refs
}

func marks(typ string) bool {
	switch typ {
	case holdfast.TypeSessionCreated, holdfast.TypeUserMessage, holdfast.TypeModelCallFinished, holdfast.TypeRunFinished:
		return true
	}
	return false
}

// reading is the fold of a session's events into messages: the same as that of a
// session's document, with as much of it as the index needs. It can begin behind
// any event that settled says is one.
type reading struct {
	head uint64
	// open are the model calls under way, by agent; voiding the runs that are being
	// rolled back, with the event that said so.
	open    map[string]*openCall
	voiding map[string]uint64

	// messages and void are what was found since they were last taken: messages, and
	// runs whose messages of before are none any more.
	messages []Message
	void     []string
	size     int
}

// openCall is an answer that is being written.
type openCall struct {
	id, run string
	start   uint64
	text    strings.Builder
}

func newReading(after uint64) *reading {
	return &reading{head: after, open: map[string]*openCall{}, voiding: map[string]uint64{}}
}

// settled is the newest event behind which a new reading finds all that this one
// finds from now on.
func (r *reading) settled() uint64 {
	at := r.head
	for _, o := range r.open {
		at = min(at, o.start-1)
	}
	for _, seq := range r.voiding {
		at = min(at, seq-1)
	}
	return at
}

// take returns what was found.
func (r *reading) take() (messages []Message, void []string) {
	messages, void = r.messages, r.void
	r.messages, r.void, r.size = nil, nil, 0
	return messages, void
}

// apply folds the next event. One that cannot be understood is passed over: what
// it says cannot be shown either.
func (r *reading) apply(e *events.Envelope) error {
	r.head = e.Seq
	switch e.Type {
	case holdfast.TypeAgentChoice, holdfast.TypeModelCallStarted, holdfast.TypeModelCallVoided, holdfast.TypeModelCallFinished,
		holdfast.TypeUserMessage, holdfast.TypeRunCanceled, holdfast.TypeRunFinished, holdfast.TypeSessionCreated:
	default:
		return nil
	}
	ev, err := e.Event()
	if err != nil {
		return fmt.Errorf("event %d (%s): %w", e.Seq, e.Type, err)
	}
	switch ev := ev.(type) {
	case *holdfast.AgentChoiceEvent:
		o := r.open[e.Agent]
		if o == nil {
			o = &openCall{run: e.Run, start: e.Seq}
			r.open[e.Agent] = o
		}
		if o.text.Len() < MaxText {
			o.text.WriteString(ev.Content)
		}
	case *holdfast.ModelCallStartedEvent:
		if ev.Purpose == "" {
			r.open[e.Agent] = &openCall{id: ev.Call, run: e.Run, start: e.Seq}
		}
	case *holdfast.ModelCallVoidedEvent:
		if o := r.open[e.Agent]; o != nil && (o.id == ev.Call || o.id == "") {
			delete(r.open, e.Agent)
		}
	case *holdfast.ModelCallFinishedEvent:
		if o := r.open[e.Agent]; ev.Purpose == "" && o != nil && (o.id == ev.Call || o.id == "") {
			delete(r.open, e.Agent)
			r.add(e, holdfast.RoleAssistant, o.text.String())
		}
	case *holdfast.UserMessageEvent:
		text := ev.Message
		for _, p := range ev.Parts {
			if p.Text != "" && len(text) < MaxText {
				text += "\n" + p.Text
			}
		}
		r.add(e, holdfast.RoleUser, text)
	case *holdfast.RunCanceledEvent:
		if ev.Rollback && r.voiding[ev.Run] == 0 {
			r.voiding[ev.Run] = e.Seq
		}
	case *holdfast.RunFinishedEvent:
		r.finish(ev)
	case *holdfast.SessionCreatedEvent:
		if ev.ForkOf != "" { // what was under way goes on in the other session
			clear(r.open)
			clear(r.voiding)
		}
	}
	return nil
}

// finish closes a run and what it left open.
func (r *reading) finish(ev *holdfast.RunFinishedEvent) {
	for agent, o := range r.open {
		if o.run == ev.Run {
			delete(r.open, agent)
		}
	}
	if r.voiding[ev.Run] != 0 || ev.Reason == rolledBack {
		r.messages = slices.DeleteFunc(r.messages, func(m Message) bool { return m.Run == ev.Run })
		r.void = append(r.void, ev.Run)
	}
	delete(r.voiding, ev.Run)
}

// rolledBack is the reason of a run whose messages are none any more.
const rolledBack = "rolled_back"

func (r *reading) add(e *events.Envelope, role holdfast.Role, text string) {
	text = clean(text)
	if text == "" {
		return
	}
	m := Message{Seq: e.Seq, At: storable(e.Time), Role: role, Run: clean(e.Run), Text: text}
	if role == holdfast.RoleAssistant {
		m.Agent = clean(e.Agent)
	}
	r.messages = append(r.messages, m)
	r.size += len(text)
}

// clean is a text as every store can keep it, and no longer than the index wants.
func clean(s string) string {
	s = cut(s, 2*MaxText)
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return cut(norm.NFC.String(s), MaxText)
}

// storable brings a time into what every store can keep: whole microseconds
// within the years 1 to 9999.
func storable(t time.Time) time.Time {
	switch {
	case t.Year() < 1:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}

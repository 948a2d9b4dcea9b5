package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Errors of a [Store].
var (
	// ErrCursorMoved: another recorder has written meanwhile; nothing was stored.
	ErrCursorMoved = errors.New("another recorder moved the cursor")
	// ErrGap: the frames do not follow what the store has; nothing was stored.
	ErrGap = errors.New("gap in the log")
	// ErrNoSession: the store has no event of the session.
	ErrNoSession = errors.New("no such session in the store")
)

// Head is how far something knows a session.
type Head struct {
	Seq   uint64
	Epoch uint64
}

// Batch is what a recorder stores in one transaction.
type Batch struct {
	// Stream names the bus stream; From is the cursor that the recorder read (the
	// position of the last recorded frame, 0 for none), To the new one.
	Stream   string
	From, To uint64
	// Sessions holds the new events, per session consecutive and in order.
	Sessions []SessionEvents
}

// SessionEvents are consecutive events of one session.
type SessionEvents struct {
	Session holdfast.SessionRef
	Events  []Envelope
	// Root says that they are one frame that names none before it. If the store has
	// its first event, or another one in that place, it passes over all of them: the
	// frame is recorded, or it came too late ([ReadEnd]).
	Root bool
}

// SessionInfo is a row of the list of sessions: a projection of the log, the
// same however often it is rebuilt ([SessionInfo.Apply]).
type SessionInfo struct {
	Session   holdfast.SessionRef
	Head      Head
	Title     string
	CreatedAt time.Time
	UpdatedAt time.Time
	// Agent is the agent file of the newest run.
	Agent         string
	ToolsApproved bool
	// Status is "idle", "queued", "running" or "waiting"; Waiting says for what.
	Status  string
	Waiting string
	// Worker is who owns the session, "" while it is parked.
	Worker       string
	Run          string
	NumMessages  int64
	InputTokens  int64
	OutputTokens int64
	Cost         float64
	Deleted      bool
	ForkOf       string
	ForkSeq      uint64
	Metadata     map[string]string
}

// Page selects sessions of a tenant, newest (CreatedAt, then id) first.
type Page struct {
	// Limit is the most rows; 0 is 100, at most 1000.
	Limit int
	// BeforeTime and BeforeID continue after the last row of the page before.
	BeforeTime time.Time
	BeforeID   string
	Filter     Filter
}

// Snapshot is a cached fold of a session at a seq. Deleting snapshots changes
// nothing but time.
type Snapshot struct {
	Seq uint64
	// Format names the code that can read Data; a reader ignores others.
	Format string
	Data   []byte
}

// Store archives the log and answers queries. It promises:
//
//   - Record is one transaction: either all of the batch is stored and the cursor
//     moved from From to To, or nothing happened (ErrCursorMoved, ErrGap, or a
//     failure with unknown outcome, which the cursor resolves). Events that the
//     store already has are passed over, so that a batch may come again. A
//     session's first event has Seq 1, or ForkSeq+1 if it is a session_created
//     that names a fork. An event session_deleted removes the session's events
//     (unless a fork needs them) and keeps a row that says Deleted;
//   - Read returns events in order of Seq without a gap, payloads byte for byte;
//   - the rows of Sessions and Session are the projection of exactly the events
//     up to their Head.
//
// Tenant is part of every key. All methods are safe for concurrent use. The
// suite in eventstest checks them.
type Store interface {
	// Cursor returns the position of the last recorded frame of a stream, 0 for none.
	Cursor(ctx context.Context, stream string) (uint64, error)
	Record(ctx context.Context, b Batch) error
	// Read returns at most limit events (0: 1,000) with Seq > after. Fewer than limit
	// means that the store has no more. It does not follow forks.
	Read(ctx context.Context, s holdfast.SessionRef, after uint64, limit int) ([]Envelope, error)
	// Session returns one row, ErrNoSession if there is none.
	Session(ctx context.Context, s holdfast.SessionRef) (SessionInfo, error)
	// Sessions returns a page of rows that are not deleted.
	Sessions(ctx context.Context, tenant string, p Page) ([]SessionInfo, error)
	// PutSnapshot keeps the snapshot with the highest Seq.
	PutSnapshot(ctx context.Context, s holdfast.SessionRef, snap Snapshot) error
	// Snapshot returns the newest snapshot with Seq ≤ max (0: any), zero if there is none.
	Snapshot(ctx context.Context, s holdfast.SessionRef, max uint64) (Snapshot, error)
}

// Apply folds one event into the row. Events must come in order of Seq. A
// payload that cannot be read is an error and leaves the row as it was.
func (i *SessionInfo) Apply(e *Envelope) error {
	if i.Head.Seq != 0 && e.Seq != i.Head.Seq+1 {
		return fmt.Errorf("%w: seq %d after %d", ErrGap, e.Seq, i.Head.Seq)
	}
	if !movesHeadOnly(e.Type) {
		if err := i.apply(e); err != nil {
			return fmt.Errorf("project event %d (%s): %w", e.Seq, e.Type, err)
		}
	}
	i.Head = Head{Seq: e.Seq, Epoch: e.Epoch}
	i.UpdatedAt = e.Time
	return nil
}

// movesHeadOnly reports whether events of the type change nothing of a row but
// Head and UpdatedAt. These are the parts of what a model streams: nearly all
// events, which stores therefore handle with less work.
func movesHeadOnly(typ string) bool {
	switch typ {
	case holdfast.TypeAgentChoice, holdfast.TypeAgentChoiceReasoning, holdfast.TypePartialToolCall:
		return true
	}
	return false
}

func (i *SessionInfo) apply(e *Envelope) error {
	switch e.Type {
	case holdfast.TypeSessionCreated:
		var p holdfast.SessionCreatedEvent
		if err := decode(e, &p); err != nil {
			return err
		}
		i.Title, i.CreatedAt, i.Agent, i.ToolsApproved = p.Title, e.Time, p.Agent, p.ToolsApproved
		i.ForkOf, i.ForkSeq, i.Metadata = p.ForkOf, p.ForkSeq, p.Metadata
		i.Status = StatusIdle
	case holdfast.TypeSessionClaimed:
		var p holdfast.SessionClaimedEvent
		if err := decode(e, &p); err != nil {
			return err
		}
		i.Worker = p.Worker
	case holdfast.TypeSessionParked:
		var p holdfast.SessionParkedEvent
		if err := decode(e, &p); err != nil {
			return err
		}
		i.Worker = ""
		i.Status, i.Waiting = StatusWaiting, p.Waiting
		if p.Waiting == WaitingIdle {
			i.Status, i.Waiting = StatusIdle, ""
		}
	case holdfast.TypeSessionHandedOver:
		i.Worker = ""
	case holdfast.TypeSessionDeleted:
		i.Deleted = true
	case holdfast.TypeSessionTitle:
		var p holdfast.SessionTitleEvent
		if err := decode(e, &p); err != nil {
			return err
		}
		i.Title = p.Title
	case holdfast.TypeRunQueued:
		if i.Status == StatusIdle {
			i.Status = StatusQueued
		}
	case holdfast.TypeRunStarted:
		var p holdfast.RunStartedEvent
		if err := decode(e, &p); err != nil {
			return err
		}
		i.Agent, i.Run, i.Status, i.Waiting = p.Agent, p.Run, StatusRunning, ""
	case holdfast.TypeRunFinished:
		var p holdfast.RunFinishedEvent
		if err := decode(e, &p); err != nil {
			return err
		}
		if i.Run == "" || i.Run == p.Run { // else one that never began was canceled
			i.Run, i.Status, i.Waiting = "", StatusIdle, ""
		}
	case holdfast.TypeToolCallDecided:
		if i.Run != "" {
			i.Status, i.Waiting = StatusRunning, ""
		}
	case holdfast.TypeUserMessage, holdfast.TypeToolCallResponse:
		i.NumMessages++
	case holdfast.TypeModelCallFinished:
		var p holdfast.ModelCallFinishedEvent
		if err := decode(e, &p); err != nil {
			return err
		}
		if p.Purpose == "" {
			i.NumMessages++
		}
		if p.Usage != nil {
			i.InputTokens += p.Usage.InputTokens
			i.OutputTokens += p.Usage.OutputTokens
			i.Cost = p.Usage.Cost
		}
	case holdfast.TypeTokenUsage:
		var p holdfast.TokenUsageEvent
		if err := decode(e, &p); err != nil {
			return err
		}
		i.InputTokens += p.Usage.InputTokens
		i.OutputTokens += p.Usage.OutputTokens
		i.Cost = p.Usage.Cost
	}
	return nil
}

// Values of [SessionInfo] Status, and of Waiting in session_parked.
const (
	StatusIdle    = "idle"
	StatusQueued  = "queued"
	StatusRunning = "running"
	StatusWaiting = "waiting"

	WaitingIdle          = "idle"
	WaitingApproval      = "approval"
	WaitingAuthorization = "authorization"
	WaitingTimer         = "timer"
	WaitingInput         = "input"
	WaitingIterations    = "iterations"
	// WaitingError: every attempt to go on has panicked, without a step between them.
	// The next command is one more attempt.
	WaitingError = "error"

	// LeftPanicked is the reason of a session_handed_over whose owner panicked.
	LeftPanicked = "panicked"
)

func decode(e *Envelope, into any) error {
	if len(e.Payload) == 0 {
		return nil
	}
	// The event structs marshal to wire form but unmarshal member by member.
	return json.Unmarshal(e.Payload, into)
}

package search

import (
	"context"
	"errors"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// ErrMoved: somebody else has indexed one of the sessions meanwhile; nothing was
// stored.
var ErrMoved = errors.New("somebody else has indexed the session meanwhile")

// Mark is a note that a session has something new.
type Mark struct {
	ID      int64
	Session Progress
}

// Progress is how far the index knows a session.
type Progress struct {
	Session holdfast.SessionRef
	// Head is its newest event in the archive, 0 if it was deleted.
	Head uint64
	// Through is up to where the index has it, 0 if it has nothing.
	Through uint64
}

// Update is what the index learns of one session.
type Update struct {
	Session holdfast.SessionRef
	// From is what Progress.Through was, To what it becomes.
	From, To uint64
	// Void are runs whose messages with seq up to To are none any more. They go before
	// Messages come.
	Void     []string
	Messages []Message
}

// Walk is where the walk over all sessions stands.
type Walk struct {
	// After is the last session that it looked at.
	After holdfast.SessionRef
	// Ended is when it last came to the end, zero for never.
	Ended time.Time
}

// Lead is whether a process is the one that indexes.
type Lead struct {
	Held bool
	Walk Walk
}

// Page selects hits.
type Page struct {
	Query Query
	// Session and Role are exact, "" is any.
	Session string
	Role    holdfast.Role
	// BySession leaves the newest hit of each session alone.
	BySession bool
	// Limit is the most hits.
	Limit int
	// Before continues after the last hit of the page before.
	Before Place
}

// Place is where a hit stands in the order of all, newest (At, then session, then
// Seq) first.
type Place struct {
	At      time.Time
	Session string
	Seq     uint64
}

// Hit is a message that was found.
type Hit struct {
	Message
	Session string
	// Title is the session's.
	Title string
}

// Found is a page of hits.
type Found struct {
	Hits []Hit
	// Indexing says that sessions from before the index may be missing still.
	Indexing bool
}

// Store keeps the index. It promises:
//
//   - the transaction that records events notes the sessions that [Marks] names,
//     unless the store was opened without an index; and the one that records a
//     deletion takes everything away that the index has of the session;
//   - Index is one transaction, and a compare-and-set of each session's progress;
//     sessions that were deleted meanwhile are passed over. The same update again
//     is ErrMoved;
//   - Search finds nothing of other tenants and nothing of deleted sessions, and
//     takes no longer than a few seconds (CodeTimeout).
//
// All methods are safe for concurrent use. The suite in searchtest checks them.
type Store interface {
	// LeadIndex makes who the one that indexes, until a time, if nobody else is at
	// now; whoever is already goes on. Until now or before gives it up.
	LeadIndex(ctx context.Context, who string, now, until time.Time) (Lead, error)
	// PutWalk notes where the walk stands. The zero value begins it anew.
	PutWalk(ctx context.Context, w Walk) error
	// Marked returns at most limit notes of all tenants.
	Marked(ctx context.Context, limit int) ([]Mark, error)
	// Indexed returns the progress of at most limit sessions of all tenants in the
	// order of tenant and id, deleted ones too, from behind the given one.
	Indexed(ctx context.Context, after holdfast.SessionRef, limit int) ([]Progress, error)
	// Index stores what the index learns and takes notes away.
	Index(ctx context.Context, updates []Update, done []int64) error
	// Search returns a page of a tenant's hits, newest first.
	Search(ctx context.Context, tenant string, p Page) (Found, error)
}

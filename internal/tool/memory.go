package tool

import (
	"context"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Memory is one thing that an agent remembers beyond a session.
type Memory struct {
	// ID names the memory within its tenant and agent.
	ID string `json:"id"`
	// CreatedAt is UTC, kept to the microsecond.
	CreatedAt time.Time `json:"created_at"`
	Content   string    `json:"memory"`
	// Category is free text that groups memories; "" is none.
	Category string `json:"category,omitempty"`
}

// MemoryStore keeps the memories of agents. Everything is apart by tenant and
// agent: no call ever sees, changes or counts what belongs to another pair.
// Methods may be called at the same time. What a method has returned without an
// error survives the process, except in a store made for tests.
type MemoryStore interface {
	// AddMemory stores m. If the id is there already, nothing changes and the
	// error is nil: the id is made of the call's idempotency key, so that a call
	// that is repeated after a crash adds nothing more.
	AddMemory(ctx context.Context, tenant, agent string, m Memory) error
	// Memories returns everything, oldest first, equal times by id.
	Memories(ctx context.Context, tenant, agent string) ([]Memory, error)
	// UpdateMemory replaces content and category of the memory with m.ID and
	// leaves CreatedAt alone. Unknown: an error with holdfast.CodeNotFound.
	UpdateMemory(ctx context.Context, tenant, agent string, m Memory) error
	// DeleteMemory removes the memory. Unknown: an error with holdfast.CodeNotFound.
	DeleteMemory(ctx context.Context, tenant, agent, id string) error
	// SearchMemories returns at most limit memories (limit > 0), newest first,
	// equal times by id downwards, in which every word of query, split at white
	// space, occurs as a part of the content or the category. Upper and lower case
	// are the same at least in ASCII. No character of query is a wildcard. A query
	// without a word matches all.
	SearchMemories(ctx context.Context, tenant, agent, query string, limit int) ([]Memory, error)
}

// Storable returns the memory as every store keeps it: the time in UTC to the
// microsecond, texts by [StorableText]. It returns an error with
// holdfast.CodeInvalid if the id, the time or the content is missing.
func (m Memory) Storable() (Memory, error) {
	if m.ID == "" || m.Content == "" || m.CreatedAt.IsZero() {
		return Memory{}, holdfast.Errorf(holdfast.CodeInvalid, "a memory needs an id, a time and a content")
	}
	m.ID, m.Content, m.Category = StorableText(m.ID), StorableText(m.Content), StorableText(m.Category)
	m.CreatedAt = m.CreatedAt.UTC().Truncate(time.Microsecond)
	return m, nil
}

// StorableText replaces what not every database can keep, NUL characters and
// bytes that are no UTF-8, by U+FFFD.
func StorableText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

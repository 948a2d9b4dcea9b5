package pgstore

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

var _ tool.MemoryStore = (*Store)(nil)

// AddMemory implements [tool.MemoryStore].
func (s *Store) AddMemory(ctx context.Context, tenant, agent string, m tool.Memory) error {
	m, err := m.Storable()
	if err != nil {
		return err
	}
	return s.memories(ctx, tenant, agent, "store a memory", func(b *pgx.Batch, agent string) {
		b.Queue(`INSERT INTO memories (tenant, agent, id, created_at, category, content) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT DO NOTHING`, tenant, agent, m.ID, m.CreatedAt, m.Category, m.Content)
	})
}

const memoryColumns = `SELECT id, created_at, category, content FROM memories WHERE tenant = $1 AND agent = $2`

// Memories implements [tool.MemoryStore].
func (s *Store) Memories(ctx context.Context, tenant, agent string) ([]tool.Memory, error) {
	var list []tool.Memory
	err := s.memories(ctx, tenant, agent, "read the memories", func(b *pgx.Batch, agent string) {
		b.Queue(memoryColumns+` ORDER BY created_at, id`, tenant, agent).Query(collectMemories(&list))
	})
	return list, err
}

// UpdateMemory implements [tool.MemoryStore].
func (s *Store) UpdateMemory(ctx context.Context, tenant, agent string, m tool.Memory) error {
	return s.memories(ctx, tenant, agent, "change a memory", func(b *pgx.Batch, agent string) {
		b.Queue(`UPDATE memories SET content = $4, category = $5 WHERE tenant = $1 AND agent = $2 AND id = $3`,
			tenant, agent, tool.StorableText(m.ID), tool.StorableText(m.Content), tool.StorableText(m.Category)).Exec(found(m.ID))
	})
}

// DeleteMemory implements [tool.MemoryStore].
func (s *Store) DeleteMemory(ctx context.Context, tenant, agent, id string) error {
	return s.memories(ctx, tenant, agent, "delete a memory", func(b *pgx.Batch, agent string) {
		b.Queue(`DELETE FROM memories WHERE tenant = $1 AND agent = $2 AND id = $3`,
			tenant, agent, tool.StorableText(id)).Exec(found(id))
	})
}

// SearchMemories implements [tool.MemoryStore]. Upper and lower case are what
// the database's locale says.
func (s *Store) SearchMemories(ctx context.Context, tenant, agent, query string, limit int) ([]tool.Memory, error) {
	if limit <= 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a search needs a limit above 0")
	}
	var list []tool.Memory
	err := s.memories(ctx, tenant, agent, "search the memories", func(b *pgx.Batch, agent string) {
		b.Queue(memoryColumns+` AND NOT EXISTS (SELECT 1 FROM unnest($3::text[]) AS word
				WHERE strpos(lower(content), lower(word)) = 0 AND strpos(lower(category), lower(word)) = 0)
			ORDER BY created_at DESC, id DESC LIMIT $4`,
			tenant, agent, append([]string{}, strings.Fields(tool.StorableText(query))...), limit).Query(collectMemories(&list))
	})
	return list, err
}

func (s *Store) memories(ctx context.Context, tenant, agent, doing string, queue func(b *pgx.Batch, agent string)) error {
	if tenant == "" || agent == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "a memory needs a tenant and an agent")
	}
	return s.send(ctx, ofTenant(tenant), doing, func(b *pgx.Batch) { queue(b, tool.StorableText(agent)) })
}

func collectMemories(into *[]tool.Memory) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var err error
		*into, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (tool.Memory, error) {
			var m tool.Memory
			var at time.Time
			err := row.Scan(&m.ID, &at, &m.Category, &m.Content)
			m.CreatedAt = at.UTC()
			return m, err
		})
		return err
	}
}

func found(id string) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() == 0 {
			return holdfast.Errorf(holdfast.CodeNotFound, "there is no memory %q", id)
		}
		return nil
	}
}

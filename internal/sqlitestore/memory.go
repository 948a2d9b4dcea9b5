package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"time"

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
	_, err = s.changeMemory(ctx, tenant, agent, "store a memory",
		`INSERT INTO memories (tenant, agent, id, created_at, category, content) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		m.ID, m.CreatedAt.UnixMicro(), m.Category, m.Content)
	return err
}

// UpdateMemory implements [tool.MemoryStore].
func (s *Store) UpdateMemory(ctx context.Context, tenant, agent string, m tool.Memory) error {
	n, err := s.changeMemory(ctx, tenant, agent, "change a memory",
		`UPDATE memories SET content = ?4, category = ?5 WHERE tenant = ?1 AND agent = ?2 AND id = ?3`,
		tool.StorableText(m.ID), tool.StorableText(m.Content), tool.StorableText(m.Category))
	return found(n, err, m.ID)
}

// DeleteMemory implements [tool.MemoryStore].
func (s *Store) DeleteMemory(ctx context.Context, tenant, agent, id string) error {
	n, err := s.changeMemory(ctx, tenant, agent, "delete a memory",
		`DELETE FROM memories WHERE tenant = ? AND agent = ? AND id = ?`, tool.StorableText(id))
	return found(n, err, id)
}

func found(n int64, err error, id string) error {
	if err == nil && n == 0 {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no memory %q", id)
	}
	return err
}

// changeMemory runs a statement whose first parameters are tenant and agent.
func (s *Store) changeMemory(ctx context.Context, tenant, agent, doing, query string, args ...any) (n int64, err error) {
	if err := checkOwner(tenant, agent); err != nil {
		return 0, err
	}
	err = s.write(ctx, doing, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, query, append([]any{tenant, tool.StorableText(agent)}, args...)...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}

func checkOwner(tenant, agent string) error {
	if tenant == "" || agent == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "a memory needs a tenant and an agent")
	}
	return nil
}

// Memories implements [tool.MemoryStore].
func (s *Store) Memories(ctx context.Context, tenant, agent string) ([]tool.Memory, error) {
	return s.selectMemories(ctx, tenant, agent, "read the memories", ` ORDER BY created_at, id`)
}

// SearchMemories implements [tool.MemoryStore]. Upper and lower case are the
// same in ASCII only.
func (s *Store) SearchMemories(ctx context.Context, tenant, agent, query string, limit int) ([]tool.Memory, error) {
	if limit <= 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a search needs a limit above 0")
	}
	words, err := json.Marshal(append([]string{}, strings.Fields(tool.StorableText(query))...))
	if err != nil {
		return nil, err
	}
	return s.selectMemories(ctx, tenant, agent, "search the memories", ` AND NOT EXISTS (SELECT 1 FROM json_each(?) AS word
			WHERE instr(lower(content), lower(word.value)) = 0 AND instr(lower(category), lower(word.value)) = 0)
		ORDER BY created_at DESC, id DESC LIMIT ?`, string(words), limit)
}

func (s *Store) selectMemories(ctx context.Context, tenant, agent, doing, rest string, args ...any) ([]tool.Memory, error) {
	if err := checkOwner(tenant, agent); err != nil {
		return nil, err
	}
	rows, err := s.r.QueryContext(ctx, `SELECT memories.id, created_at, category, content FROM memories WHERE tenant = ? AND agent = ?`+rest,
		append([]any{tenant, tool.StorableText(agent)}, args...)...)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []tool.Memory
	for rows.Next() {
		var m tool.Memory
		var at int64
		if err := rows.Scan(&m.ID, &at, &m.Category, &m.Content); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		m.CreatedAt = time.UnixMicro(at).UTC()
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	return list, nil
}

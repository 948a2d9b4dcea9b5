package tooltest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
)

// MemoryMap is a [builtin.MemoryStore] that keeps everything in the process, for
// tests. It is as strict as the contract allows: it refuses what a real store
// could not take.
type MemoryMap struct {
	mu    sync.Mutex
	byKey map[memoryKey][]builtin.Memory
}

type memoryKey struct{ tenant, agent string }

var _ builtin.MemoryStore = (*MemoryMap)(nil)

// NewMemoryMap returns an empty store.
func NewMemoryMap() *MemoryMap {
	return &MemoryMap{byKey: make(map[memoryKey][]builtin.Memory)}
}

func (s *MemoryMap) enter(ctx context.Context, tenant, agent string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("using the memory store: %w", err)
	}
	if tenant == "" || agent == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "a memory needs a tenant and an agent")
	}
	return nil
}

// AddMemory implements [builtin.MemoryStore].
func (s *MemoryMap) AddMemory(ctx context.Context, tenant, agent string, m builtin.Memory) error {
	if err := s.enter(ctx, tenant, agent); err != nil {
		return err
	}
	if m.ID == "" || m.Content == "" || m.CreatedAt.IsZero() {
		return holdfast.Errorf(holdfast.CodeInvalid, "a memory needs an id, a time and a content")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := memoryKey{tenant, agent}
	if slices.ContainsFunc(s.byKey[k], func(o builtin.Memory) bool { return o.ID == m.ID }) {
		return nil
	}
	m.CreatedAt = m.CreatedAt.UTC().Truncate(time.Microsecond)
	s.byKey[k] = append(s.byKey[k], m)
	slices.SortFunc(s.byKey[k], func(a, b builtin.Memory) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return nil
}

// Memories implements [builtin.MemoryStore].
func (s *MemoryMap) Memories(ctx context.Context, tenant, agent string) ([]builtin.Memory, error) {
	if err := s.enter(ctx, tenant, agent); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.byKey[memoryKey{tenant, agent}]), nil
}

// UpdateMemory implements [builtin.MemoryStore].
func (s *MemoryMap) UpdateMemory(ctx context.Context, tenant, agent string, m builtin.Memory) error {
	if err := s.enter(ctx, tenant, agent); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.byKey[memoryKey{tenant, agent}]
	i := slices.IndexFunc(list, func(o builtin.Memory) bool { return o.ID == m.ID })
	if i < 0 {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no memory %q", m.ID)
	}
	list[i].Content, list[i].Category = m.Content, m.Category
	return nil
}

// DeleteMemory implements [builtin.MemoryStore].
func (s *MemoryMap) DeleteMemory(ctx context.Context, tenant, agent, id string) error {
	if err := s.enter(ctx, tenant, agent); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := memoryKey{tenant, agent}
	i := slices.IndexFunc(s.byKey[k], func(o builtin.Memory) bool { return o.ID == id })
	if i < 0 {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no memory %q", id)
	}
	s.byKey[k] = slices.Delete(s.byKey[k], i, i+1)
	return nil
}

// SearchMemories implements [builtin.MemoryStore].
func (s *MemoryMap) SearchMemories(ctx context.Context, tenant, agent, query string, limit int) ([]builtin.Memory, error) {
	if err := s.enter(ctx, tenant, agent); err != nil {
		return nil, err
	}
	if limit <= 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a search needs a limit above 0")
	}
	words := strings.Fields(strings.ToLower(query))
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []builtin.Memory
	for _, m := range slices.Backward(s.byKey[memoryKey{tenant, agent}]) {
		content, category := strings.ToLower(m.Content), strings.ToLower(m.Category)
		missing := slices.ContainsFunc(words, func(w string) bool {
			return !strings.Contains(content, w) && !strings.Contains(category, w)
		})
		if !missing && len(found) < limit {
			found = append(found, m)
		}
	}
	return found, nil
}

// MemoryStore checks that a store keeps the contract of [builtin.MemoryStore].
// The function returns an empty store, or one in which nobody uses the tenants
// "a" and "b".
func MemoryStore(t *testing.T, open func(t *testing.T) builtin.MemoryStore) {
	t.Helper()
	at := func(minute int) time.Time { return time.Date(2026, 11, 22, 10, minute, 0, 123456000, time.UTC) }
	first := builtin.Memory{ID: "m1", CreatedAt: at(1), Content: "Ada likes green tea", Category: "preference"}
	second := builtin.Memory{ID: "m2", CreatedAt: at(2), Content: "Ada works on engines", Category: "fact"}
	third := builtin.Memory{ID: "m0", CreatedAt: at(2), Content: "100% of 'tea' is_hot\n\"now\" – ünïcode 🍵"}
	fill := func(t *testing.T) builtin.MemoryStore {
		t.Helper()
		s := open(t)
		for _, m := range []builtin.Memory{second, first, third} {
			must(t, s.AddMemory(t.Context(), "a", "root", m))
		}
		return s
	}
	list := func(t *testing.T, s builtin.MemoryStore, tenant, agent string, want ...builtin.Memory) {
		t.Helper()
		got, err := s.Memories(t.Context(), tenant, agent)
		must(t, err)
		same(t, got, want)
	}

	t.Run("empty", func(t *testing.T) {
		s := open(t)
		list(t, s, "a", "root")
		got, err := s.SearchMemories(t.Context(), "a", "root", "tea", 10)
		must(t, err)
		same(t, got, nil)
	})
	t.Run("order", func(t *testing.T) {
		list(t, fill(t), "a", "root", first, third, second)
	})
	t.Run("adding again changes nothing", func(t *testing.T) {
		s := fill(t)
		must(t, s.AddMemory(t.Context(), "a", "root", builtin.Memory{ID: "m1", CreatedAt: at(9), Content: "else"}))
		list(t, s, "a", "root", first, third, second)
	})
	t.Run("adding at the same time", func(t *testing.T) {
		s := open(t)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				m := first
				m.ID = fmt.Sprintf("m%d", i%4)
				if err := s.AddMemory(t.Context(), "a", "root", m); err != nil {
					t.Errorf("AddMemory: %v", err)
				}
			})
		}
		wg.Wait()
		got, err := s.Memories(t.Context(), "a", "root")
		must(t, err)
		if len(got) != 4 {
			t.Errorf("%d memories after adding 4 ids 4 times each, want 4", len(got))
		}
	})
	t.Run("apart by tenant and agent", func(t *testing.T) {
		s := fill(t)
		list(t, s, "b", "root")
		list(t, s, "a", "other")
		must(t, s.AddMemory(t.Context(), "b", "root", builtin.Memory{ID: "m1", CreatedAt: at(5), Content: "of b"}))
		list(t, s, "a", "root", first, third, second)
		wantNotFound(t, s.DeleteMemory(t.Context(), "a", "other", "m1"))
		wantNotFound(t, s.UpdateMemory(t.Context(), "b", "other", builtin.Memory{ID: "m1", Content: "x"}))
		must(t, s.DeleteMemory(t.Context(), "b", "root", "m1"))
		list(t, s, "a", "root", first, third, second)
		got, err := s.SearchMemories(t.Context(), "a", "other", "tea", 10)
		must(t, err)
		same(t, got, nil)
	})
	t.Run("update", func(t *testing.T) {
		s := fill(t)
		must(t, s.UpdateMemory(t.Context(), "a", "root", builtin.Memory{ID: "m1", CreatedAt: at(30), Content: "Ada likes coffee"}))
		changed := first
		changed.Content, changed.Category = "Ada likes coffee", ""
		list(t, s, "a", "root", changed, third, second)
		wantNotFound(t, s.UpdateMemory(t.Context(), "a", "root", builtin.Memory{ID: "none", Content: "x"}))
	})
	t.Run("delete", func(t *testing.T) {
		s := fill(t)
		must(t, s.DeleteMemory(t.Context(), "a", "root", "m1"))
		list(t, s, "a", "root", third, second)
		wantNotFound(t, s.DeleteMemory(t.Context(), "a", "root", "m1"))
	})
	t.Run("search", func(t *testing.T) {
		s := fill(t)
		for _, c := range []struct {
			query string
			limit int
			want  []builtin.Memory
		}{
			{"tea", 10, []builtin.Memory{third, first}},
			{"TEA ada", 10, []builtin.Memory{first}},
			{"preference", 10, []builtin.Memory{first}},
			{"ada", 1, []builtin.Memory{second}},
			{"", 10, []builtin.Memory{second, third, first}},
			{"  ", 2, []builtin.Memory{second, third}},
			{"coffee", 10, nil},
			{"%", 10, []builtin.Memory{third}},
			{"a_a", 10, nil},
			{"is_hot", 10, []builtin.Memory{third}},
			{`'tea' "now"`, 10, []builtin.Memory{third}},
			{"ünïcode 🍵", 10, []builtin.Memory{third}},
			{`\`, 10, nil},
		} {
			t.Run(fmt.Sprintf("%q", c.query), func(t *testing.T) {
				got, err := s.SearchMemories(t.Context(), "a", "root", c.query, c.limit)
				must(t, err)
				same(t, got, c.want)
			})
		}
	})
	t.Run("canceled", func(t *testing.T) {
		s := fill(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Memories(ctx, "a", "root"); err == nil {
			t.Error("Memories with a canceled context: no error")
		}
		if err := s.AddMemory(ctx, "a", "root", builtin.Memory{ID: "x", CreatedAt: at(1), Content: "x"}); err == nil {
			t.Error("AddMemory with a canceled context: no error")
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantNotFound(t *testing.T, err error) {
	t.Helper()
	if holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("error %v, want one with the code %s", err, holdfast.CodeNotFound)
	}
}

// same compares without regard to nil against empty, and times as instants.
func same(t *testing.T, got, want []builtin.Memory) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("memories (-want +got):\n%s", d)
	}
}

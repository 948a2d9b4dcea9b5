package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Limits of the memory tools.
const (
	maxMemoryContent = 16 << 10 // bytes of one memory
	maxCategory      = 128      // bytes
	searchLimit      = 100      // memories that a search answers with
)

// Memory and MemoryStore are in package tool, where stores can see them.
type (
	Memory      = tool.Memory
	MemoryStore = tool.MemoryStore
)

type addMemoryArguments struct {
	Memory   string `json:"memory"`
	Category string `json:"category"`
}

type updateMemoryArguments struct {
	ID       string  `json:"id"`
	Memory   string  `json:"memory"`
	Category *string `json:"category"` // nil keeps what it has
}

type deleteMemoryArguments struct {
	ID string `json:"id"`
}

type searchMemoriesArguments struct {
	Query    string `json:"query"`
	Category string `json:"category"`
}

type memory struct {
	store MemoryStore
	scope string
}

// NewMemory returns the memory toolset over store. The scope is what keeps
// agents of a tenant apart (agents that are given the same scope remember
// together); "" takes the name of the calling agent.
func NewMemory(store MemoryStore, scope string) *Toolset {
	m := &memory{store: store, scope: scope}
	return &Toolset{
		name: "memory",
		instructions: "You have a memory that outlives this conversation. Look at get_memories or search_memories before " +
			"you answer something that may depend on what you learned earlier, and add what will be useful later: facts " +
			"about the user, preferences, decisions. Use the memory without talking about it.",
		entries: []entry{
			{
				def: tool.Definition{
					Name: "add_memory", Title: "Add memory", Description: "Remember something beyond this conversation.",
					Parameters: object([]string{"memory"}, text("memory", "What to remember"),
						text("category", "Groups memories, for example preference, fact, project, decision")),
					Effect: tool.EffectIdempotent,
				},
				run: run(m.add),
			},
			{
				def: tool.Definition{
					Name: "get_memories", Title: "Get memories", Description: "Show everything that is remembered.",
					Parameters: object(nil), Effect: tool.EffectReadOnly, Concurrent: true,
				},
				run: run(func(ctx context.Context, c tool.Call, _ struct{}) (tool.Result, error) {
					found, err := m.store.Memories(ctx, c.Session.Tenant, m.agent(c))
					if err != nil {
						return storeFailed(ctx, "reading the memories", err)
					}
					return listMemories(found)
				}),
			},
			{
				def: tool.Definition{
					Name: "search_memories", Title: "Search memories", Description: "Show the memories that contain all the given words, or all of a category.",
					Parameters: object(nil, text("query", "Words to look for"), text("category", "Only memories of this category")),
					Effect:     tool.EffectReadOnly, Concurrent: true,
				},
				run: run(m.search),
			},
			{
				def: tool.Definition{
					Name: "update_memory", Title: "Update memory", Description: "Replace what a memory says.",
					Parameters: object([]string{"id", "memory"}, text("id", "Id of the memory"), text("memory", "What to remember instead"),
						text("category", "Its category from now on; without it, what it had")),
					Effect: tool.EffectIdempotent,
				},
				run: run(m.update),
			},
			{
				def: tool.Definition{
					Name: "delete_memory", Title: "Delete memory", Description: "Forget a memory.",
					Parameters: object([]string{"id"}, text("id", "Id of the memory")),
					Effect:     tool.EffectIdempotent,
				},
				run: run(m.delete),
			},
		},
	}
}

func (m *memory) agent(c tool.Call) string {
	if m.scope != "" {
		return m.scope
	}
	return c.Agent
}

func (m *memory) add(ctx context.Context, c tool.Call, a addMemoryArguments) (tool.Result, error) {
	if problem := checkMemory(a.Memory, a.Category); problem != "" {
		return failed("%s Nothing was stored.", problem), nil
	}
	key := c.IdempotencyKey
	if key == "" {
		// A caller without keys still gets one memory for each call of the session.
		key = c.Session.Session + "/" + c.ID
	}
	mem := Memory{
		ID:        holdfast.DeriveID("memory", c.Session.Tenant, m.agent(c), key),
		CreatedAt: c.Now.UTC().Truncate(time.Microsecond),
		Content:   a.Memory, Category: a.Category,
	}
	if err := m.store.AddMemory(ctx, c.Session.Tenant, m.agent(c), mem); err != nil {
		return storeFailed(ctx, "storing the memory", err)
	}
	return succeeded("Remembered, with the id %s.", mem.ID), nil
}

func (m *memory) update(ctx context.Context, c tool.Call, a updateMemoryArguments) (tool.Result, error) {
	mem := Memory{ID: a.ID, Content: a.Memory}
	if a.Category != nil {
		mem.Category = *a.Category
	}
	if problem := checkMemory(mem.Content, mem.Category); problem != "" {
		return failed("%s Nothing was changed.", problem), nil
	}
	if a.Category == nil {
		all, err := m.store.Memories(ctx, c.Session.Tenant, m.agent(c))
		if err != nil {
			return storeFailed(ctx, "changing the memory", err)
		}
		if i := slices.IndexFunc(all, func(was Memory) bool { return was.ID == a.ID }); i >= 0 {
			mem.Category = all[i].Category
		}
	}
	err := m.store.UpdateMemory(ctx, c.Session.Tenant, m.agent(c), mem)
	if holdfast.CodeOf(err) == holdfast.CodeNotFound {
		return failed("There is no memory with the id %q.", a.ID), nil
	}
	if err != nil {
		return storeFailed(ctx, "changing the memory", err)
	}
	return succeeded("The memory %s was changed.", a.ID), nil
}

func (m *memory) delete(ctx context.Context, c tool.Call, a deleteMemoryArguments) (tool.Result, error) {
	err := m.store.DeleteMemory(ctx, c.Session.Tenant, m.agent(c), a.ID)
	if holdfast.CodeOf(err) == holdfast.CodeNotFound {
		// No failure: after a crash this may be the second run of the same call.
		return succeeded("There is no memory with the id %q (any more).", a.ID), nil
	}
	if err != nil {
		return storeFailed(ctx, "deleting the memory", err)
	}
	return succeeded("The memory %s was deleted.", a.ID), nil
}

func (m *memory) search(ctx context.Context, c tool.Call, a searchMemoriesArguments) (tool.Result, error) {
	limit := searchLimit
	if a.Category != "" {
		// The store knows no filter by category; take enough to filter here.
		limit = 100 * searchLimit
	}
	found, err := m.store.SearchMemories(ctx, c.Session.Tenant, m.agent(c), a.Query, limit)
	if err != nil {
		return storeFailed(ctx, "searching the memories", err)
	}
	if a.Category != "" {
		found = slices.DeleteFunc(found, func(f Memory) bool { return !strings.EqualFold(f.Category, a.Category) })
		found = found[:min(len(found), searchLimit)]
	}
	return listMemories(found)
}

func checkMemory(content, category string) string {
	switch {
	case strings.TrimSpace(content) == "":
		return "The memory is empty."
	case len(content) > maxMemoryContent:
		return fmt.Sprintf("The memory is longer than %d bytes.", maxMemoryContent)
	case len(category) > maxCategory:
		return fmt.Sprintf("The category is longer than %d bytes.", maxCategory)
	}
	return ""
}

func listMemories(found []Memory) (tool.Result, error) {
	if len(found) == 0 {
		return succeeded("There are no memories."), nil
	}
	out, err := json.Marshal(found)
	if err != nil {
		return tool.Result{}, fmt.Errorf("describing memories: %w", err)
	}
	return tool.Result{Output: string(out)}, nil
}

// storeFailed tells the model in words that may leave the process, unless the
// caller has given up.
func storeFailed(ctx context.Context, doing string, err error) (tool.Result, error) {
	if ctx.Err() != nil {
		return tool.Result{}, fmt.Errorf("%s: %w", doing, err)
	}
	return failed("%s failed: %s", strings.ToUpper(doing[:1])+doing[1:], holdfast.PublicMessage(err)), nil
}

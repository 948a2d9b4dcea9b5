package builtin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestThink(t *testing.T) {
	tooltest.Toolset(t, tooltest.Case{
		New:  func(*testing.T) tool.Toolset { return builtin.NewThink() },
		Good: []tool.Call{{Name: "think", Arguments: `{"thought":"first this, then that"}`}},
		Bad: []tool.Call{
			{Name: "think", Arguments: `{"thought":" "}`},
			{Name: "think", Arguments: ``},
			{Name: "think", Arguments: `{"thought":"x","more":1}`},
			{Name: "think", Arguments: `{"thought":"x"}{}`},
		},
	})
}

func TestTodo(t *testing.T) {
	tooltest.Toolset(t, tooltest.Case{
		New: func(*testing.T) tool.Toolset { return builtin.NewTodo("") },
		Good: []tool.Call{
			{Name: "list_todos"},
			{Name: "create_todo", Arguments: `{"description":"buy milk"}`},
			{Name: "create_todos", Arguments: `{"descriptions":["boil water","make tea"]}`},
			{Name: "update_todo", Arguments: `{"id":"todo_2","status":"completed"}`},
			{Name: "list_todos", Arguments: `{}`},
		},
		Bad: []tool.Call{
			{Name: "create_todo", Arguments: `{"description":""}`},
			{Name: "create_todo", Arguments: `{"description":"` + strings.Repeat("x", 5000) + `"}`},
			{Name: "create_todos", Arguments: `{"descriptions":[]}`},
			{Name: "create_todos", Arguments: `{"descriptions":[` + strings.Repeat(`"x",`, 1000) + `"x"]}`},
			{Name: "update_todo", Arguments: `{"id":"todo_1","status":"completed"}`},
			{Name: "update_todo", Arguments: `{"id":"todo_1","status":"sleeping"}`},
			{Name: "list_todos", Arguments: `{"all":true}`},
		},
	})
}

func TestTodoKeepsItsListInTheSession(t *testing.T) {
	state := tooltest.State{}
	call := func(name, args string) tool.Result {
		t.Helper()
		// A toolset of its own for each call: nothing may live outside the log.
		c := tooltest.Call(tool.Call{Name: name, Arguments: args})
		c.State = state.Get
		res, err := builtin.NewTodo("todo:root").Call(t.Context(), c)
		if err != nil || res.IsError {
			t.Fatalf("%s: %+v, %v", name, res, err)
		}
		state.Apply(res)
		return res
	}
	call("create_todos", `{"descriptions":["a","b"]}`)
	before := string(state["todos"])
	first := call("create_todo", `{"description":"c"}`)
	// The same call again over the same state, as after a crash that lost the outcome.
	state["todos"] = []byte(before)
	if second := call("create_todo", `{"description":"c"}`); second.Output != first.Output {
		t.Errorf("run again: %q, first %q", second.Output, first.Output)
	}
	call("update_todo", `{"id":"todo_3","status":"in-progress"}`)
	want := "Todos:\n- [todo_1] a (pending)\n- [todo_2] b (pending)\n- [todo_3] c (in-progress)\n"
	if got := call("list_todos", "").Output; got != want {
		t.Errorf("list:\n%s\nwant:\n%s", got, want)
	}
	state["todos"] = []byte(`{"broken"`)
	res, err := builtin.NewTodo("").Call(t.Context(), tool.Call{Name: "list_todos", State: state.Get})
	if err != nil || !res.IsError {
		t.Errorf("a broken state: %+v, %v, want an error result", res, err)
	}
}

func TestApprovals(t *testing.T) {
	asks := map[string]bool{}
	for _, ts := range []*builtin.Toolset{builtin.NewThink(), builtin.NewTodo(""), builtin.NewMemory(tooltest.NewMemoryMap(), "")} {
		defs, err := ts.Tools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range defs {
			asks[d.Name] = d.Effect != tool.EffectReadOnly && !d.NoApproval
		}
	}
	want := map[string]bool{
		"think": false, "create_todo": false, "create_todos": false, "update_todo": false, "update_todos": false, "list_todos": false,
		"add_memory": true, "get_memories": false, "search_memories": false, "update_memory": true, "delete_memory": true,
	}
	if fmt.Sprint(asks) != fmt.Sprint(want) {
		t.Errorf("tools that ask:\n%v, want\n%v", asks, want)
	}
}

func TestMemory(t *testing.T) {
	tooltest.Toolset(t, tooltest.Case{
		New: func(*testing.T) tool.Toolset { return builtin.NewMemory(tooltest.NewMemoryMap(), "") },
		Good: []tool.Call{
			{Name: "get_memories"},
			{Name: "add_memory", Arguments: `{"memory":"Ada likes tea","category":"preference"}`},
			{Name: "search_memories", Arguments: `{"query":"tea"}`},
			{Name: "search_memories", Arguments: `{"query":"tea","category":"fact"}`},
			{Name: "delete_memory", Arguments: `{"id":"none"}`},
		},
		Bad: []tool.Call{
			{Name: "add_memory", Arguments: `{}`},
			{Name: "add_memory", Arguments: `{"memory":"` + strings.Repeat("x", 17<<10) + `"}`},
			{Name: "add_memory", Arguments: `{"memory":"x","category":"` + strings.Repeat("x", 200) + `"}`},
			{Name: "update_memory", Arguments: `{"id":"none","memory":"x"}`},
			{Name: "update_memory", Arguments: `{"id":"none","memory":""}`},
		},
	})
}

func TestMemoryIsIdempotentByKeyAndApartByScope(t *testing.T) {
	store := tooltest.NewMemoryMap()
	call := func(ts *builtin.Toolset, c tool.Call) string {
		t.Helper()
		res, err := ts.Call(t.Context(), tooltest.Call(c))
		if err != nil || res.IsError {
			t.Fatalf("%s: %+v, %v", c.Name, res, err)
		}
		return res.Output
	}
	own := builtin.NewMemory(store, "")
	add := tool.Call{Name: "add_memory", Arguments: `{"memory":"Ada likes tea"}`, IdempotencyKey: "k1"}
	if a, b := call(own, add), call(own, add); a != b {
		t.Errorf("the same key twice: %q and %q", a, b)
	}
	all, err := store.Memories(t.Context(), "tenant", "root")
	if err != nil || len(all) != 1 {
		t.Fatalf("%d memories, %v, want 1", len(all), err)
	}
	id := all[0].ID
	call(own, tool.Call{Name: "update_memory", Arguments: fmt.Sprintf(`{"id":%q,"memory":"Ada likes coffee","category":"fact"}`, id)})
	if got := call(own, tool.Call{Name: "search_memories", Arguments: `{"query":"COFFEE","category":"Fact"}`}); !strings.Contains(got, id) {
		t.Errorf("search: %s, want it to contain %s", got, id)
	}
	if got := call(own, tool.Call{Name: "get_memories", Agent: "other"}); strings.Contains(got, id) {
		t.Errorf("another agent sees %s", got)
	}
	if got := call(own, tool.Call{Name: "get_memories", Session: holdfast.SessionRef{Tenant: "t2", Session: "s"}}); strings.Contains(got, id) {
		t.Errorf("another tenant sees %s", got)
	}
	shared := builtin.NewMemory(store, "root")
	if got := call(shared, tool.Call{Name: "get_memories", Agent: "other"}); !strings.Contains(got, id) {
		t.Errorf("the same scope does not see %s: %s", id, got)
	}
	call(own, tool.Call{Name: "delete_memory", Arguments: fmt.Sprintf(`{"id":%q}`, id)})
	call(own, tool.Call{Name: "delete_memory", Arguments: fmt.Sprintf(`{"id":%q}`, id)})
}

// failingStore fails in the way of a database that is away.
type failingStore struct{ *tooltest.MemoryMap }

func (failingStore) Memories(context.Context, string, string) ([]builtin.Memory, error) {
	return nil, holdfast.WrapError(holdfast.CodeUnavailable, errors.New("dial db.internal:5432"), "the store is not reachable")
}

func TestMemoryTellsOnlyWhatMayLeaveTheProcess(t *testing.T) {
	ts := builtin.NewMemory(failingStore{tooltest.NewMemoryMap()}, "")
	res, err := ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "get_memories"}))
	if err != nil || !res.IsError {
		t.Fatalf("%+v, %v, want an error result", res, err)
	}
	if !strings.Contains(res.Output, "the store is not reachable") || strings.Contains(res.Output, "db.internal") {
		t.Errorf("output %q", res.Output)
	}
}

func TestMemoryStoreForTests(t *testing.T) {
	tooltest.MemoryStore(t, func(*testing.T) builtin.MemoryStore { return tooltest.NewMemoryMap() })
}

package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// Limits of a todo list. It is part of the session's state, which every worker
// that takes the session over has to fold.
const (
	maxTodos           = 1000
	maxTodoDescription = 4 << 10 // bytes
)

// todoStateKey is the key of the list in the session's state, under the name of
// the toolset. It is stored: it never changes.
const todoStateKey = "todos"

// todo is one entry of the list. The JSON names are stored and go to clients.
type todo struct {
	ID          string `json:"id"`
	Description string `json:"description"`
	Status      string `json:"status"`
}

var todoStatuses = []string{"pending", "in-progress", "completed"}

type createTodoArguments struct {
	Description string `json:"description"`
}

type createTodosArguments struct {
	Descriptions list[string] `json:"descriptions"`
}

type updateTodosArguments struct {
	Updates list[updateTodoArguments] `json:"updates"`
}

type updateTodoArguments struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

// NewTodo returns the todo toolset. Its list is kept in the session's log,
// under the given name: two agents of a team that are given the same name share
// one list, and "" means "todo". No list is ever shared between sessions.
//
// Its tools are sequential, because each reads the list that the one before
// left. A call that is repeated after a crash starts from the same list and
// gives the same ids, so the tools that write are idempotent.
func NewTodo(name string) *Toolset {
	if name == "" {
		name = "todo"
	}
	return &Toolset{
		name: name,
		instructions: "Keep track of work of several steps with the todo tools: create a todo for each step before you " +
			"start, set a todo to in-progress when you begin it and to completed when it is done, and look at list_todos " +
			"before you say that you are finished.",
		entries: []entry{
			{
				def: todoDefinition("create_todo", "Create todo", "Add one todo to the list.",
					tool.EffectIdempotent, object([]string{"description"}, text("description", "What is to be done"))),
				run: run(func(_ context.Context, c tool.Call, a createTodoArguments) (tool.Result, error) {
					return createTodos(c, []string{a.Description})
				}),
			},
			{
				def: todoDefinition("create_todos", "Create todos", "Add several todos to the list, in order.",
					tool.EffectIdempotent, object([]string{"descriptions"}, texts("descriptions", "What is to be done, one text for each todo"))),
				run: run(func(_ context.Context, c tool.Call, a createTodosArguments) (tool.Result, error) {
					return createTodos(c, a.Descriptions)
				}),
			},
			{
				def: todoDefinition("update_todo", "Update todo", "Set the status of a todo.",
					tool.EffectIdempotent, object([]string{"id", "status"},
						text("id", "Id of the todo"), choice("status", "Its new status", todoStatuses...))),
				run: run(func(_ context.Context, c tool.Call, a updateTodoArguments) (tool.Result, error) {
					return updateTodos(c, []updateTodoArguments{a})
				}),
			},
			{
				def: todoDefinition("update_todos", "Update todos", "Set the status of several todos at once.",
					tool.EffectIdempotent, object([]string{"updates"}, property{"updates", `{"type":"array","minItems":1,"items":` + string(object([]string{"id", "status"},
						text("id", "Id of the todo"), choice("status", "Its new status", todoStatuses...))) + `}`})),
				run: run(func(_ context.Context, c tool.Call, a updateTodosArguments) (tool.Result, error) {
					return updateTodos(c, a.Updates)
				}),
			},
			{
				def: todoDefinition("list_todos", "List todos", "Show all todos with their status.",
					tool.EffectReadOnly, object(nil)),
				run: run(func(_ context.Context, c tool.Call, _ struct{}) (tool.Result, error) {
					todos, err := loadTodos(c)
					if err != nil {
						return failed("%v", err), nil
					}
					return listTodos(todos)
				}),
			},
		},
	}
}

func todoDefinition(name, title, description string, effect tool.Effect, schema json.RawMessage) tool.Definition {
	return tool.Definition{
		Name: name, Title: title, Description: description, Parameters: schema,
		Effect: effect,
		// The list is the session's own; asking a human about it would only be noise.
		NoApproval: true,
	}
}

func loadTodos(c tool.Call) ([]todo, error) {
	if c.State == nil {
		return nil, nil
	}
	raw := c.State(todoStateKey)
	if len(raw) == 0 {
		return nil, nil
	}
	var todos []todo
	if err := json.Unmarshal(raw, &todos); err != nil {
		return nil, fmt.Errorf("the todo list of this session cannot be read: %w", err)
	}
	return todos, nil
}

// withTodos stores the list in the result: for the log, and for clients that
// show it.
func withTodos(res tool.Result, todos []todo) (tool.Result, error) {
	raw, err := json.Marshal(todos)
	if err != nil {
		return tool.Result{}, fmt.Errorf("storing the todo list: %w", err)
	}
	res.State = map[string]json.RawMessage{todoStateKey: raw}
	res.Meta = raw
	return res, nil
}

func createTodos(c tool.Call, descriptions []string) (tool.Result, error) {
	todos, err := loadTodos(c)
	if err != nil {
		return failed("%v", err), nil
	}
	if len(descriptions) == 0 {
		return failed("There is no description, so no todo was created."), nil
	}
	if len(todos)+len(descriptions) > maxTodos {
		return failed("A session can have %d todos; there are %d already. Nothing was created.", maxTodos, len(todos)), nil
	}
	var out strings.Builder
	for _, d := range descriptions {
		if d = strings.TrimSpace(d); d == "" {
			return failed("A description is empty. Nothing was created."), nil
		}
		if len(d) > maxTodoDescription {
			return failed("A description is longer than %d bytes. Nothing was created.", maxTodoDescription), nil
		}
		// Todos are never removed, so the position makes a stable id.
		t := todo{ID: fmt.Sprintf("todo_%d", len(todos)+1), Description: d, Status: todoStatuses[0]}
		todos = append(todos, t)
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "Created todo [%s]: %s", t.ID, t.Description)
	}
	return withTodos(tool.Result{Output: out.String()}, todos)
}

// updateTodos sets what can be set and names what cannot. It is a failure if nothing
// could.
func updateTodos(c tool.Call, updates []updateTodoArguments) (tool.Result, error) {
	todos, err := loadTodos(c)
	if err != nil {
		return failed("%v", err), nil
	}
	var out []string
	done := 0
	for _, u := range updates {
		status := strings.ReplaceAll(u.Status, "_", "-")
		i := slices.IndexFunc(todos, func(t todo) bool { return t.ID == u.ID })
		switch {
		case !slices.Contains(todoStatuses, status):
			out = append(out, fmt.Sprintf("The status %q does not exist; use one of %s.", u.Status, strings.Join(todoStatuses, ", ")))
		case i < 0:
			out = append(out, fmt.Sprintf("There is no todo %q.", u.ID))
		default:
			todos[i].Status = status
			out = append(out, fmt.Sprintf("Todo [%s] is now %s.", u.ID, status))
			done++
		}
	}
	switch text := strings.Join(out, "\n"); {
	case len(updates) == 0:
		return failed("There are no updates."), nil
	case done == 0:
		return tool.ErrorResult(text), nil
	default:
		return withTodos(tool.Result{Output: text}, todos)
	}
}

func listTodos(todos []todo) (tool.Result, error) {
	if len(todos) == 0 {
		return succeeded("There are no todos."), nil
	}
	var out strings.Builder
	out.WriteString("Todos:\n")
	for _, t := range todos {
		fmt.Fprintf(&out, "- [%s] %s (%s)\n", t.ID, t.Description, t.Status)
	}
	meta, err := json.Marshal(todos)
	if err != nil {
		return tool.Result{}, fmt.Errorf("describing the todo list: %w", err)
	}
	return tool.Result{Output: out.String(), Meta: meta}, nil
}

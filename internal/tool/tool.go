// Package tool is what an agent asks of its tools. Adapters (builtin, mcptool,
// …) live in folders of their own and pass the suite in tooltest.
//
// A [Toolset] promises: Tools and Call honour their context; a tool that fails
// answers a [Result] with IsError, so that the model can react, and returns a
// Go error only when the caller must act (cancelled, authorization needed, the
// session's owner must park: [InputRequired]); outputs are bounded ([MaxOutput]); Close frees
// everything, processes included, and may be called twice.
package tool

import (
	"context"
	"encoding/json"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// MaxOutput is the most bytes of a tool's output that are kept. What is longer
// is cut with a marker that says so.
const MaxOutput = 4 << 20

// Effect is what a tool says of running it again.
type Effect string

// The effects. A tool that says nothing may change something each time.
const (
	EffectUnkeyed    Effect = ""           // each run may change something once more
	EffectIdempotent Effect = "idempotent" // again with the same key changes nothing more
	EffectReadOnly   Effect = "read_only"  // changes nothing
)

// Definition describes a tool to the model and to the loop.
type Definition struct {
	Name string
	// Remote is how the far side spells the name, "" if that is Name. Filters in
	// agent files may use either.
	Remote string
	// RuledAs is a tool whose permissions' rules that refuse, or want a question, count
	// for this one too, "" for none.
	RuledAs     string
	Title       string
	Description string
	// Parameters is the JSON schema of the arguments, passed to the model whole.
	Parameters json.RawMessage
	// Effect decides about approval (read-only tools run without asking) and about
	// what happens after a crash in the call.
	Effect Effect
	// NoApproval is set for tools that never need a human's approval although they
	// change something (the session's own todo list, for example).
	NoApproval bool
	// OnUnknown is the policy for a call whose outcome got lost: "ask" (default),
	// "tell", "retry", "fail".
	OnUnknown string
	// Concurrent says that calls of this tool may run beside others of the turn.
	Concurrent bool
}

// Call is one call of a tool.
type Call struct {
	Session holdfast.SessionRef
	Agent   string // name of the agent in its file
	ID      string // of the tool call
	Name    string
	// Arguments is a JSON object; "" came from a model that sent none and means {}.
	Arguments string
	// IdempotencyKey is stable over all attempts of the same call.
	IdempotencyKey string
	// State reads what this session's log keeps under the toolset's name.
	State func(key string) json.RawMessage
	// Now is the time of the call from the log, so that a replay sees the same.
	Now time.Time
	// Input are the answers to the questions with which the call ended before, by
	// key, and Continuation what it gave then; see [InputRequired].
	Input        map[string]InputAnswer
	Continuation json.RawMessage
	// Elicit asks the user while the call goes on; nil if nobody can be asked.
	Elicit Elicit
	// Progress, if not nil, hands out output of a call that is under way.
	Progress func(text string)
}

// Result is what a call gives back.
type Result struct {
	Output  string
	IsError bool
	// Images are what the model sees beside Output, if it takes images; Output names
	// them for one that does not. Make them with [Image].
	Images []holdfast.ContentPart
	tried  int // images that AddImage has looked at
	// Meta is for clients, not for the model: structured content, images.
	Meta json.RawMessage
	// State is what the session's log is to keep from now on, by key, stored in the
	// same frame as the outcome.
	State map[string]json.RawMessage
}

// ErrorResult is a failure that the model reads; the run goes on.
func ErrorResult(text string) Result { return Result{Output: text, IsError: true} }

// Toolset is a group of tools that share a life: an MCP server, the todo list.
type Toolset interface {
	// Name identifies the toolset within its agent and in the session's state.
	Name() string
	// Instructions is text for the system prompt, "" for none. Valid after Tools.
	Instructions() string
	// Tools lists the tools. A toolset that cannot start returns an error; the run
	// goes on without it and says so.
	Tools(ctx context.Context) ([]Definition, error)
	// Call runs a tool by name.
	Call(ctx context.Context, c Call) (Result, error)
	// Close stops what runs and frees what is held.
	Close() error
}

package builtin

import (
	"context"
	"strings"

	"github.com/holdfast-run/holdfast/internal/tool"
)

type thinkArguments struct {
	Thought string `json:"thought"`
}

// NewThink returns the think toolset: a tool that gives a model room to reason
// between other calls. It changes nothing and learns nothing; the thought is in
// the log because every call is.
func NewThink() *Toolset {
	return &Toolset{
		name: "think",
		instructions: "Call think before you act on something that is not obvious: list the rules that apply, " +
			"check whether you have what you need, and say what you will do next. Thinking is free of side effects.",
		entries: []entry{{
			def: tool.Definition{
				Name:        "think",
				Title:       "Think",
				Description: "Write down a thought. Nothing is looked up and nothing changes; use it to reason about what to do next.",
				Parameters:  object([]string{"thought"}, text("thought", "The thought")),
				Effect:      tool.EffectReadOnly,
				Concurrent:  true,
			},
			run: run(func(_ context.Context, _ tool.Call, a thinkArguments) (tool.Result, error) {
				if strings.TrimSpace(a.Thought) == "" {
					return failed("The thought is empty."), nil
				}
				return succeeded("Thought noted."), nil
			}),
		}},
	}
}

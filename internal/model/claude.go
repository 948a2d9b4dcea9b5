package model

import (
	"regexp"
	"strconv"
	"strings"
)

// claudeVersion finds a model's version in its name: claude-opus-4-6,
// claude-sonnet-4-5-20250929, claude-3-7-sonnet-latest, and the same with a
// prefix of a gateway or with dots.
var claudeVersion = regexp.MustCompile(`claude-(?:(?:[a-z]+)-)?(\d)(?:[-.](\d{1,2}))?(?:[-@.:a-z]|$|-\d{8})`)

// ClaudeGeneration is a Claude's version times ten (claude-opus-4-6 is 46), 0 if its
// name does not tell.
func ClaudeGeneration(name string) int {
	m := claudeVersion.FindStringSubmatch(strings.ToLower(name))
	if m == nil {
		return 0
	}
	// The expression admits digits alone.
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major*10 + min(minor, 9)
}

// ClaudeThinking is how a Claude is asked to think, in the words of Anthropic's
// API, which Bedrock passes on.
type ClaudeThinking struct {
	Kind   string // "", "enabled", "adaptive", "disabled"
	Budget int64  // tokens, with "enabled"
	Effort string // with "adaptive", "" for the model's own
}

// Manual reports whether thinking goes by a budget. Then a block of thinking must
// begin each turn, and only a beta lets it go on between tools.
func (t ClaudeThinking) Manual() bool { return t.Kind == "enabled" }

const minClaudeBudget = 1024 // https://platform.claude.com/docs/en/build-with-claude/extended-thinking

// claudeBudgets are the tokens of an effort for models that know no effort.
var claudeBudgets = map[string]int64{
	"minimal": minClaudeBudget, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768,
}

// ClaudeThinking reads ThinkingBudget for a Claude.
//
// Which generation takes what:
// https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html
// and the SDK's list of models for which "enabled" is deprecated.
func (c *Config) ClaudeThinking() (ClaudeThinking, error) {
	gen := ClaudeGeneration(c.Model)
	value := strings.ToLower(strings.TrimSpace(c.ThinkingBudget))
	manualOnly := gen > 0 && gen < 46
	switch {
	case value == "":
		return ClaudeThinking{}, nil
	case value == "none" || value == "0":
		if gen > 0 && gen < 50 {
			return ClaudeThinking{}, nil // thinking is off unless it is asked for
		}
		return ClaudeThinking{Kind: "disabled"}, nil
	case value == "adaptive" || value == "-1":
		if manualOnly {
			return ClaudeThinking{}, c.Invalid("this model needs a number of tokens for thinking: thinking_budget must be at least %d, or an effort", minClaudeBudget)
		}
		return ClaudeThinking{Kind: "adaptive"}, nil
	}
	if tokens, ok := claudeBudgets[value]; ok {
		if manualOnly {
			return ClaudeThinking{Kind: "enabled", Budget: tokens}, nil
		}
		if value == "minimal" {
			value = "low"
		}
		return ClaudeThinking{Kind: "adaptive", Effort: value}, nil
	}
	tokens, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil || tokens < 0:
		return ClaudeThinking{}, c.Invalid("thinking_budget %q is neither a number of tokens nor one of none, minimal, low, medium, high, xhigh, max, adaptive", c.ThinkingBudget)
	case tokens < minClaudeBudget:
		return ClaudeThinking{}, c.Invalid("thinking_budget must be at least %d tokens, or 0 for none", minClaudeBudget)
	case gen <= 46:
		return ClaudeThinking{Kind: "enabled", Budget: tokens}, nil
	case tokens <= 2048:
		return ClaudeThinking{Kind: "adaptive", Effort: "low"}, nil
	case tokens <= 8192:
		return ClaudeThinking{Kind: "adaptive", Effort: "medium"}, nil
	}
	return ClaudeThinking{Kind: "adaptive", Effort: "high"}, nil
}

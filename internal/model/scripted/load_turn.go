package scripted

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	holdfast "github.com/holdfast-run/holdfast"
)

var scriptKeys = []string{"title", "summary", "context_limit", "wait", "delay", "turns"}

func (l *loader) script(n *yaml.Node) *script {
	s := &script{}
	var turns *yaml.Node
	base := turn{when: when{turn: -1}}
	l.mapping(n, "the script", scriptKeys, func(key string, v *yaml.Node) bool {
		switch key {
		case "title":
			s.title = l.ungrouped(v, key)
		case "summary":
			s.summary = l.ungrouped(v, key)
		case "context_limit":
			s.contextLimit = l.integer(v, key, 1, math.MaxInt64)
		case "wait":
			base.wait = l.duration(v, key)
		case "delay":
			base.delay = l.duration(v, key)
		case "turns":
			turns = v
		default:
			return false
		}
		return true
	})
	if l.err != nil {
		return nil
	}
	if turns == nil {
		l.fail(n, "the script has no turns")
		return nil
	}
	l.list(turns, "turns", func(i int, v *yaml.Node) {
		s.turns = append(s.turns, l.turn(v, fmt.Sprintf("turns[%d]", i), base))
	})
	return s
}

// ungrouped is a text outside of a turn, where nothing has been matched.
func (l *loader) ungrouped(n *yaml.Node, where string) *text {
	t := l.text(n, where)
	if err := t.checkGroups(&when{}); err != nil {
		l.fail(n, "%s: %s", where, err)
	}
	return t
}

var turnKeys = []string{
	"when", "wait", "delay", "reason", "say", "say_words", "call", "usage", "finish",
	"single_chunk", "error", "cut", "stall",
}

var finishes = []string{"stop", "tool_calls", "length", "content_filter"}

func (l *loader) turn(n *yaml.Node, where string, t turn) turn {
	ends := 0
	l.mapping(n, where, turnKeys, func(key string, v *yaml.Node) bool {
		at := where + "." + key
		switch key {
		case "when":
			t.when = l.when(v, at)
		case "wait":
			t.wait = l.duration(v, at)
		case "delay":
			t.delay = l.duration(v, at)
		case "reason":
			t.reason = l.text(v, at)
		case "say":
			t.say = l.text(v, at)
		case "say_words":
			t.sayWords = int(l.integer(v, at, 1, maxWords))
		case "call":
			l.list(v, at, func(i int, c *yaml.Node) {
				t.calls = append(t.calls, l.call(c, fmt.Sprintf("%s[%d]", at, i)))
			})
		case "usage":
			t.usage = l.usage(v, at)
		case "finish":
			t.finish = l.str(v, at)
			if !slices.Contains(finishes, t.finish) {
				l.fail(v, "%s must be one of %s", at, strings.Join(finishes, ", "))
			}
		case "single_chunk":
			t.singleChunk = l.boolean(v, at)
		case "error":
			ends++
			t.fail, t.breakAfter = l.failure(v, at)
		case "cut":
			ends++
			t.cut, t.breakAfter = true, l.after(v, at)
		case "stall":
			ends++
			t.stall, t.breakAfter = true, l.after(v, at)
		default:
			return false
		}
		return true
	})
	if l.err != nil {
		return t
	}
	switch {
	case ends > 1:
		l.fail(n, "%s: error, cut and stall exclude each other", where)
	case ends > 0 && t.singleChunk:
		l.fail(n, "%s: single_chunk and error, cut or stall exclude each other", where)
	case ends == 0 && t.say == nil && t.sayWords == 0 && t.reason == nil && t.calls == nil && t.finish == "":
		l.fail(n, "%s does nothing: give it say, say_words, reason, call, finish, error, cut or stall", where)
	}
	texts := []*text{t.reason, t.say}
	for i := range t.calls {
		texts = append(texts, t.calls[i].argsText)
		_ = t.calls[i].args.walk(func(s *text) error { texts = append(texts, s); return nil })
	}
	for _, s := range texts {
		if err := s.checkGroups(&t.when); err != nil {
			l.fail(n, "%s: %s", where, err)
		}
	}
	return t
}

var whenKeys = []string{"equals", "contains", "matches", "after_tool", "output", "turn"}

func (l *loader) when(n *yaml.Node, where string) when {
	w := when{turn: -1}
	if n.Kind == yaml.ScalarNode && n.Value == "default" {
		return w
	}
	words := 0
	l.mapping(n, where, whenKeys, func(key string, v *yaml.Node) bool {
		at := where + "." + key
		switch key {
		case "equals":
			words++
			w.equals = l.nonEmpty(v, at)
		case "contains":
			words++
			w.contains = strings.ToLower(l.nonEmpty(v, at))
		case "matches":
			words++
			w.matches = l.regexp(v, at)
		case "after_tool":
			w.afterTool = l.nonEmpty(v, at)
		case "output":
			w.output = l.regexp(v, at)
		case "turn":
			w.turn = int(l.integer(v, at, 0, math.MaxInt32))
		default:
			return false
		}
		return true
	})
	switch {
	case words > 1:
		l.fail(n, "%s: equals, contains and matches exclude each other", where)
	case w.output != nil && w.afterTool == "":
		l.fail(n, "%s: output needs after_tool", where)
	}
	return w
}

func (l *loader) call(n *yaml.Node, where string) call {
	var c call
	l.mapping(n, where, []string{"name", "arguments"}, func(key string, v *yaml.Node) bool {
		at := where + "." + key
		switch key {
		case "name":
			c.name = l.nonEmpty(v, at)
		case "arguments":
			switch {
			case v.Kind == yaml.MappingNode:
				c.args = l.value(v, at, 0)
			case v.Kind == yaml.ScalarNode && v.Tag == "!!str":
				c.argsText = l.text(v, at)
			default:
				l.fail(v, "%s must be a mapping, or a text that is sent as it is", at)
			}
		default:
			return false
		}
		return true
	})
	if c.name == "" {
		l.fail(n, "%s has no name", where)
	}
	return c
}

func (l *loader) usage(n *yaml.Node, where string) *usage {
	u := &usage{-1, -1, -1, -1, -1}
	l.mapping(n, where, []string{"input", "output", "cached", "cache_write", "reasoning"}, func(key string, v *yaml.Node) bool {
		var p *int64
		switch key {
		case "input":
			p = &u.input
		case "output":
			p = &u.output
		case "cached":
			p = &u.cached
		case "cache_write":
			p = &u.cacheWrite
		case "reasoning":
			p = &u.reasoning
		default:
			return false
		}
		*p = l.integer(v, where+"."+key, 0, math.MaxInt64)
		return true
	})
	return u
}

// after reads {after_words: n}; {} is 0.
func (l *loader) after(n *yaml.Node, where string) int {
	after := 0
	l.mapping(n, where, []string{"after_words"}, func(key string, v *yaml.Node) bool {
		if key != "after_words" {
			return false
		}
		after = int(l.integer(v, where+"."+key, 0, maxWords))
		return true
	})
	return after
}

// failureCodes are what a script may fail with: what a real adapter returns.
var failureCodes = []holdfast.Code{
	holdfast.CodeModelAuth, holdfast.CodeModelRate, holdfast.CodeModelContext,
	holdfast.CodeModelFilter, holdfast.CodeModelFailed, holdfast.CodeInvalid, holdfast.CodeTimeout,
}

func (l *loader) failure(n *yaml.Node, where string) (*failure, int) {
	f := &failure{}
	var status int64
	after := 0
	l.mapping(n, where, []string{"status", "code", "message", "after_words"}, func(key string, v *yaml.Node) bool {
		at := where + "." + key
		switch key {
		case "status":
			status = l.integer(v, at, 400, 599)
		case "code":
			f.code = holdfast.Code(l.str(v, at))
			if !slices.Contains(failureCodes, f.code) {
				l.fail(v, "%s: unknown code %q; known are %s", at, f.code, strings.Trim(fmt.Sprint(failureCodes), "[]"))
			}
		case "message":
			f.message = l.str(v, at)
		case "after_words":
			after = int(l.integer(v, at, 0, maxWords))
		default:
			return false
		}
		return true
	})
	switch {
	case status != 0 && f.code != "":
		l.fail(n, "%s: status and code exclude each other", where)
	case f.code == "":
		f.code = codeOfStatus(status)
	}
	if f.message == "" {
		f.message = "scripted model: the script says that this call fails"
		if status != 0 {
			f.message = fmt.Sprintf("%s with status %d", f.message, status)
		}
	}
	return f, after
}

// codeOfStatus is the code that an adapter gives an answer with this status; 0
// is no answer at all.
func codeOfStatus(status int64) holdfast.Code {
	switch status {
	case 401, 403:
		return holdfast.CodeModelAuth
	case 429:
		return holdfast.CodeModelRate
	case 413:
		return holdfast.CodeModelContext
	case 400, 404, 422:
		return holdfast.CodeInvalid
	}
	return holdfast.CodeModelFailed
}

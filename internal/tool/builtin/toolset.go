// Package builtin holds the tools that Holdfast brings itself.
//
// Every constructor returns a [Toolset], which keeps the promises of
// [tool.Toolset]: bad arguments and failures are results that the model can
// react to, outputs are bounded, Close may be called twice. Names and arguments
// are those of cagent agent files.
//
// Who asks for approval: think, the todo list and everything that only reads
// never do. What outlives the session or touches the world does: writing to the
// memory (a prompt that was smuggled in must not plant a memory in silence, and
// cagent asks there too), fetch not (it reads), shell, scripts and writing files
// yes.
//
// State: the todo list lives in the session's log, memories in a [MemoryStore],
// files on the host. The toolsets themselves hold nothing that matters, so a
// worker may drop and make them at any time.
package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// handler runs one tool. Its error is for the caller alone (cancelled); what the
// model is to read is a result.
type handler func(ctx context.Context, c tool.Call) (tool.Result, error)

type entry struct {
	def tool.Definition
	run handler
}

// Toolset is a fixed list of tools under one name.
type Toolset struct {
	name         string
	instructions string
	entries      []entry
	close        func() error // nil: nothing is held
}

var _ tool.Toolset = (*Toolset)(nil)

// Name implements [tool.Toolset].
func (s *Toolset) Name() string { return s.name }

// Instructions implements [tool.Toolset].
func (s *Toolset) Instructions() string { return s.instructions }

// Tools implements [tool.Toolset].
func (s *Toolset) Tools(ctx context.Context) ([]tool.Definition, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("listing the tools of %s: %w", s.name, err)
	}
	defs := make([]tool.Definition, len(s.entries))
	for i, e := range s.entries {
		defs[i] = e.def
	}
	return defs, nil
}

// Call implements [tool.Toolset].
func (s *Toolset) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if err := ctx.Err(); err != nil {
		return tool.Result{}, fmt.Errorf("calling %s: %w", c.Name, err)
	}
	for _, e := range s.entries {
		if e.def.Name == c.Name {
			res, err := e.run(ctx, c)
			res.Output = tool.Bound(res.Output)
			return res, err
		}
	}
	return tool.ErrorResult(fmt.Sprintf("There is no tool %q in the toolset %q.", c.Name, s.name)), nil
}

// Close implements [tool.Toolset].
func (s *Toolset) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// run makes a handler of a function that takes decoded arguments. Arguments
// that are no JSON object, or hold a key that the tool does not have, are told
// to the model.
func run[A any](f func(ctx context.Context, c tool.Call, args A) (tool.Result, error)) handler {
	return func(ctx context.Context, c tool.Call) (tool.Result, error) {
		var args A
		if err := decodeArguments(c.Arguments, &args); err != nil {
			return failed("The arguments of %s cannot be used: %v.", c.Name, err), nil
		}
		return f(ctx, c, args)
	}
}

func decodeArguments(arguments string, into any) error {
	if strings.TrimSpace(arguments) == "" {
		arguments = "{}"
	}
	d := json.NewDecoder(strings.NewReader(arguments))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("they are no complete JSON object")
		}
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON object")
	}
	return nil
}

func failed(format string, args ...any) tool.Result {
	return tool.ErrorResult(fmt.Sprintf(format, args...))
}

func succeeded(format string, args ...any) tool.Result {
	return tool.Result{Output: fmt.Sprintf(format, args...)}
}

// object builds the JSON schema of arguments: an object with these properties
// and no others.
func object(required []string, properties ...property) json.RawMessage {
	var b bytes.Buffer
	b.WriteString(`{"type":"object","properties":{`)
	for i, p := range properties {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", p.name, p.schema)
	}
	b.WriteString(`}`)
	if len(required) > 0 {
		names, err := json.Marshal(required)
		if err != nil {
			panic(fmt.Sprintf("builtin: a list of names cannot be marshaled: %v", err))
		}
		fmt.Fprintf(&b, `,"required":%s`, names)
	}
	b.WriteString(`,"additionalProperties":false}`)
	return b.Bytes()
}

type property struct {
	name   string
	schema string // JSON
}

func text(name, description string) property {
	return property{name, fmt.Sprintf(`{"type":"string","description":%q}`, description)}
}

func number(name, description string) property {
	return property{name, fmt.Sprintf(`{"type":"integer","minimum":0,"description":%q}`, description)}
}

func flag(name, description string) property {
	return property{name, fmt.Sprintf(`{"type":"boolean","description":%q}`, description)}
}

func texts(name, description string) property {
	return property{name, fmt.Sprintf(`{"type":"array","items":{"type":"string"},"minItems":1,"description":%q}`, description)}
}

func choice(name, description string, values ...string) property {
	return property{name, fmt.Sprintf(`{"type":"string","enum":["%s"],"description":%q}`, strings.Join(values, `","`), description)}
}

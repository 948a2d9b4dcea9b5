package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// document is an agent file as clients of the mount decode it. Those of the first
// mount know commands as texts only and thinking_budget as an object; any other
// form fails their whole request.
func (l legacyAPI) document(f agent.File) (json.RawMessage, error) {
	doc, err := l.describe(f, l.agentsAsList)
	if err != nil || l.agentsAsList {
		return doc, err
	}
	doc, err = rewrite(doc, "agents", each("commands", each("", commandText)))
	if err == nil {
		doc, err = rewrite(doc, "models", each("thinking_budget", budgetObject))
	}
	if err != nil {
		return nil, fmt.Errorf("describe agent file %s for existing clients: %w", f.Name, err)
	}
	return doc, nil
}

// change makes another value of a value.
type change func(json.RawMessage) (json.RawMessage, error)

// each changes, in every member of an object, the member of that name; name ""
// is the member itself.
func each(name string, f change) change {
	return func(object json.RawMessage) (json.RawMessage, error) {
		return members(object, func(_ string, v json.RawMessage) (json.RawMessage, error) {
			if name == "" {
				return f(v)
			}
			return rewrite(v, name, f)
		})
	}
}

// rewrite changes one member of an object; the others, and the order, stay.
func rewrite(object json.RawMessage, name string, f change) (json.RawMessage, error) {
	return members(object, func(key string, v json.RawMessage) (json.RawMessage, error) {
		if key != name {
			return v, nil
		}
		return f(v)
	})
}

// members returns the object with the values that f makes, in the same order.
// What is no object stays as it is.
func members(object json.RawMessage, f func(key string, v json.RawMessage) (json.RawMessage, error)) (json.RawMessage, error) {
	if len(object) == 0 || object[0] != '{' {
		return object, nil
	}
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	out := []byte{'{'}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string) // the key of an object always is one
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		if v, err = f(key, v); err != nil {
			return nil, err
		}
		name, err := encodeText(key)
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, name...), ':'), v...)
	}
	return append(out, '}'), nil
}

// commandText is a command without its description.
func commandText(v json.RawMessage) (json.RawMessage, error) {
	if v[0] != '{' {
		return v, nil
	}
	var command struct {
		Instruction string `json:"instruction"`
	}
	if err := json.Unmarshal(v, &command); err != nil {
		return nil, err
	}
	return encodeText(command.Instruction)
}

// budgetObject is a thinking budget as its first readers know it.
func budgetObject(v json.RawMessage) (json.RawMessage, error) {
	name := "tokens"
	if v[0] == '"' {
		name = "effort"
	}
	return json.Marshal(map[string]json.RawMessage{name: v})
}

// edits is what a request wants changed. Clients of version 1.3 send the whole file
// back as they have decoded it: values that they do not know are missing, and
// members that no file has are there (remote of every toolset, metadata). Of those
// only what differs from what they were shown is an edit.
func (l legacyAPI) edits(ctx context.Context, name string, config map[string]any) (map[string]any, error) {
	if !wholeFile(config) {
		return config, nil
	}
	f, err := l.cfg.Agents.Find(ctx, tenantOf(ctx), name)
	if err != nil {
		return nil, agentsAway(err)
	}
	stored, err := l.describe(f, false)
	if holdfast.CodeOf(err) == holdfast.CodeInvalid {
		return config, nil // there is nothing to compare it with: the file is being mended
	}
	if err != nil {
		return nil, err
	}
	shown, err := legacyAPI{API: l.API}.document(f)
	if err != nil {
		return nil, err
	}
	var was, is map[string]any
	if err := json.Unmarshal(shown, &was); err != nil {
		return nil, fmt.Errorf("read agent file %s again: %w", f.Name, err)
	}
	if err := json.Unmarshal(stored, &is); err != nil {
		return nil, fmt.Errorf("read agent file %s again: %w", f.Name, err)
	}
	out, _ := differing("", config, was, is)
	patch, _ := out.(map[string]any)
	if patch == nil {
		patch = map[string]any{}
	}
	return patch, nil
}

// wholeFile reports whether a client of version 1.3 has written the document:
// it cannot leave out metadata, nor the url of the remote of a toolset.
func wholeFile(config map[string]any) bool {
	if _, ok := config["metadata"].(map[string]any); !ok {
		return false
	}
	agents, _ := config["agents"].(map[string]any)
	found := false
	for _, a := range agents {
		def, _ := a.(map[string]any)
		toolsets, _ := def["toolsets"].([]any)
		for _, t := range toolsets {
			toolset, _ := t.(map[string]any)
			remote, _ := toolset["remote"].(map[string]any)
			if _, ok := remote["url"].(string); !ok {
				return false
			}
		}
		found = true
	}
	return found
}

// differing returns what of sent is not as it was shown; ok is false if all is.
// stored is the place as the file has it.
func differing(key string, sent, shown, stored any) (out any, ok bool) {
	switch sent := sent.(type) {
	case map[string]any:
		if key == "thinking_budget" {
			if reflect.DeepEqual(sent, shown) {
				return nil, false
			}
			for _, v := range sent { // it has one member
				return v, true
			}
			return nil, false
		}
		was, _ := shown.(map[string]any)
		is, _ := stored.(map[string]any)
		changed := map[string]any{}
		for k, v := range sent {
			if d, ok := differing(k, v, was[k], is[k]); ok {
				changed[k] = d
			}
		}
		return changed, len(changed) > 0
	case []any:
		was, _ := shown.([]any)
		is, _ := stored.([]any)
		if key == "toolsets" {
			sent = toolsetsOf(sent, was, is)
			shown = stored
		}
		return sent, !reflect.DeepEqual(any(sent), shown)
	}
	return sent, !reflect.DeepEqual(sent, shown)
}

// knownOfToolset are the members of a toolset that clients of version 1.3 send
// back.
var knownOfToolset = map[string]bool{
	"type": true, "tools": true, "instruction": true, "toon": true, "command": true, "args": true, "ref": true, "remote": true,
	"config": true, "env": true, "shared": true, "path": true, "shell": true, "post_edit": true, "allowed_directories": true, "timeout": true,
}

// toolsetsOf returns toolsets that a client has sent as a file has them: without
// what no file has, and with what the client could not send.
func toolsetsOf(sent, shown, stored []any) []any {
	out := make([]any, len(sent))
	for i, s := range sent {
		toolset := filled(s)
		out[i] = toolset
		object, ok := toolset.(map[string]any)
		if !ok || i >= len(shown) {
			continue
		}
		was, _ := shown[i].(map[string]any)
		is, _ := stored[i].(map[string]any)
		if was["type"] != object["type"] {
			continue // another one stands here now
		}
		for k, v := range is {
			switch {
			case !knownOfToolset[k]:
				object[k] = v
			case reflect.DeepEqual(object[k], filled(was[k])):
				object[k] = v // as it is written in the file
			}
		}
	}
	return out
}

// filled is a value without the members that say nothing.
func filled(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, m := range v {
			if m == nil || m == "" {
				continue
			}
			m = filled(m)
			if object, ok := m.(map[string]any); ok && len(object) == 0 {
				continue
			}
			out[k] = m
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, m := range v {
			out[i] = filled(m)
		}
		return out
	}
	return v
}

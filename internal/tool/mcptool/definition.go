package mcptool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// Limits of a server's list of tools. All of it goes into every model call.
const (
	maxTools = 1000
	maxPages = 100
)

// remote is a tool of the server: how the server calls it, and how we do. Those of
// ours for its prompts and resources have the request that they make as the method.
type remote struct {
	name   string
	method mcp.MCPMethod
	def    tool.Definition
}

// listed is a tool as it stands in a tools/list result. The schema stays what
// it was, byte for byte.
type listed struct {
	Name        string          `json:"name"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"inputSchema"`
	Annotations struct {
		Title          string `json:"title"`
		ReadOnlyHint   bool   `json:"readOnlyHint"`
		IdempotentHint bool   `json:"idempotentHint"`
	} `json:"annotations"`
}

// parseTools reads the tools of one page. What cannot be used (no name, no
// object) is left out: one bad tool must not take the others away.
func parseTools(result json.RawMessage) ([]listed, error) {
	var page struct {
		Tools []json.RawMessage `json:"tools"`
	}
	if err := json.Unmarshal(result, &page); err != nil {
		return nil, fmt.Errorf("reading the list of tools: %w", err)
	}
	tools := make([]listed, 0, len(page.Tools))
	for _, raw := range page.Tools {
		var l listed
		if err := json.Unmarshal(raw, &l); err != nil {
			// Wrong types in the parts that only describe: keep what makes it work.
			var min struct {
				Name        string          `json:"name"`
				InputSchema json.RawMessage `json:"inputSchema"`
			}
			if json.Unmarshal(raw, &min) != nil {
				continue
			}
			l = listed{Name: min.Name, InputSchema: min.InputSchema}
		}
		if l.Name != "" {
			tools = append(tools, l)
		}
	}
	return tools, nil
}

// define makes definitions of the tools that the filter lets through, whose names
// begin with the prefix. Of two tools with one name the first counts.
func define(tools []listed, prefix string, filter []string) []remote {
	var out []remote
	used := make(map[string]bool)
	for _, l := range tools {
		full := l.Name
		if prefix != "" {
			full = prefix + "_" + l.Name
		}
		if len(filter) > 0 && !slices.Contains(filter, l.Name) && !slices.Contains(filter, full) {
			continue
		}
		if slices.ContainsFunc(out, func(r remote) bool { return r.name == l.Name }) {
			continue
		}
		d := tool.Definition{
			Name:        tool.ModelName(full, used),
			Title:       l.Title,
			Description: l.Description,
			Parameters:  objectSchema(l.InputSchema),
		}
		if d.Name != l.Name {
			d.Remote = l.Name
		}
		if d.Title == "" {
			d.Title = l.Annotations.Title
		}
		switch {
		case l.Annotations.ReadOnlyHint:
			d.Effect, d.Concurrent = tool.EffectReadOnly, true
		case l.Annotations.IdempotentHint:
			d.Effect = tool.EffectIdempotent
		}
		used[d.Name] = true
		out = append(out, remote{name: l.Name, def: d})
	}
	return out
}

// objectSchema returns the schema, or one of an object with anything in it if
// the server gave none that describes an object.
func objectSchema(raw json.RawMessage) json.RawMessage {
	var keys map[string]json.RawMessage
	if json.Unmarshal(raw, &keys) != nil || keys == nil {
		return json.RawMessage(`{"type":"object"}`)
	}
	if bytes.Equal(bytes.TrimSpace(keys["type"]), []byte(`"object"`)) {
		return raw
	}
	// Models want to read that it is an object; MCP knows nothing else here.
	keys["type"] = json.RawMessage(`"object"`)
	out, err := json.Marshal(keys)
	if err != nil {
		return json.RawMessage(`{"type":"object"}`)
	}
	return out
}

// withoutNulls leaves out of the arguments what is null and whose schema says that it
// is something else: models send null for what they do not want to say, and servers
// refuse it.
func withoutNulls(arguments string, object map[string]json.RawMessage, schema json.RawMessage) string {
	var s struct {
		Properties map[string]struct {
			Type json.RawMessage `json:"type"`
		} `json:"properties"`
		Required []string `json:"required"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return arguments
	}
	dropped := false
	for name, v := range object {
		kind := s.Properties[name].Type
		if string(v) == "null" && len(kind) > 0 && !bytes.Contains(kind, []byte(`"null"`)) && !slices.Contains(s.Required, name) {
			delete(object, name)
			dropped = true
		}
	}
	if !dropped {
		return arguments
	}
	out, err := json.Marshal(object)
	if err != nil {
		return arguments
	}
	return string(out)
}

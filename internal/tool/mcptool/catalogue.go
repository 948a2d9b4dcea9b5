package mcptool

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// Prompts and resources of a server are reached by tools of ours, one for each of
// these requests. Their names end with that of the toolset, so that several servers
// stay apart; Definition.Remote is the request, for filters.
var catalogue = []struct {
	method mcp.MCPMethod
	verb   string
	title  string
	text   string
	schema string
	// prompts says that it is about prompts, else it is about resources.
	prompts bool
	// empty is a result that says nothing, for mcp-go's client: we read the result as
	// it came, which may have what that client refuses.
	empty string
}{
	{
		mcp.MethodPromptsList, "list_prompts", "List prompts", "List the prompt templates that the server %q has, with their arguments.",
		pageSchema, true, `{"prompts":[]}`,
	},
	{
		mcp.MethodPromptsGet, "get_prompt", "Get a prompt", "Get a prompt of the server %q, filled in with arguments.",
		`{"type":"object","properties":{"name":{"type":"string","description":"Name of the prompt"},` +
			`"arguments":{"type":"object","additionalProperties":{"type":"string"},"description":"Arguments of the prompt"}},"required":["name"],"additionalProperties":false}`,
		true, `{"messages":[]}`,
	},
	{
		mcp.MethodResourcesList, "list_resources", "List resources", "List the resources that the server %q has: what can be read, by URI.",
		pageSchema, false, `{"resources":[]}`,
	},
	{
		mcp.MethodResourcesTemplatesList, "list_resource_templates", "List resource templates",
		"List the templates of URIs (RFC 6570) under which the server %q has resources.", pageSchema, false, `{"resourceTemplates":[]}`,
	},
	{
		mcp.MethodResourcesRead, "read_resource", "Read a resource", "Read a resource of the server %q.",
		`{"type":"object","properties":{"uri":{"type":"string","description":"URI of the resource"}},"required":["uri"],"additionalProperties":false}`,
		false, `{"contents":[]}`,
	},
}

const pageSchema = `{"type":"object","properties":{"cursor":{"type":"string","description":"Where to go on, as the list before said"}},"additionalProperties":false}`

// emptyResult returns what mcp-go's client gets instead of the result of a request,
// nil if that is the result itself.
func emptyResult(method mcp.MCPMethod) json.RawMessage {
	for _, c := range catalogue {
		if c.method == method {
			return json.RawMessage(c.empty)
		}
	}
	return nil
}

// catalogueTools are the tools for what the server declares, that the filter lets
// through, with names beside those of its own tools.
func catalogueTools(toolset string, prompts, resources bool, own []remote, filter []string) (out []remote) {
	used := make(map[string]bool)
	for _, r := range own {
		used[r.def.Name] = true
	}
	for _, c := range catalogue {
		if c.prompts && !prompts || !c.prompts && !resources {
			continue
		}
		full := c.verb + "_of_" + toolset
		name := tool.ModelName(full, used)
		if name != full {
			// What was changed might be the same for another toolset; the hash is not.
			name = tool.ModelName(full, map[string]bool{name: true, full: true})
		}
		if len(filter) > 0 && !slices.Contains(filter, name) && !slices.Contains(filter, string(c.method)) {
			continue
		}
		used[name] = true
		out = append(out, remote{method: c.method, def: tool.Definition{
			Name: name, Remote: string(c.method), Title: c.title, Description: fmt.Sprintf(c.text, toolset),
			Parameters: json.RawMessage(c.schema), Effect: tool.EffectReadOnly, Concurrent: true,
		}})
	}
	return out
}

// consult makes a request about prompts or resources. What the server answered is
// in the capture.
func (c *connection) consult(ctx context.Context, method mcp.MCPMethod, call tool.Call, a *asker, again *resumption) (*capture, error) {
	var args struct {
		Cursor    string         `json:"cursor"`
		Name      string         `json:"name"`
		URI       string         `json:"uri"`
		Arguments map[string]any `json:"arguments"`
	}
	if err := json.Unmarshal([]byte(call.Arguments), &args); err != nil {
		return new(capture), fmt.Errorf("reading the arguments: %w", err)
	}
	defer c.offer(a)()
	ctx, seen := withCapture(ctx)
	seen.asker, seen.resume = a, again
	page := mcp.PaginatedRequest{Params: mcp.PaginatedParams{Cursor: mcp.Cursor(args.Cursor)}}
	var err error
	switch method {
	case mcp.MethodPromptsList:
		_, err = c.client.ListPromptsByPage(ctx, mcp.ListPromptsRequest{PaginatedRequest: page})
	case mcp.MethodPromptsGet:
		var req mcp.GetPromptRequest
		req.Params.Name, req.Params.Arguments = args.Name, map[string]string{}
		for k, v := range args.Arguments {
			text, isText := v.(string)
			if !isText { // models write numbers where the protocol knows text only
				text = fmt.Sprint(v)
			}
			req.Params.Arguments[k] = text
		}
		_, err = c.client.GetPrompt(ctx, req)
	case mcp.MethodResourcesList:
		_, err = c.client.ListResourcesByPage(ctx, mcp.ListResourcesRequest{PaginatedRequest: page})
	case mcp.MethodResourcesTemplatesList:
		_, err = c.client.ListResourceTemplatesByPage(ctx, mcp.ListResourceTemplatesRequest{PaginatedRequest: page})
	case mcp.MethodResourcesRead:
		var req mcp.ReadResourceRequest
		req.Params.URI = args.URI
		_, err = c.client.ReadResource(ctx, req)
	}
	return seen, err
}

// entry is an item of one of the lists, all kinds in one.
type entry struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Description string `json:"description"`
	URI         string `json:"uri"`
	URITemplate string `json:"uriTemplate"`
	MIMEType    string `json:"mimeType"`
	Arguments   []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Required    bool   `json:"required"`
	} `json:"arguments"`
}

// line is the item as the model reads it.
func (e *entry) line() string {
	var b strings.Builder
	b.WriteString("- ")
	switch {
	case e.URI != "":
		b.WriteString(e.URI + " (" + e.Name + ")")
	case e.URITemplate != "":
		b.WriteString(e.URITemplate + " (" + e.Name + ")")
	default:
		b.WriteString(e.Name)
	}
	if e.MIMEType != "" {
		b.WriteString(", " + e.MIMEType)
	}
	if e.Description != "" {
		b.WriteString(": " + e.Description)
	} else if e.Title != "" {
		b.WriteString(": " + e.Title)
	}
	for _, a := range e.Arguments {
		b.WriteString("\n  - " + a.Name)
		if a.Required {
			b.WriteString(" (required)")
		}
		if a.Description != "" {
			b.WriteString(": " + a.Description)
		}
	}
	return b.String()
}

// parseConsulted makes a result of what the server answered to a request of the
// catalogue: content like that of a tool.
func parseConsulted(method mcp.MCPMethod, raw json.RawMessage) tool.Result {
	var r struct {
		Prompts     []json.RawMessage `json:"prompts"`
		Resources   []json.RawMessage `json:"resources"`
		Templates   []json.RawMessage `json:"resourceTemplates"`
		Next        string            `json:"nextCursor"`
		Description string            `json:"description"`
		Messages    []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
		Contents []json.RawMessage `json:"contents"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return tool.ErrorResult("The server answered what cannot be read as a result of " + string(method) + ".")
	}
	var content []any
	text := func(s string) { content = append(content, map[string]string{"type": "text", "text": s}) }
	switch method {
	case mcp.MethodPromptsGet:
		if r.Description != "" {
			text(r.Description)
		}
		for _, m := range r.Messages {
			text(m.Role + ":")
			content = append(content, m.Content)
		}
	case mcp.MethodResourcesRead:
		for _, c := range r.Contents {
			content = append(content, map[string]any{"type": "resource", "resource": c})
		}
		if len(content) == 0 {
			text("The resource is empty.")
		}
	default:
		text(listing(slices.Concat(r.Prompts, r.Resources, r.Templates), r.Next))
	}
	shaped, err := json.Marshal(map[string]any{"content": content})
	if err != nil {
		return tool.ErrorResult("The server answered what cannot be read as a result of " + string(method) + ".")
	}
	return parseResult(shaped)
}

// listing is a page as the model reads it.
func listing(items []json.RawMessage, next string) string {
	var lines []string
	for _, raw := range items[:min(len(items), maxTools)] {
		var e entry
		if json.Unmarshal(raw, &e) == nil {
			lines = append(lines, e.line())
		}
	}
	switch {
	case len(items) > maxTools:
		lines = append(lines, fmt.Sprintf("%d more are not shown.", len(items)-maxTools))
	case len(lines) == 0 && next == "":
		lines = append(lines, "There are none.")
	}
	if next != "" {
		lines = append(lines, fmt.Sprintf("There are more: call this again with the cursor %q.", next))
	}
	return strings.Join(lines, "\n")
}

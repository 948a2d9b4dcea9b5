package mcptool

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// content is one item of a tools/call result, all types in one.
type content struct {
	Type        string `json:"type"`
	Text        string `json:"text"`
	Data        string `json:"data"` // base64
	MIMEType    string `json:"mimeType"`
	URI         string `json:"uri"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Resource    *struct {
		URI      string  `json:"uri"`
		MIMEType string  `json:"mimeType"`
		Text     *string `json:"text"`
		Blob     string  `json:"blob"` // base64
	} `json:"resource"`
}

// meta is what clients get of a result beside its text. The names are stored.
type meta struct {
	Content           []json.RawMessage `json:"content,omitempty"`
	StructuredContent json.RawMessage   `json:"structuredContent,omitempty"`
}

// parseResult makes a result of what a server answered to tools/call.
func parseResult(raw json.RawMessage) tool.Result {
	var r struct {
		Content           []json.RawMessage `json:"content"`
		StructuredContent json.RawMessage   `json:"structuredContent"`
		IsError           bool              `json:"isError"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return tool.ErrorResult("The server answered what cannot be read as a result of a tool.")
	}
	if string(r.StructuredContent) == "null" {
		r.StructuredContent = nil
	}
	var out strings.Builder
	var m meta
	var res tool.Result
	room := tool.MaxOutput // bytes that Meta may still take
	for _, item := range r.Content {
		text, keep := describe(item)
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(text)
		if seen := picture(item); len(seen) > 0 && !res.AddImage(seen) && strings.HasPrefix(http.DetectContentType(seen), "image/") {
			out.WriteString("\n[the image above is not shown to the model: it is too large, broken, or none of PNG, JPEG, GIF and WebP]")
		}
		if !keep {
			continue
		}
		if room -= len(item); room < 0 {
			out.WriteString("\n[the item above is too large and was dropped]")
			room += len(item)
			continue
		}
		m.Content = append(m.Content, item)
	}
	if len(r.StructuredContent) > 0 {
		if out.Len() == 0 {
			// The protocol wants the same as text too; not every server does it.
			out.Write(r.StructuredContent)
		}
		if len(r.StructuredContent) <= room {
			m.StructuredContent = r.StructuredContent
		}
	}
	if out.Len() == 0 {
		if r.IsError {
			out.WriteString("The tool failed and said nothing.")
		} else {
			out.WriteString("The tool ended and said nothing.")
		}
	}
	res.Output, res.IsError = tool.Bound(out.String()), r.IsError
	if len(m.Content) > 0 || len(m.StructuredContent) > 0 {
		encoded, err := json.Marshal(m)
		if err == nil { // raw parts of a message that was read cannot fail
			res.Meta = encoded
		}
	}
	return res
}

// picture is the content of an item that is an image, empty for others.
func picture(raw json.RawMessage) []byte {
	var c content
	if json.Unmarshal(raw, &c) != nil {
		return nil
	}
	data := ""
	switch {
	case c.Type == "image":
		data = c.Data
	case c.Type == "resource" && c.Resource != nil && strings.HasPrefix(c.Resource.MIMEType, "image/"):
		data = c.Resource.Blob
	}
	seen, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil
	}
	return seen
}

// describe returns what the model reads of an item, and whether the item goes
// to clients whole.
func describe(raw json.RawMessage) (text string, keep bool) {
	var c content
	if err := json.Unmarshal(raw, &c); err != nil {
		return "[content that cannot be read]", true
	}
	switch c.Type {
	case "text":
		return c.Text, false
	case "image", "audio":
		return fmt.Sprintf("[%s, %s, %s]", c.Type, orUnknown(c.MIMEType), size(c.Data)), true
	case "resource_link":
		line := fmt.Sprintf("[link to a resource: %s", c.URI)
		if c.Name != "" {
			line += ", " + c.Name
		}
		if c.Description != "" {
			line += ": " + c.Description
		}
		return line + "]", true
	case "resource":
		if c.Resource == nil {
			return "[resource without content]", true
		}
		if c.Resource.Text != nil {
			return fmt.Sprintf("[resource %s]\n%s", c.Resource.URI, *c.Resource.Text), true
		}
		return fmt.Sprintf("[resource %s, %s, %s]", c.Resource.URI, orUnknown(c.Resource.MIMEType), size(c.Resource.Blob)), true
	}
	return fmt.Sprintf("[content of the type %q]", c.Type), true
}

func orUnknown(mime string) string {
	if mime == "" {
		return "unknown type"
	}
	return mime
}

// size says how many bytes base64 text stands for.
func size(base64 string) string {
	n := len(strings.TrimRight(base64, "=")) * 3 / 4
	if n < 10<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

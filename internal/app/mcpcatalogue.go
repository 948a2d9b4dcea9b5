package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
)

// maxMCPCatalogue is how much of the file is read, in bytes.
const maxMCPCatalogue = 4 << 20

// mcpCatalogue are the MCP servers that agent files may name as ref: docker:NAME.
// Nothing is fetched and no container is started: the operator says for each name
// where its server is.
type mcpCatalogue map[string]*mcpServer

// mcpServer is an entry. ${config.NAME} in its strings stands for a setting of the
// toolset that names it, ${env.NAME} for a secret.
type mcpServer struct {
	Command string            `yaml:"command"`
	Args    []string          `yaml:"args"`
	Env     map[string]string `yaml:"env"`
	Remote  *struct {
		URL           string            `yaml:"url"`
		TransportType string            `yaml:"transport_type"`
		Headers       map[string]string `yaml:"headers"`
	} `yaml:"remote"`
}

// readMCPCatalogue reads the file; "" is no catalogue.
func readMCPCatalogue(path string) (mcpCatalogue, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("catalogue of MCP servers: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxMCPCatalogue+1))
	if err != nil {
		return nil, fmt.Errorf("catalogue of MCP servers: %w", err)
	}
	if len(raw) > maxMCPCatalogue {
		return nil, fmt.Errorf("catalogue of MCP servers %s: it has more than %d bytes", path, maxMCPCatalogue)
	}
	var doc struct {
		Servers mcpCatalogue `yaml:"servers"`
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("catalogue of MCP servers %s: %w", path, err)
	}
	if len(doc.Servers) == 0 {
		return nil, fmt.Errorf("catalogue of MCP servers %s: it has no servers; write them under `servers`", path)
	}
	for name, s := range doc.Servers {
		if s == nil || (s.Command == "") == (s.Remote == nil) {
			return nil, fmt.Errorf("catalogue of MCP servers %s: %s needs either `command` or `remote`", path, name)
		}
	}
	return doc.Servers, nil
}

// setting is how an entry names a setting of the toolset.
var setting = regexp.MustCompile(`\$\{config\.([A-Za-z_][A-Za-z0-9_-]*)\}`)

// resolve fills in where the server of a toolset with a ref is. Settings that the
// entry does not use, and those that it needs and does not get, are errors.
func (c mcpCatalogue) resolve(t *agent.Toolset, into *mcptool.Config) error {
	name := strings.TrimPrefix(t.Ref, "docker:")
	s := c[name]
	if s == nil {
		return holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: the catalogue has no MCP server %q; it has %s",
			name, strings.Join(slices.Sorted(maps.Keys(c)), ", "))
	}
	settings, err := settingsOf(t.Config)
	if err != nil {
		return fmt.Errorf("settings of the MCP server %s: %w", name, err)
	}
	used, missing := map[string]bool{}, ""
	fill := func(text string) string {
		return setting.ReplaceAllStringFunc(text, func(m string) string {
			key := setting.FindStringSubmatch(m)[1]
			value, ok := settings[key]
			if !ok {
				missing = key
			}
			used[key] = true
			return value
		})
	}
	into.Command, into.Args, into.Env = fill(s.Command), nil, map[string]string{}
	for _, arg := range s.Args {
		into.Args = append(into.Args, fill(arg))
	}
	for k, v := range s.Env {
		into.Env[k] = fill(v)
	}
	if s.Remote != nil {
		into.URL, into.Transport, into.Headers = fill(s.Remote.URL), s.Remote.TransportType, map[string]string{}
		for k, v := range s.Remote.Headers {
			into.Headers[k] = fill(v)
		}
	} else {
		maps.Copy(into.Env, t.Env)
	}
	if missing != "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "the MCP server %q of the catalogue needs the setting %q under `config`", name, missing)
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if !used[key] {
			return holdfast.Errorf(holdfast.CodeInvalid, "the MCP server %q of the catalogue has no setting %q", name, key)
		}
	}
	if s.Remote != nil && len(t.Env) > 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the MCP server %q of the catalogue is at a URL and has no environment: `env` does nothing", name)
	}
	return nil
}

// settingsOf returns settings as text: a string without its quotes, everything
// else as JSON.
func settingsOf(config agent.Object) (map[string]string, error) {
	out := map[string]string{}
	if config == nil {
		return out, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(config, &raw); err != nil {
		return nil, err
	}
	for k, v := range raw {
		var text string
		if json.Unmarshal(v, &text) != nil {
			text = string(v)
		}
		out[k] = text
	}
	return out, nil
}

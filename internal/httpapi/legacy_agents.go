package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// legacyAgents mounts the routes of agent files.
func (l legacyAPI) agentRoutes(handle func(method, path string, h legacyHandler)) {
	handle("GET", "/agents", l.listAgents)
	handle("GET", "/agents/{id}", l.getAgent)
	handle("PUT", "/agents/config", l.editConfig)
	handle("POST", "/agents", l.createFromPrompt)
	handle("POST", "/agents/config", l.createConfig)
	handle("POST", "/agents/import", l.importAgent)
	handle("POST", "/agents/export", l.exportAgents)
	handle("GET", "/agents/export/{file}", l.downloadExport)
	handle("POST", "/agents/pull", l.pull)
	handle("POST", "/agents/push", l.push)
	handle("DELETE", "/agents", l.deleteFile)
}

// legacyAgent is a row of GET /agents.
type legacyAgent struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Multi       bool   `json:"multi"`
	Problem     string `json:"problem,omitempty"`
}

func (l legacyAPI) listAgents(w http.ResponseWriter, r *http.Request) error {
	list, err := l.agents(r.Context())
	if err != nil {
		return err
	}
	out := make([]legacyAgent, len(list))
	for i, a := range list {
		out[i] = legacyAgent{Name: plainName(a.Name) + ".yaml", Description: a.Description, Multi: a.Multi, Problem: a.Problem}
	}
	writeJSON(w, http.StatusOK, "application/json", out)
	return nil
}

func (l legacyAPI) getAgent(w http.ResponseWriter, r *http.Request) error {
	f, err := l.usableAgent(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	doc, err := l.document(f)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", doc)
	return nil
}

// body reads a request's body into v.
func (l legacyAPI) body(w http.ResponseWriter, r *http.Request, v any) error {
	data, err := readBody(w, r, l.cfg.MaxBody)
	if err != nil {
		return err
	}
	return decodeJSON(data, v)
}

// fileOf takes the name of an agent file from what a client calls its path: the
// original gave out paths on its own disk, ours are names, and a folder before
// one does not count.
func fileOf(member, value string) (string, error) {
	if value == "" {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "%s: missing", member)
	}
	return path.Base(strings.ReplaceAll(value, `\`, "/")), nil
}

func need(member, value string) error {
	if strings.TrimSpace(value) == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s: missing", member)
	}
	return nil
}

// editConfig merges into an agent file. Clients of the second mount may send
// agents as they read them, as an array.
func (l legacyAPI) editConfig(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Config   map[string]any `json:"agent_config"`
		Filename string         `json:"filename"`
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	name, err := fileOf("filename", in.Filename)
	if err != nil {
		return err
	}
	if in.Config == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "agent_config: missing")
	}
	if list, ok := in.Config["agents"].([]any); ok {
		if in.Config["agents"], err = byName(list); err != nil {
			return err
		}
	}
	if in.Config, err = l.edits(r.Context(), name, in.Config); err != nil {
		return err
	}
	f, err := l.editAgent(r.Context(), name, in.Config, agent.Condition{Match: r.Header.Get("If-Match")})
	if err != nil {
		return err
	}
	doc, err := l.document(f)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", f.ETag())
	writeJSON(w, http.StatusOK, "application/json", map[string]any{"message": "agent config updated", "path": f.Name, "config": doc})
	return nil
}

// byName turns agents with a Name into an object by name.
func byName(list []any) (map[string]any, error) {
	out := make(map[string]any, len(list))
	for i, e := range list {
		object, ok := e.(map[string]any)
		name, isText := object["Name"].(string)
		if !ok || !isText || name == "" {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "agent_config.agents[%d]: want an object with a Name", i)
		}
		delete(object, "Name")
		out[name] = object
	}
	return out, nil
}

func (l legacyAPI) createFromPrompt(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Prompt string `json:"prompt"`
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	if err := need("prompt", in.Prompt); err != nil {
		return err
	}
	f, out, err := l.makeAgent(r.Context(), in.Prompt, "")
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"path": f.Name, "out": out})
	return nil
}

func (l legacyAPI) createConfig(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Filename    string `json:"filename"`
		Model       string `json:"model"`
		Description string `json:"description"`
		Instruction string `json:"instruction"`
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	for _, m := range [][2]string{{"filename", in.Filename}, {"model", in.Model}, {"description", in.Description}, {"instruction", in.Instruction}} {
		if err := need(m[0], m[1]); err != nil {
			return err
		}
	}
	name, err := fileOf("filename", in.Filename)
	if err != nil {
		return err
	}
	source, err := agent.Simple(in.Model, in.Description, in.Instruction)
	if err != nil {
		return err
	}
	ctx, cancel := changing(r.Context(), changeTimeout)
	defer cancel()
	f, err := l.createFree(ctx, plainName(name), source)
	if err != nil {
		return agentsAway(err)
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"filepath": f.Name})
	return nil
}

// maxFree is how many names createFree tries.
const maxFree = 100

// createFree stores a new file under name or, as the original does, under
// name_1, name_2, … if there is another of that name.
func (l legacyAPI) createFree(ctx context.Context, name string, source []byte) (agent.File, error) {
	try := name
	for i := 1; ; i++ {
		f, err := l.cfg.Agents.Create(ctx, tenantOf(ctx), try, source, "put")
		if holdfast.CodeOf(err) != holdfast.CodeConflict || i == maxFree {
			return f, err
		}
		try = fmt.Sprintf("%s_%d", name, i)
	}
}

// importAgent stores a file whose content the request brings or, where that is
// allowed, one of this machine. A file of that name gets a new version.
func (l legacyAPI) importAgent(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		FilePath string  `json:"file_path"`
		Content  *string `json:"content"`
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	name, err := fileOf("file_path", in.FilePath)
	if err != nil {
		return err
	}
	var source []byte
	switch {
	case in.Content != nil:
		source = []byte(*in.Content)
	case !l.cfg.HostFiles:
		return holdfast.Errorf(holdfast.CodeInvalid, "file_path: this deployment reads no files of its own machine; send the text of the file as content")
	default:
		if source, err = hostFile(in.FilePath); err != nil {
			return err
		}
	}
	f, _, err := l.putAgent(r.Context(), name, source, "import", agent.Condition{})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"originalPath": in.FilePath, "targetPath": f.Name, "description": f.Description})
	return nil
}

// hostFile reads a file of this machine.
func hostFile(name string) ([]byte, error) {
	bad := func(err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return holdfast.WrapError(holdfast.CodeNotFound, err, "file_path: there is no file "+name+" on the server")
		}
		return holdfast.WrapError(holdfast.CodeInvalid, err, "file_path: "+name+" cannot be read on the server")
	}
	// A pipe or a device would be waited for: look first.
	info, err := os.Stat(name)
	if err != nil {
		return nil, bad(err)
	}
	if !info.Mode().IsRegular() {
		return nil, bad(errors.New("not a regular file"))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, bad(err)
	}
	defer f.Close()
	source, err := io.ReadAll(io.LimitReader(f, agent.MaxSource+1))
	if err != nil {
		return nil, bad(err)
	}
	return source, nil
}

// exportName is the name of an export's archive.
func exportName(at time.Time) string { return "agents-" + at.Format("20060102T150405Z") + ".zip" }

// exportAgents answers with the zip for a client that accepts one, else with
// where it is to be had. Nothing is written on the server; the archive is made
// when it is read.
func (l legacyAPI) exportAgents(w http.ResponseWriter, r *http.Request) error {
	now := time.Now().UTC()
	file := exportName(now)
	if strings.Contains(r.Header.Get("Accept"), "application/zip") {
		return l.sendZip(w, r, file)
	}
	mount := strings.TrimSuffix(r.URL.Path, "/export")
	writeJSON(w, http.StatusOK, "application/json", map[string]string{
		"zipPath": mount + "/export/" + file, "zipFile": file, "zipDirectory": mount + "/export", "agentsDir": mount,
		"createdAt": now.Format(time.RFC3339),
	})
	return nil
}

func (l legacyAPI) downloadExport(w http.ResponseWriter, r *http.Request) error {
	file := r.PathValue("file")
	if _, err := time.Parse("agents-20060102T150405Z.zip", file); err != nil {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no export %q", file)
	}
	return l.sendZip(w, r, file)
}

// sendZip streams all agent files.
func (a *API) sendZip(w http.ResponseWriter, r *http.Request, file string) error {
	begun := false
	err := a.zipAgents(r.Context(), func() io.Writer {
		begun = true
		w.Header().Set("Content-Type", "application/zip")
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", file))
		w.WriteHeader(http.StatusOK)
		return w
	})
	if err != nil && begun {
		a.logError(r.Context(), "an export broke off", err)
		panic(http.ErrAbortHandler) // only a broken connection says that it is not whole
	}
	return err
}

// legacyLogin is what our form of the contract's bodies adds for registries that
// want to know who asks. It is used for the one request and kept nowhere.
type legacyLogin struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func (l legacyAPI) pull(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name string `json:"name"`
		legacyLogin
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	if err := need("name", in.Name); err != nil {
		return err
	}
	f, _, err := l.pullAgent(r.Context(), in.Name, "", Login(in.legacyLogin))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"name": f.Name, "description": f.Description})
	return nil
}

func (l legacyAPI) push(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Filepath string `json:"filepath"`
		Tag      string `json:"tag"`
		legacyLogin
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	name, err := fileOf("filepath", in.Filepath)
	if err == nil {
		err = need("tag", in.Tag)
	}
	if err != nil {
		return err
	}
	_, digest, err := l.pushAgent(r.Context(), name, in.Tag, Login(in.legacyLogin))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"filepath": in.Filepath, "tag": in.Tag, "digest": digest})
	return nil
}

func (l legacyAPI) deleteFile(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		FilePath string `json:"file_path"`
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	name, err := fileOf("file_path", in.FilePath)
	if err != nil {
		return err
	}
	if err := l.deleteAgent(r.Context(), name, agent.Condition{Match: r.Header.Get("If-Match")}); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"filePath": in.FilePath})
	return nil
}

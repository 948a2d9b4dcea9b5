package httpapi_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	stdlog "log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
	"github.com/holdfast-run/holdfast/internal/ociregistry"
)

// registryOf is the client of registries as the API wants it.
type registryOf struct{ *ociregistry.Client }

func (r registryOf) Pull(ctx context.Context, reference string, login httpapi.Login) ([]byte, string, error) {
	p, err := r.Client.Pull(ctx, reference, ociregistry.Credential(login))
	return p.Source, p.Reference, err
}

func (r registryOf) Push(ctx context.Context, reference, name string, source []byte, login httpapi.Login) (string, error) {
	return r.Client.Push(ctx, reference, name, source, ociregistry.Credential(login))
}

// answers is a model that says the same to each request, one answer after the
// other, and the last one again.
func answers(list ...string) func(ctx context.Context, tenantID, prompt string) (agent.Composed, error) {
	return func(ctx context.Context, _, prompt string) (agent.Composed, error) {
		n := 0
		ask := func(context.Context, []holdfast.Message) (string, error) {
			text := list[min(n, len(list)-1)]
			n++
			return text, nil
		}
		return agent.Compose(ctx, ask, prompt, []string{"scripted/demo"}, agent.Options{})
	}
}

// bigBody is more than the API of these tests takes.
const (
	contractMaxBody = 96 << 10
	bigBody         = "\x00big"
)

// contractWorld is an API that offers everything, and a registry.
func contractWorld(t *testing.T) (w *world, v vaulted, reg string) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	srv := httptest.NewServer(registry.New(registry.Logger(stdlog.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	w = newWorld(t, func(c *httpapi.Config) {
		v = newVault(t, c.Store.(storeFaults).f.Store.(vault.Store))
		c.MaxBody, c.HostFiles, c.Authorizations = contractMaxBody, true, v
		c.Registry = registryOf{ociregistry.New(ociregistry.Options{})}
		c.MakeAgent = answers("Here:\n```yaml\nagents: {}\n```", "```yaml\n# name: Trip-Planner\nversion: \"2\"\nagents:\n  root:\n    model: scripted/demo\n    description: Plans trips.\n```\n")
	})
	return w, v, strings.TrimPrefix(srv.URL, "http://")
}

// Every route of the contract, on both mounts: what succeeds, what is malformed,
// what is not there, what contradicts, what is too large.
func TestContract(t *testing.T) {
	host := filepath.Join(t.TempDir(), "host.yaml")
	if err := os.WriteFile(host, []byte("# mine\nagents:\n  root:\n    model: scripted/demo\n    description: From the host.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const hello = `[{"role":"user","content":"hello"}]`
	for _, mount := range []string{"/api", "/v2/api"} {
		t.Run(strings.ReplaceAll(strings.Trim(mount, "/"), "/", "-"), func(t *testing.T) {
			w, v, reg := contractWorld(t)
			w.mustCall("POST", "/v1/sessions", `{"id":"fresh","agent":"demo"}`, nil)
			for id, word := range map[string]string{"oauth": "oauth", "answered": "oauth", "waits": "tool", "asks": "ask"} {
				w.mustCall("POST", "/v1/sessions", `{"id":"`+id+`"}`, nil)
				w.mustCall("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"`+word+`"}]}`, nil)
				w.until(id, func() bool {
					return slices.ContainsFunc(w.stored(id), func(e events.Envelope) bool {
						return e.Type == holdfast.TypeAuthorizationRequired || e.Type == holdfast.TypeToolCallConfirmation || e.Type == holdfast.TypeElicitationRequest
					})
				})
			}
			answer := func(session, code string) string {
				st, err := v.ring.Encode(state.Data{Tenant: "default", SessionID: session, Connection: "c", Flow: "f1", Random: strings.Repeat("r", 32), Binding: state.BindCookie, Expires: time.Now().Add(time.Hour)})
				if err != nil {
					t.Fatal(err)
				}
				return `{"code":"` + code + `","state":"` + st + `"}`
			}
			taken := answer("answered", "c")
			done := map[string]bool{}
			for _, c := range []struct {
				method, path, body string
				status             int
				has                string // members of the answer, or of the first element of a list; else its code
			}{
				{"GET", "/ping", "", 200, "status"},
				{"GET", "/desktop/token", "", 200, "token"},
				{"GET", "/ready", "", 200, "status"},

				{"GET", "/agents", "", 200, "name description multi"},
				{"GET", "/agents/team", "", 200, "agents"},
				{"GET", "/agents/team.yaml", "", 200, "agents"},
				{"GET", "/agents/pirate.yaml", "", 200, "agents"}, // what older clients ask for
				{"GET", "/agents/nobody", "", 404, "not_found"},
				{"GET", "/agents/broken", "", 400, "invalid"},
				{"GET", "/agents/a%2Fb", "", 400, "invalid"},

				{"POST", "/agents/config", `{"filename":"new","model":"scripted/demo","description":"d","instruction":"i"}`, 200, "filepath"},
				{"POST", "/agents/config", `{"filename":"new.yaml","model":"scripted/demo","description":"d","instruction":"i"}`, 200, "filepath"}, // once more
				{"GET", "/agents/new_1", "", 404, "not_found"}, // the very same file is no second one
				{"POST", "/agents/config", `{"filename":"new.yaml","model":"scripted/demo","description":"other","instruction":"i"}`, 200, "filepath"},
				{"GET", "/agents/new_1", "", 200, "agents"},
				{"POST", "/agents/config", `{"filename":"demo","model":"scripted/demo","description":"d","instruction":"i"}`, 200, "filepath"},
				{"GET", "/agents/demo_1.yaml", "", 200, "agents"},
				{"POST", "/agents/config", `{"filename":"n2","model":"scripted/demo","description":"d"}`, 400, "invalid"},
				{"POST", "/agents/config", `{"filename":"n2","model":"nothing","description":"d","instruction":"i"}`, 400, "invalid"},
				{"POST", "/agents/config", `{"filename":"a b","model":"scripted/demo","description":"d","instruction":"i"}`, 400, "invalid"},
				{"POST", "/agents/config", `{`, 400, "invalid"},
				{"POST", "/agents/config", bigBody, 413, "too_large"},
				{"GET", "/agents/new", "", 200, "agents"},

				{"PUT", "/agents/config", `{"filename":"new","agent_config":{"agents":{"root":{"description":"edited"}}}}`, 200, "message path config"},
				{"PUT", "/agents/config", `{"filename":"/agents/new.yaml","agent_config":{"agents":[{"Name":"root","description":"again"}]}}`, 200, "message path config"},
				{"PUT", "/agents/config", `{"filename":"demo","agent_config":{"metadata":{"author":"me"}}}`, 200, "message path config"},
				{"PUT", "/agents/config", `{"filename":"new"}`, 400, "invalid"},
				{"PUT", "/agents/config", `{"agent_config":{}}`, 400, "invalid"},
				{"PUT", "/agents/config", `{"filename":"new","agent_config":{"agents":{"root":{"modle":"x"}}}}`, 400, "invalid"},
				{"PUT", "/agents/config", `{"filename":"nobody","agent_config":{}}`, 404, "not_found"},
				{"PUT", "/agents/config", bigBody, 413, "too_large"},

				{"POST", "/agents", `{"prompt":"plan my trips"}`, 200, "path out"},
				{"GET", "/agents/trip-planner.yaml", "", 200, "agents"},
				{"POST", "/agents", `{"prompt":"plan my trips"}`, 200, "path out"},
				{"GET", "/agents/trip-planner-2.yaml", "", 404, "not_found"}, // the very same file is no second one
				{"POST", "/agents", `{"prompt":" "}`, 400, "invalid"},
				{"POST", "/agents", `[]`, 400, "invalid"},
				{"POST", "/agents", bigBody, 413, "too_large"},

				{"POST", "/agents/import", `{"file_path":"` + host + `"}`, 200, "originalPath targetPath description"},
				{"POST", "/agents/import", `{"file_path":"C:\\x\\sent.yaml","content":"agents: {root: {model: scripted/demo}}"}`, 200, "originalPath targetPath description"},
				{"GET", "/agents/sent", "", 200, "agents"},
				{"POST", "/agents/import", `{"file_path":"` + filepath.Dir(host) + `/nobody.yaml"}`, 404, "not_found"},
				{"POST", "/agents/import", `{"file_path":"` + filepath.Dir(host) + `"}`, 400, "invalid"},
				{"POST", "/agents/import", `{"file_path":"x.yaml","content":"agents: 5"}`, 400, "invalid"},
				{"POST", "/agents/import", `{}`, 400, "invalid"},
				{"POST", "/agents/import", bigBody, 413, "too_large"},

				{"POST", "/agents/export", "", 200, "zipPath zipFile zipDirectory agentsDir createdAt"},
				{"GET", "/agents/export/other.zip", "", 404, "not_found"},

				{"POST", "/agents/push", `{"filepath":"new.yaml","tag":"` + reg + `/acme/new:1"}`, 200, "filepath tag digest"},
				{"POST", "/agents/push", `{"filepath":"nobody.yaml","tag":"` + reg + `/acme/new:1"}`, 404, "not_found"},
				{"POST", "/agents/push", `{"filepath":"new.yaml","tag":"NOT A TAG"}`, 400, "invalid"},
				{"POST", "/agents/push", `{"filepath":"new.yaml"}`, 400, "invalid"},
				{"POST", "/agents/push", `{"filepath":"new.yaml","tag":"127.0.0.1:1/a/b:c"}`, 502, "upstream"},
				{"POST", "/agents/push", bigBody, 413, "too_large"},
				{"POST", "/agents/pull", `{"name":"` + reg + `/acme/new:1"}`, 200, "name description"},
				{"POST", "/agents/pull", `{"name":"` + reg + `/acme/nobody"}`, 502, "upstream"},
				{"POST", "/agents/pull", `{"name":"::"}`, 400, "invalid"},
				{"POST", "/agents/pull", `{}`, 400, "invalid"},
				{"POST", "/agents/pull", bigBody, 413, "too_large"},

				{"DELETE", "/agents", `{"file_path":"new.yaml"}`, 200, "filePath"},
				{"DELETE", "/agents", `{"file_path":"new.yaml"}`, 404, "not_found"},
				{"DELETE", "/agents", `{"file_path":"team.yaml"}`, 403, "forbidden"},
				{"DELETE", "/agents", `{}`, 400, "invalid"},
				{"DELETE", "/agents", bigBody, 413, "too_large"},
				{"DELETE", "/agents", `{"file_path":"demo.yaml"}`, 200, "filePath"}, // the tenant's own; the deployment's shows again
				{"GET", "/agents/demo", "", 200, "agents"},

				{"GET", "/sessions", "", 200, ""},
				{"POST", "/sessions", `null`, 200, "id title messages created_at tools_approved SendUserMessage input_tokens output_tokens cost"},
				{"POST", "/sessions", `{"tools_approved":true,"what":"ever"}`, 200, "id"},
				{"POST", "/sessions", `[1]`, 400, "invalid"},
				{"POST", "/sessions", bigBody, 413, "too_large"},
				{"POST", "/sessions/s1/agent/demo", hello, 200, "data: {"},
				{"POST", "/sessions/s1/agent/demo/root", `{"messages":` + hello + `}`, 200, "data: {"},
				{"POST", "/sessions/s1/agent/nobody", hello, 404, "not_found"},
				{"POST", "/sessions/s1/agent/demo/nobody", hello, 404, "not_found"},
				{"POST", "/sessions/s1/agent/broken", hello, 400, "invalid"},
				{"POST", "/sessions/s1/agent/demo", `{}`, 400, "invalid"},
				{"POST", "/sessions/s1/agent/demo", bigBody, 413, "too_large"},
				{"POST", "/sessions/not%20an%20id/agent/demo", hello, 400, "invalid"},
				{"GET", "/sessions/s1", "", 200, "id title messages created_at tools_approved input_tokens output_tokens"},
				{"GET", "/sessions/nobody", "", 404, "not_found"},
				{"GET", "/sessions", "", 200, "id title created_at num_messages input_tokens output_tokens most_recent_agent_filename"},
				{"POST", "/sessions/s1/resume", `{"confirmation":"approve"}`, 409, "conflict"},
				{"POST", "/sessions/s1/resume", `{"confirmation":"yes"}`, 400, "invalid"},
				{"POST", "/sessions/nobody/resume", `{"confirmation":"approve"}`, 404, "not_found"},
				{"POST", "/sessions/s1/resume", bigBody, 413, "too_large"},

				// What clients of 2026 brought.
				{"POST", "/sessions/s1/agent/demo", `{"messages":` + hello + `,"model":"openai/gpt-5"}`, 501, "not_offered"},
				{"GET", "/sessions/s1/status", "", 200, "id title streaming agent input_tokens output_tokens num_messages"},
				{"GET", "/sessions/no.id/status", "", 400, "invalid"},
				{"GET", "/sessions/nobody/status", "", 404, "not_found"},
				{"GET", "/sessions/s1/snapshot", "", 200, "id title streaming created_at messages tools_approved last_event_seq"},
				{"GET", "/sessions/no.id/snapshot", "", 400, "invalid"},
				{"GET", "/sessions/nobody/snapshot", "", 404, "not_found"},
				{"GET", "/sessions/s1/events", "", 200, `data: {"type":"user_message"`},
				{"GET", "/sessions/s1/events?since=1", "", 200, `data: {"type":"user_message"`},
				{"GET", "/sessions/s1/events?since=-1", "", 400, "invalid"},
				{"GET", "/sessions/no.id/events", "", 400, "invalid"},
				{"GET", "/sessions/nobody/events", "", 404, "not_found"},
				{"GET", "/sessions/s1/events?since=99999", "", 410, "gone"},
				{"POST", "/sessions/asks/elicitation", `{"action":"accept","content":{"name":7}}`, 422, "invalid_input"},
				{"POST", "/sessions/asks/elicitation", `{"action":"accept","content":{"name":"x"},"elicitation_id":"q9"}`, 404, "not_found"},
				{"POST", "/sessions/asks/elicitation", `{"action":"accept","content":{"name":"x"}}`, 200, "message"},
				{"POST", "/sessions/asks/elicitation", `{"action":"decline"}`, 409, "conflict"},
				{"POST", "/sessions/asks/elicitation", `{"action":"perhaps"}`, 400, "invalid"},
				{"POST", "/sessions/nobody/elicitation", `{"action":"decline"}`, 404, "not_found"},
				{"POST", "/sessions/asks/elicitation", bigBody, 413, "too_large"},
				{"POST", "/sessions/s1/steer", `{"messages":[{"role":"","content":"hello"}]}`, 202, "status"},
				{"POST", "/sessions/s1/steer", `{"messages":[]}`, 400, "invalid"},
				{"POST", "/sessions/nobody/steer", `{"messages":[{"content":"hello"}]}`, 404, "not_found"},
				{"POST", "/sessions/s1/steer", bigBody, 413, "too_large"},
				{"POST", "/sessions/s1/followup", `{"messages":[{"role":"user","content":"hello"}]}`, 202, "status"},
				{"POST", "/sessions/s1/followup", `{}`, 400, "invalid"},
				{"POST", "/sessions/nobody/followup", `{"messages":[{"content":"hello"}]}`, 404, "not_found"},
				{"POST", "/sessions/s1/followup", bigBody, 413, "too_large"},
				{"POST", "/sessions/s1/compact", "", 200, "message"},
				{"POST", "/sessions/fresh/compact", "", 409, "conflict"},
				{"POST", "/sessions/no.id/compact", "", 400, "invalid"},
				{"POST", "/sessions/nobody/compact", "", 404, "not_found"},
				{"POST", "/sessions/batch/delete", `{"session_ids":["fresh","nobody","no.id"]}`, 200, "deleted_count failed_count failed_ids"},
				{"GET", "/sessions/fresh", "", 404, "not_found"},
				{"POST", "/sessions/batch/delete", `{"session_ids":"fresh"}`, 400, "invalid"},
				{"POST", "/sessions/batch/delete", bigBody, 413, "too_large"},

				{"DELETE", "/sessions/s1", "", 200, "message"},
				{"DELETE", "/sessions/s1", "", 404, "not_found"},
				{"POST", "/sessions/s1/agent/demo", hello, 410, "gone"},
				{"GET", "/nothing", "", 404, "not_found"},

				{"POST", "/waits/resumeStartOauth", `{"confirmation":true}`, 409, "conflict"},
				{"POST", "/sessions/waits/resume", `{"confirmation":"approve"}`, 200, "message"},
				{"POST", "/oauth/resumeStartOauth", `{"confirmation":true}`, 200, "message"},
				{"POST", "/oauth/resumeStartOauth", `{}`, 400, "invalid"},
				{"POST", "/nobody/resumeStartOauth", `{"confirmation":true}`, 404, "not_found"},
				{"POST", "/oauth/resumeStartOauth", bigBody, 413, "too_large"},
				{"POST", "/resumeCodeReceivedOauth", taken, 200, "message"},
				{"POST", "/resumeCodeReceivedOauth", answer("answered", "other"), 409, "conflict"},
				{"POST", "/resumeCodeReceivedOauth", `{"code":"c"}`, 400, "invalid"},
				{"POST", "/resumeCodeReceivedOauth", `{"code":"c","state":"made up"}`, 404, "not_found"},
				{"POST", "/resumeCodeReceivedOauth", answer("nobody", "c"), 404, "not_found"},
				{"POST", "/resumeCodeReceivedOauth", bigBody, 413, "too_large"},
				{"GET", "/agents/export/agents-20261122T100000Z.zip", "", 200, ""},
				{"GET", "/sessions?limit=0", "", 400, "invalid"},
				{"GET", "/sessions/no.id", "", 400, "invalid"},
				{"DELETE", "/sessions/no.id", "", 400, "invalid"},
				{"POST", "/sessions/s2/agent/demo/root", `{}`, 400, "invalid"},
				{"POST", "/sessions/s2/agent/nobody/root", hello, 404, "not_found"},
				{"POST", "/sessions/s2/agent/demo/root", bigBody, 413, "too_large"},
			} {
				if c.body == bigBody {
					c.body = `"` + strings.Repeat("x", contractMaxBody) + `"`
				}
				done[fmt.Sprintf("%s %s %d", c.method, mount+c.path, c.status)] = true
				read := w.call
				if strings.Contains(c.path, "/events") && c.status == 200 {
					read = w.begin // it ends with its session
				}
				st, body := read(c.method, mount+c.path, c.body)
				name := fmt.Sprintf("%s %s %.80s", c.method, mount+c.path, c.body)
				if st != c.status {
					t.Errorf("%s: %d %.300s; want %d", name, st, body, c.status)
					continue
				}
				switch {
				case st >= 300:
					var e struct{ Error, Message, Code string }
					if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == "" || e.Message != e.Error || e.Code != c.has {
						t.Errorf("%s: %s; want error, message and code %s (%v)", name, body, c.has, err)
					}
				case strings.HasPrefix(body, "PK"): // an archive
				case strings.HasPrefix(c.has, "data"):
					if !strings.Contains(body, c.has) {
						t.Errorf("%s: no event in %.200s", name, body)
					}
				default:
					hasMembers(t, name, body, strings.Fields(c.has))
				}
			}
			w.completeContract(mount, done)
		})
	}
}

var wildcards = regexp.MustCompile(`\{\w+\}`)

// contractClasses are the kinds of answers of which each route of the contract must
// be seen to give one.
var contractClasses = []int{200, 400, 404, 409, 413}

// contractCannot says why a route of the contract has no such answer: the key is
// the route, or the status for all routes that a pattern fits.
var contractCannot = []struct {
	routes string // a pattern
	status int
	why    string
}{
	{`^GET /(ping|ready|desktop/token|agents)$`, 400, "reads nothing of the request"},
	{`^POST /agents/export$`, 400, "reads nothing of the request"},
	{`^GET /agents/export/`, 400, "a name that none has is not found"},
	{`^GET /(ping|ready|desktop/token|agents|sessions)$`, 404, "names nothing"},
	{`^POST /(agents|agents/config|agents/export|sessions)$`, 404, "names nothing"},
	{`^POST /agents/pull$`, 404, "what a registry does not have is an error of the registry: 502"},
	{`^GET `, 409, "changes nothing"},
	{`^POST /agents/(export|push|pull|import)$`, 409, "an import makes a new version; the others change nothing of their own"},
	{`^(POST|DELETE) /agents$`, 409, "a name that is taken gets a number; a deletion has no condition here but If-Match"},
	{`^POST /agents/config$`, 409, "a file of that name gets a new version"},
	{`^PUT /agents/config$`, 409, "an edit makes a new version; conditions are 412"},
	{`^POST /sessions$`, 409, "the id is made here"},
	{`^DELETE /sessions/`, 409, "an active run is stopped"},
	{`^POST /sessions/\{id\}/(agent/|steer$|followup$)`, 409, "a run waits for its turn"},
	{`^POST /sessions/batch/delete$`, 404, "what is not there is named in the answer"},
	{`^POST /sessions/batch/delete$`, 409, "an active run is stopped"},
	{`^GET `, 413, "has no body"},
	{`^POST /agents/export$`, 413, "the body is not read"},
	{`^DELETE /sessions/`, 413, "the body is not read"},
	{`^POST /sessions/\{id\}/compact$`, 413, "the body is not read"},
}

// completeContract checks that every route of a mount has its rows.
func (w *world) completeContract(mount string, done map[string]bool) {
	w.t.Helper()
	inPath := regexp.MustCompile(`\\\{\w+\\\}`)
	for _, route := range w.api.Routes() {
		m, plain := mountOf(route)
		if m != mount {
			continue
		}
		if httpapi.RefusedByName()[plain] {
			method, path, _ := strings.Cut(route, " ")
			if st, body := w.call(method, wildcards.ReplaceAllString(path, "s2"), ""); st != 501 || !strings.Contains(body, `"code":"not_offered"`) {
				w.t.Errorf("%s: %d %s; want 501", route, st, body)
			}
			continue
		}
		for _, st := range contractClasses {
			want := regexp.MustCompile("^" + inPath.ReplaceAllString(regexp.QuoteMeta(route), `[^/? ]+`) + fmt.Sprintf(`(\?\S*)? %s$`, strings.Replace(fmt.Sprint(st), "200", "20[02]", 1)))
			seen, excused := false, false
			for d := range done {
				seen = seen || want.MatchString(d)
			}
			for _, c := range contractCannot {
				excused = excused || c.status == st && regexp.MustCompile(c.routes).MatchString(plain)
			}
			switch {
			case seen && excused:
				w.t.Errorf("%s: it is said that %d cannot be, and there is a row", route, st)
			case !seen && !excused:
				w.t.Errorf("%s: no row with status %d", route, st)
			}
		}
	}
}

// begin reads a stream up to its first event, and leaves it.
func (w *world) begin(method, path, body string, header ...string) (status int, first string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	resp := w.open(ctx, method, path, body, header...)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if first = lines.Text(); strings.HasPrefix(first, "data: ") {
			return resp.StatusCode, first
		}
	}
	w.t.Errorf("%s %s: no event, %v; the last line is %q", method, path, lines.Err(), first)
	return resp.StatusCode, ""
}

// hasMembers checks that an object, or the first of a list, has members.
func hasMembers(t *testing.T, name, body string, members []string) {
	t.Helper()
	object := map[string]json.RawMessage{}
	err := json.Unmarshal([]byte(body), &object)
	if strings.HasPrefix(body, "[") {
		var list []map[string]json.RawMessage
		if err = json.Unmarshal([]byte(body), &list); len(list) > 0 {
			object = list[0]
		}
	}
	if err != nil {
		t.Errorf("%s: %v in %s", name, err, body)
	}
	for _, m := range members {
		if object[m] == nil || string(object[m]) == "null" {
			t.Errorf("%s: no member %s in %s", name, m, body)
		}
	}
}

func TestExport(t *testing.T) {
	w, _, _ := contractWorld(t)
	w.mustCall("PUT", "/v1/agents/mine", "agents: {root: {model: scripted/demo}} # mine\n", nil)
	var where struct{ ZipPath string }
	w.mustCall("POST", "/api/agents/export", "", &where)
	for _, get := range []func() (int, string){
		func() (int, string) { return w.call("GET", where.ZipPath, "") },
		func() (int, string) { return w.call("POST", "/v2/api/agents/export", "", "Accept", "application/zip") },
		func() (int, string) { return w.call("GET", "/v1/agents.zip", "") },
	} {
		st, body := get()
		z, err := zip.NewReader(bytes.NewReader([]byte(body)), int64(len(body)))
		if st != 200 || err != nil {
			t.Fatalf("%d %v %.100s", st, err, body)
		}
		var names []string
		for _, f := range z.File {
			names = append(names, f.Name)
		}
		if got := fmt.Sprint(names); got != "[broken.yaml demo.yaml mine.yaml team.yaml]" {
			t.Errorf("files %s", got)
		}
		f, err := z.Open("mine.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(f); err != nil || string(text) != "agents: {root: {model: scripted/demo}} # mine\n" {
			t.Errorf("mine.yaml: %q, %v", text, err)
		}
	}
}

// A deployment reads no files of its own machine unless it may.
func TestHostFiles(t *testing.T) {
	w := newWorld(t)
	st, body := w.call("POST", "/api/agents/import", `{"file_path":"/etc/passwd"}`)
	if st != 400 || !strings.Contains(body, "reads no files of its own machine") {
		t.Errorf("%d %s", st, body)
	}
	w.mustCall("POST", "/api/agents/import", `{"file_path":"/x/sent.yaml","content":"agents: {root: {model: scripted/demo}}"}`, nil)
}

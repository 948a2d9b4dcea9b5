package httpapi

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/a2awire"
)

// A2A 1.0 over HTTP+JSON (section 11). Answers are what the operations of
// a2a_v1.go say, errors google.rpc.Status.

// a2aRESTPath are the paths of the binding.
var a2aRESTPath = regexp.MustCompile(`^/v1/agents/[^/]+/a2a/(message:|tasks(/|$)|extendedAgentCard$)`)

const a2aBase = "/v1/agents/{name}/a2a"

// a2aCall is one request over HTTP+JSON that was checked.
type a2aCall struct {
	*a2aHandler
	w http.ResponseWriter
	r *http.Request
}

// a2aRESTRoutes mounts the binding and describes it.
func (a *API) a2aRESTRoutes(mux *router, api huma.API) {
	str := &huma.Schema{Type: "string"}
	integer := &huma.Schema{Type: "integer"}
	object := func(doc string) *huma.Schema {
		return &huma.Schema{Type: "object", AdditionalProperties: true, Description: doc}
	}
	schemas := api.OpenAPI().Components.Schemas.Map()
	schemas["A2AError"] = &huma.Schema{
		Type: "object", AdditionalProperties: true, Required: []string{"error"}, Description: "google.rpc.Status. details[0].reason is the protocol's name of the error, details[0].metadata.code the code of this API.",
		Properties: map[string]*huma.Schema{"error": {
			Type: "object", AdditionalProperties: true, Required: []string{"code", "status", "message", "details"},
			Properties: map[string]*huma.Schema{"code": integer, "status": str, "message": str, "details": {Type: "array", Items: object("google.rpc.ErrorInfo.")}},
		}},
	}
	failure := map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/A2AError"}}}
	query := func(name string, s *huma.Schema, doc string) *huma.Param {
		return &huma.Param{Name: name, In: "query", Schema: s, Description: doc}
	}
	version := &huma.Param{Name: a2awire.VersionHeader, In: "header", Schema: str, Description: "1.0. Without it a request is of 0.3, which has not this binding here, and refused with VersionNotSupportedError; as a parameter of the query it does, too."}
	// handle mounts a route that answers with out and, if streams, with events.
	handle := func(method, path, id, summary, doc string, in, out *huma.Schema, streams bool, serve func(c *a2aCall) error, params ...*huma.Param) {
		allowed := []string{a2awire.VersionHeader}
		for _, p := range params {
			if p.In == "query" {
				allowed = append(allowed, p.Name)
			}
		}
		mux.HandleFunc(method+" "+a2aBase+path, func(w http.ResponseWriter, r *http.Request) { a.serveA2AREST(w, r, allowed, serve) })
		op := a.operation("a2a-"+id, method, a2aBase+path, "a2a", summary, doc, http.StatusNotFound)
		op.Parameters = append([]*huma.Param{{Name: "name", In: "path", Required: true, Description: "Name of the agent.", Schema: str}, version}, params...)
		if in != nil {
			op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: in}, a2awire.MediaType: {Schema: in}}}
		}
		content := map[string]*huma.MediaType{a2awire.MediaType: {Schema: out}}
		if streams {
			content[typeSSE] = &huma.MediaType{Schema: str}
		}
		op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: content}}
		for _, st := range op.Errors {
			op.Responses[strconv.Itoa(st)] = &huma.Response{Description: http.StatusText(st), Content: failure}
		}
		api.OpenAPI().AddOperation(&op)
	}
	task := &huma.Param{Name: "task", In: "path", Required: true, Schema: str, Description: "Id of the task; for what is done with it, followed by :cancel or :subscribe."}
	history := query("historyLength", integer, "The most messages of the history that are wanted. Default: all.")
	message, aTask := object("SendMessageRequest of A2A 1.0."), object("Task of A2A 1.0.")

	handle(http.MethodPost, "/message:send", "send", "Send a message (A2A)",
		"Begins a task, or goes on with the one that the message names, and waits until it is over or needs somebody, unless returnImmediately is set. The id of the message makes it safe to repeat.",
		message, object("SendMessageResponse of A2A 1.0: a task."), false, (*a2aCall).send)
	handle(http.MethodPost, "/message:stream", "stream", "Send a message and stream the task (A2A)",
		"As message:send, answered with the task and what comes of it, as server-sent events.", message, object("StreamResponse of A2A 1.0."), true, (*a2aCall).stream)
	handle(http.MethodGet, "/tasks", "list-tasks", "List tasks (A2A)",
		"The agent's tasks, newest change first. With contextId those of one context; without it, those of the 200 newest contexts in which this agent was the last to work.",
		nil, object("ListTasksResponse of A2A 1.0."), false, (*a2aCall).list,
		query("contextId", str, "Only tasks of this context."), query("status", str, "Only tasks in this state, such as TASK_STATE_WORKING."),
		query("pageSize", integer, "1 to 100, by default 50."), query("pageToken", str, "nextPageToken of the page before."), history,
		query("statusTimestampAfter", str, "Only tasks that came to their state at this time or later."), query("includeArtifacts", &huma.Schema{Type: "boolean"}, "With the artifacts."))
	handle(http.MethodGet, "/tasks/{task}", "get-task", "Get a task (A2A)", "The task as it is now; with :subscribe behind the id, that and what comes, as server-sent events.",
		nil, aTask, true, (*a2aCall).get, task, history)
	handle(http.MethodPost, "/tasks/{task}", "change-task", "Cancel a task, or follow it (A2A)", "With :cancel behind the id: cancels the task. With :subscribe: the task as it is now and what comes, as server-sent events.",
		nil, aTask, true, (*a2aCall).change, task)

	// What the card does not offer is refused by the protocol's own error, and is not
	// described.
	const configs = "/tasks/{task}/pushNotificationConfigs"
	for route, err := range map[string]error{
		"POST " + a2aBase + configs: errPushOf1, "GET " + a2aBase + configs: errPushOf1,
		"GET " + a2aBase + configs + "/{config}": errPushOf1, "DELETE " + a2aBase + configs + "/{config}": errPushOf1,
		"GET " + a2aBase + "/extendedAgentCard": errExtendedCard,
	} {
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
			a.serveA2AREST(w, r, []string{a2awire.VersionHeader}, func(*a2aCall) error { return err })
		})
	}
}

// serveA2AREST checks what all requests have in common and serves one.
func (a *API) serveA2AREST(w http.ResponseWriter, r *http.Request, allowed []string, serve func(*a2aCall) error) {
	f, err := a.usableAgent(r.Context(), r.PathValue("name"))
	if err == nil {
		err = checkQuery(r.URL.Query(), allowed)
	}
	if err != nil {
		a.logError(r.Context(), "request failed", err)
		writeA2AStatus(w, err)
		return
	}
	c := &a2aCall{a.a2aAgent(f), w, r}
	if v := a2aVersion(r); v != a2awire.Version {
		err = errA2AVersion(v, "at this address 1.0 is: send "+a2awire.VersionHeader+": 1.0")
	} else {
		err = serve(c)
	}
	if err != nil {
		writeA2AStatus(w, c.a2aError(r.Context(), err))
	}
}

// checkQuery refuses parameters that a route does not have, and those that it is
// given twice.
func checkQuery(q url.Values, allowed []string) error {
	for name, values := range q {
		if !slices.Contains(allowed, name) {
			return holdfast.Errorf(holdfast.CodeInvalid, "query %s: unknown; this route takes %s", name, strings.Join(allowed, ", "))
		}
		if len(values) > 1 {
			return holdfast.Errorf(holdfast.CodeInvalid, "query %s: is there twice", name)
		}
	}
	return nil
}

// rpcStatus are the names of google.rpc.Code for statuses of HTTP.
var rpcStatus = map[int]string{
	http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED", http.StatusNotFound: "NOT_FOUND",
	http.StatusRequestEntityTooLarge: "RESOURCE_EXHAUSTED", http.StatusTooManyRequests: "RESOURCE_EXHAUSTED",
	http.StatusNotImplemented: "UNIMPLEMENTED", http.StatusServiceUnavailable: "UNAVAILABLE", http.StatusGatewayTimeout: "DEADLINE_EXCEEDED",
	http.StatusInternalServerError: "INTERNAL",
}

// statusA2A is an error in the form of the binding. Errors that have no name in the
// protocol keep the status of their code where that says more.
func statusA2A(err error) (int, a2awire.Status) {
	k, message, metadata := explainA2A(err)
	if k.Code <= -32600 || k.Code == -32000 { // one of JSON-RPC's, or of nobody's
		own := statusOfError(err)
		if name := rpcStatus[own]; name != "" {
			k.HTTP, k.Status, k.Reason = own, name, strings.ToUpper(metadata["code"])
		} else if own == http.StatusUnsupportedMediaType {
			k.HTTP = own
		}
	}
	return k.HTTP, a2aStatusOf(k.HTTP, message, k, holdfast.Code(metadata["code"]))
}

// a2aStatusOf makes the body of an error.
func a2aStatusOf(st int, message string, k a2awire.Kind, code holdfast.Code) a2awire.Status {
	return a2awire.Status{Error: a2awire.StatusError{
		Code: st, Status: k.Status, Message: message, Details: []a2awire.ErrorInfo{a2awire.NewErrorInfo(k, map[string]string{"code": string(code)})},
	}}
}

// writeA2AStatus answers an error in the manner of the binding.
func writeA2AStatus(w http.ResponseWriter, err error) {
	st, body := statusA2A(err)
	h := w.Header()
	switch st {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(max(retryAfter, quotaOf(err).retryAfter())))
	}
	writeJSON(w, st, "application/json", body)
}

// answer writes what an operation says.
func (c *a2aCall) answer(result any, err error) error {
	if err == nil {
		writeJSON(c.w, http.StatusOK, a2awire.MediaType, result)
	}
	return err
}

// body reads the body of a request.
func (c *a2aCall) body() ([]byte, error) {
	if err := wantJSON(c.r); err != nil {
		return nil, err
	}
	body, err := readBody(c.w, c.r, c.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	var any any
	if err := decodeJSON(body, &any); err != nil {
		return nil, newA2AFailure(a2a.ErrParseError, err)
	}
	_, err = unlimited(c.w) // a run takes its time; the client's patience is its own
	return body, err
}

func (c *a2aCall) send() error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return c.answer(withParams(rpcRequest{params: body}, func(p a2awire.SendMessageRequest) (any, error) { return c.doSend(c.r.Context(), p) }))
}

func (c *a2aCall) stream() error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return c.follow(withParams(rpcRequest{params: body}, func(p a2awire.SendMessageRequest) (*a2aStream, error) { return c.sendStream(c.r.Context(), p) }))
}

// subscribe follows a task.
func (c *a2aCall) subscribe(id string) error {
	return c.follow(c.subscribeTo(c.r.Context(), a2awire.TaskRequest{ID: id}))
}

// follow answers with a stream.
func (c *a2aCall) follow(s *a2aStream, err error) error {
	if err != nil {
		return err
	}
	c.serveStream(c.w, c.r, s, func(ev a2awire.StreamResponse, err error) any {
		if err == nil {
			return ev
		}
		_, status := statusA2A(err)
		return status
	})
	return nil
}

func (c *a2aCall) get() error {
	id := c.r.PathValue("task")
	if task, ok := strings.CutSuffix(id, ":subscribe"); ok {
		return c.subscribe(task)
	}
	length, err := intParam(c.r.URL.Query(), "historyLength")
	if err != nil {
		return err
	}
	return c.answer(c.doGet(c.r.Context(), a2awire.TaskRequest{ID: id, HistoryLength: length}))
}

func (c *a2aCall) change() error {
	id, verb, _ := strings.Cut(c.r.PathValue("task"), ":")
	switch verb {
	case "cancel":
		return c.answer(c.doCancel(c.r.Context(), a2awire.TaskRequest{ID: id}))
	case "subscribe":
		return c.subscribe(id)
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "want the id of a task with :cancel or :subscribe behind it")
}

func (c *a2aCall) list() error {
	v := c.r.URL.Query()
	size, err := intParam(v, "pageSize")
	if err != nil {
		return err
	}
	history, err := intParam(v, "historyLength")
	if err != nil {
		return err
	}
	q := a2awire.ListTasksRequest{
		ContextID: v.Get("contextId"), Status: v.Get("status"), PageSize: size, PageToken: v.Get("pageToken"),
		HistoryLength: history, StatusTimestampAfter: v.Get("statusTimestampAfter"),
	}
	if s := v.Get("includeArtifacts"); s != "" {
		if q.IncludeArtifacts, err = strconv.ParseBool(s); err != nil {
			return holdfast.Errorf(holdfast.CodeInvalid, "includeArtifacts: want true or false")
		}
	}
	return c.answer(c.doList(c.r.Context(), q))
}

// intParam reads a number of the query, nil if it is not there.
func intParam(v url.Values, name string) (*int, error) {
	s := v.Get(name)
	if s == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s: want a number", name)
	}
	return &n, nil
}

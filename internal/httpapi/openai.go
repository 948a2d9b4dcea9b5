package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// The routes of OpenAI's API, with an agent as the model: POST /v1/responses and
// what belongs to it, POST /v1/chat/completions, GET /v1/models. They are
// readings of sessions and runs, keep nothing of their own and refuse every
// parameter that would change nothing by its name. Sources: the API reference
// of OpenAI, and the official SDKs, which are the tests.

// openAIPaths are where errors have OpenAI's form. Those behind the first four have
// no routes here: an SDK that asks is to read that.
var openAIPaths = []string{
	"/v1/responses", "/v1/chat", "/v1/models", "/v1/conversations",
	"/v1/assistants", "/v1/audio", "/v1/batches", "/v1/chatkit", "/v1/completions", "/v1/containers", "/v1/embeddings", "/v1/evals", "/v1/files", "/v1/fine_tuning", "/v1/images",
	"/v1/moderations", "/v1/realtime", "/v1/skills", "/v1/threads", "/v1/uploads", "/v1/vector_stores", "/v1/videos",
}

// openAIPath reports whether a path belongs to OpenAI's dialect.
func openAIPath(path string) bool {
	return slices.ContainsFunc(openAIPaths, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

// openAIError is the body of an error in OpenAI's dialect.
type openAIError struct {
	Error openAIFailure `json:"error"`
}

type openAIFailure struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	// Code is one of ours.
	Code holdfast.Code `json:"code"`
	// Needs are what a run waits for, if that is what keeps it from an answer.
	Needs []wanted `json:"holdfast_needs,omitempty"`
}

// paramError names the parameter that is wrong.
type paramError struct {
	param string
	err   error
}

func (e *paramError) Error() string { return e.err.Error() }
func (e *paramError) Unwrap() error { return e.err }

func badParam(param, format string, args ...any) error {
	return &paramError{param, holdfast.Errorf(holdfast.CodeInvalid, "%s: %s", param, fmt.Sprintf(format, args...))}
}

// needsError says that a run waits for a human where the protocol has no words
// for it.
type needsError struct {
	needs []wanted
	err   error
}

func (e *needsError) Error() string { return e.err.Error() }
func (e *needsError) Unwrap() error { return e.err }

// started wraps an error that came when the run had begun: to send the same
// request again would begin another one.
type startedError struct{ err error }

func (e *startedError) Error() string { return e.err.Error() }
func (e *startedError) Unwrap() error { return e.err }

// openAIFailureOf makes the error of a dialect whose clients know OpenAI's.
func openAIFailureOf(err error) (int, openAIFailure) {
	code := holdfast.CodeOf(err)
	st := statusOfError(err)
	f := openAIFailure{Message: holdfast.PublicMessage(err), Type: "invalid_request_error", Code: code}
	switch {
	case st == http.StatusTooManyRequests:
		f.Type = "rate_limit_error"
	case st == http.StatusUnauthorized:
		f.Type = "authentication_error"
	case st == http.StatusForbidden:
		f.Type = "permission_error"
	case st >= http.StatusInternalServerError && code != holdfast.CodeNotOffered:
		f.Type = "server_error"
	}
	var p *paramError
	if errors.As(err, &p) {
		f.Param = &p.param
	}
	var n *needsError
	if errors.As(err, &n) {
		f.Needs = n.needs
	}
	return st, f
}

// writeOpenAIError answers an error in OpenAI's form.
func (a *API) writeOpenAIError(w http.ResponseWriter, r *http.Request, err error) {
	a.logError(r.Context(), "request failed", err)
	st, f := openAIFailureOf(err)
	if f.Code == holdfast.CodeNotOffered {
		// To their SDKs everything from 500 on is a failure of the server, which they
		// try again: what is refused is a bad request.
		st = http.StatusBadRequest
	}
	h := w.Header()
	if st == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	}
	// SDKs repeat conflicts and failures of the server by themselves, and without an
	// Idempotency-Key. With one the run that goes on is found again, by another process
	// when this one stops.
	var begun *startedError
	found := r.Header.Get("Idempotency-Key") != "" && f.Code == holdfast.CodeUnavailable
	if errors.As(err, &begun) && !found || st == http.StatusConflict {
		h.Set("X-Should-Retry", "false")
	} else if f.Code.Retryable() {
		h.Set("Retry-After", strconv.Itoa(max(retryAfter, quotaOf(err).retryAfter())))
	}
	writeJSON(w, st, "application/json", openAIError{f})
}

// openAI makes a handler whose errors have OpenAI's form.
func (a *API) openAI(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.writeOpenAIError(w, r, err)
		}
	}
}

// params are the members of a request's body that are not null.
type params map[string]json.RawMessage

// readParams reads a body. Members that are offered go into the returned map;
// those in neutral are passed over if they say what is so anyway; every other
// one is refused by name.
func readParams(body []byte, offered []string, neutral map[string][]string) (params, error) {
	var all params
	if err := decodeStrict(body, &all); err != nil {
		return nil, err
	}
	if all == nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the body: want a JSON object")
	}
	p := params{}
	for name, value := range all {
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			return nil, badParam(name, "cannot be read")
		}
		text := compact.String()
		switch {
		case text == "null":
		case slices.Contains(offered, name):
			p[name] = value
		case slices.Contains(neutral[name], text):
		case name == "tools" || name == "functions":
			return nil, notOfferedParam(name, "not offered: an agent calls the tools of its own file, not those of the caller")
		case len(neutral[name]) > 0:
			return nil, notOfferedParam(name, "only %s is offered: the agent's file decides", strings.Join(neutral[name], " or "))
		default:
			return nil, notOfferedParam(name, "not offered here: what an agent does is in its file; leave the parameter out")
		}
	}
	return p, nil
}

// get reads a member into v, which stays as it is if there is none.
func (p params) get(name string, v any) error {
	raw, ok := p[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return &paramError{name, holdfast.WrapError(holdfast.CodeInvalid, err, name+": a JSON value of this type does not fit")}
	}
	return nil
}

// onlyMembers refuses members of an object that are not known, by name: those that
// are null say nothing.
func onlyMembers(at string, object json.RawMessage, known ...string) error {
	var all map[string]json.RawMessage
	if json.Unmarshal(object, &all) != nil {
		return badParam(at, "want an object")
	}
	for name, value := range all {
		if !slices.Contains(known, name) && string(value) != "null" {
			return notOfferedParam(at+"."+name, "not offered; leave it out")
		}
	}
	return nil
}

// notOfferedParam refuses something of the protocol by name.
func notOfferedParam(param, format string, args ...any) error {
	return &paramError{param, holdfast.Errorf(holdfast.CodeNotOffered, "%s: %s", param, fmt.Sprintf(format, args...))}
}

// openAIPart is a piece of a message's content, in the words of both APIs.
type openAIPart struct {
	Type     string          `json:"type"`
	Text     string          `json:"text"`
	ImageURL json.RawMessage `json:"image_url"`
	Detail   string          `json:"detail"`
	FileID   string          `json:"file_id"`
}

// openAIContent reads the content of a user's message: a text, or a list of texts
// and images.
func openAIContent(param string, raw json.RawMessage) (holdfast.Message, error) {
	m := holdfast.Message{Role: holdfast.RoleUser}
	if json.Unmarshal(raw, &m.Content) == nil {
		if m.Content == "" {
			return m, badParam(param, "empty")
		}
		return m, nil
	}
	var list []openAIPart
	var whole []json.RawMessage
	if err := errors.Join(json.Unmarshal(raw, &list), json.Unmarshal(raw, &whole)); err != nil || len(list) == 0 {
		return m, badParam(param, "want a text or a list of parts")
	}
	for i, c := range list {
		at := fmt.Sprintf("%s[%d]", param, i)
		switch c.Type {
		case "text", "input_text":
			if err := onlyMembers(at, whole[i], "type", "text"); err != nil {
				return m, err
			}
			if len(m.Parts) == 0 && m.Content == "" {
				m.Content = c.Text
				continue
			}
			m.Parts = append(m.Parts, holdfast.ContentPart{Type: "text", Text: c.Text})
		case "image_url", "input_image":
			known := []string{"type", "image_url"}
			if c.Type == "input_image" {
				known = append(known, "detail")
			}
			if c.FileID != "" {
				return m, notOfferedParam(at+".file_id", "files are not offered, only images by URL or as data")
			}
			if err := onlyMembers(at, whole[i], known...); err != nil {
				return m, err
			}
			// One API has the URL itself, the other an object with it.
			image := holdfast.ImageURL{Detail: c.Detail}
			if json.Unmarshal(c.ImageURL, &image.URL) != nil {
				if err := json.Unmarshal(c.ImageURL, &image); err != nil {
					return m, badParam(at, "image_url: want a URL")
				}
				if err := onlyMembers(at+".image_url", c.ImageURL, "url", "detail"); err != nil {
					return m, err
				}
			}
			if image.URL == "" {
				return m, badParam(at, "image_url: want a URL")
			}
			m.Parts = append(m.Parts, holdfast.ContentPart{Type: "image_url", ImageURL: &image})
		default:
			return m, notOfferedParam(at, "parts of type %q are not offered, only texts, and images by URL or as data", c.Type)
		}
	}
	if m.Content == "" && len(m.Parts) == 0 {
		return m, badParam(param, "empty")
	}
	return m, nil
}

// openAIModel is an agent in a list of models.
type openAIModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	// Description is the agent's own.
	Description string `json:"description,omitempty"`
}

func (a *API) openAIModels(w http.ResponseWriter, r *http.Request) error {
	list, err := a.agents(r.Context())
	if err != nil {
		return err
	}
	out := struct {
		Object string        `json:"object"`
		Data   []openAIModel `json:"data"`
	}{"list", []openAIModel{}}
	for _, e := range list {
		if e.Problem == "" {
			out.Data = append(out.Data, openAIModel{ID: plainName(e.Name), Object: "model", Created: seconds(e.UpdatedAt), OwnedBy: "holdfast", Description: e.Description})
		}
	}
	writeJSON(w, http.StatusOK, "application/json", out)
	return nil
}

func (a *API) openAIModel(w http.ResponseWriter, r *http.Request) error {
	f, err := a.usableAgent(r.Context(), r.PathValue("model"))
	if err != nil {
		return &paramError{"model", err}
	}
	writeJSON(w, http.StatusOK, "application/json", openAIModel{ID: plainName(f.Name), Object: "model", Created: seconds(f.UpdatedAt), OwnedBy: "holdfast", Description: f.Description})
	return nil
}

package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	holdfast "github.com/holdfast-run/holdfast"
)

// inputItem is an item of what a response was asked with: a message of the user
// or the answer to an approval request.
type inputItem struct {
	ID      string      `json:"id"`
	Type    string      `json:"type"`
	Status  string      `json:"status,omitempty"`
	Role    string      `json:"role,omitempty"`
	Content []inputPart `json:"content,omitempty"`

	ApprovalRequestID string `json:"approval_request_id,omitempty"`
	Approve           *bool  `json:"approve,omitempty"`
	Reason            string `json:"reason,omitempty"`
}

type inputPart struct {
	Type     string `json:"type"` // "input_text" or "input_image"
	Text     string `json:"text,omitempty"`
	ImageURL string `json:"image_url,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

func newInputMessage(ev *holdfast.UserMessageEvent, it *item) inputItem {
	m := inputItem{ID: itemID("msg", it), Type: "message", Status: responseCompleted, Role: "user", Content: []inputPart{}}
	if ev.Message != "" {
		m.Content = append(m.Content, inputPart{Type: "input_text", Text: ev.Message})
	}
	for _, p := range ev.Parts {
		if p.ImageURL == nil {
			m.Content = append(m.Content, inputPart{Type: "input_text", Text: p.Text})
			continue
		}
		detail := p.ImageURL.Detail
		if detail == "" {
			detail = "auto"
		}
		m.Content = append(m.Content, inputPart{Type: "input_image", ImageURL: p.ImageURL.URL, Detail: detail})
	}
	return m
}

// inputItems are those of one response: the messages of its run or, where it is
// what came behind decisions, these.
func (a *API) inputItems(r *http.Request) ([]any, error) {
	f, v, err := a.responseNow(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	id := f.id
	items := []any{}
	ref := f.ref(r.Context())
	err = a.hub.catchUp(r.Context(), ref, v.run(id.run).FirstSeq-1, func(it *item) error {
		switch {
		case it.seq > v.Info.Head.Seq:
			return errDone
		case it.typ == holdfast.TypeSessionParked && it.seq < id.from:
			items = items[:0] // that was for the response before
		case it.typ == holdfast.TypeSessionParked && id.from > 0:
			return errDone // and what follows for the next
		}
		if it.run != id.run || it.typ != holdfast.TypeUserMessage && it.typ != holdfast.TypeToolCallDecided {
			return nil
		}
		ev, err := holdfast.UnmarshalEvent(it.line)
		if err != nil {
			return fmt.Errorf("read event %d: %w", it.seq, err)
		}
		switch ev := ev.(type) {
		case *holdfast.UserMessageEvent:
			items = append(items, newInputMessage(ev, it))
		case *holdfast.ToolCallDecidedEvent:
			if id.from == 0 {
				return nil // it was said to a later response
			}
			yes := ev.Decision != decisionReject
			items = append(items, inputItem{ID: itemID("mcpr", it), Type: "mcp_approval_response", ApprovalRequestID: approvalPrefix + ev.ToolCallID, Approve: &yes, Reason: ev.Reason})
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return nil, unavailable(fmt.Errorf("read the input of run %s of %s: %w", id.run, ref, err))
	}
	return items, nil
}

// getInputItems answers GET /v1/responses/{id}/input_items.
func (a *API) getInputItems(w http.ResponseWriter, r *http.Request) error {
	return a.listItems(w, r, a.inputItems)
}

// listItems answers with a page of items, which read returns, oldest first.
func (a *API) listItems(w http.ResponseWriter, r *http.Request, read func(*http.Request) ([]any, error)) error {
	limit, after, descending := 20, "", true
	for name, values := range r.URL.Query() {
		var err error
		switch v := values[len(values)-1]; name {
		case "limit":
			if limit, err = strconv.Atoi(v); err == nil && (limit < 1 || limit > 100) {
				err = errors.New("out of range")
			}
		case "after":
			after = v
		case "order":
			if descending = v == "desc"; !descending && v != "asc" {
				err = errors.New("neither")
			}
		case "include", "include[]":
			return notOfferedParam(name, "nothing more can be included; leave it out")
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return badParam(name, "want limit (1 to 100), after (the id of an item), order (asc or desc)")
		}
	}
	items, err := read(r)
	if err != nil {
		return err
	}
	if descending {
		slices.Reverse(items)
	}
	if after != "" {
		i := slices.IndexFunc(items, func(it any) bool { return idOfItem(it) == after })
		if i < 0 {
			return badParam("after", "there is no item %q", after)
		}
		items = items[i+1:]
	}
	out := struct {
		Object  string  `json:"object"`
		Data    []any   `json:"data"`
		FirstID *string `json:"first_id"`
		LastID  *string `json:"last_id"`
		HasMore bool    `json:"has_more"`
	}{Object: "list", HasMore: len(items) > limit}
	out.Data = items[:min(limit, len(items))]
	if n := len(out.Data); n > 0 {
		first, last := idOfItem(out.Data[0]), idOfItem(out.Data[n-1])
		out.FirstID, out.LastID = &first, &last
	}
	writeJSON(w, http.StatusOK, "application/json", out)
	return nil
}

// deleteResponse answers DELETE /v1/responses/{id}. A log has no holes: the
// response goes with its session, and only if nothing else is in it.
func (a *API) deleteResponse(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	f, v, err := a.responseNow(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(v.Runs, func(run RunView) bool { return run.Run != f.id.run }) {
		return holdfast.Errorf(holdfast.CodeConflict, "the session %s has other responses; all of them go with it: DELETE /v1/sessions/%s", f.id.session, f.id.session)
	}
	if err := a.delete(ctx, f.ref(ctx), ""); err != nil && !errors.Is(err, errPending) {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", openAIDeleted{r.PathValue("id"), "response", true})
	return nil
}

// openAIDeleted says that something is gone.
type openAIDeleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

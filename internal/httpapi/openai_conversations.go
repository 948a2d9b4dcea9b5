package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Conversations of OpenAI's API are sessions. What is said in one is said by
// responses: its items are what its runs have left in the log.

// openAIConversation is a conversation object.
type openAIConversation struct {
	ID        string            `json:"id"`
	Object    string            `json:"object"` // "conversation"
	CreatedAt int64             `json:"created_at"`
	Metadata  map[string]string `json:"metadata"`
}

func newOpenAIConversation(v *View) openAIConversation {
	c := openAIConversation{ID: v.Info.Session.Session, Object: "conversation", CreatedAt: seconds(v.Info.CreatedAt), Metadata: map[string]string{}}
	if v.Created != nil && v.Created.Metadata != nil {
		c.Metadata = v.Created.Metadata
	}
	return c
}

// createConversation answers POST /v1/conversations: a session that has no agent
// yet.
func (a *API) createConversation(w http.ResponseWriter, r *http.Request) error {
	if err := wantJSON(r); err != nil {
		return err
	}
	body, err := readBody(w, r, a.cfg.MaxBody)
	if err != nil {
		return err
	}
	p := params{}
	if len(body) > 0 { // the SDK sends none if it has nothing to say
		if p, err = readParams(body, []string{"metadata"}, map[string][]string{"items": {"[]"}}); err != nil {
			return err
		}
	}
	n := NewSession{}
	if err := p.get("metadata", &n.Metadata); err != nil {
		return err
	}
	if err := n.check(); err != nil {
		return &paramError{"metadata", err}
	}
	v, _, err := a.createOnce(r.Context(), "", r.Header.Get("Idempotency-Key"), &holdfast.SessionCreatedEvent{Metadata: n.Metadata})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", newOpenAIConversation(v))
	return nil
}

// conversationOf reads the session that a request names.
func (a *API) conversationOf(r *http.Request) (*View, error) {
	ref := holdfast.SessionRef{Tenant: tenantOf(r.Context()), Session: r.PathValue("id")}
	if ref.Validate() != nil {
		return nil, holdfast.Errorf(holdfast.CodeNotFound, "there is no conversation %q", ref.Session)
	}
	return a.view(r.Context(), ref, 0)
}

func (a *API) getConversation(w http.ResponseWriter, r *http.Request) error {
	v, err := a.conversationOf(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", newOpenAIConversation(v))
	return nil
}

func (a *API) deleteConversation(w http.ResponseWriter, r *http.Request) error {
	v, err := a.conversationOf(r)
	if err != nil {
		return err
	}
	if err := a.delete(r.Context(), v.Info.Session, ""); err != nil && !errors.Is(err, errPending) {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", openAIDeleted{v.Info.Session.Session, "conversation.deleted", true})
	return nil
}

// conversationItems are what a session has, run by run: what the user said and what
// the agent did, each as the responses have it.
func (a *API) conversationItems(r *http.Request) ([]any, error) {
	v, err := a.conversationOf(r)
	if err != nil {
		return nil, err
	}
	ref := v.Info.Session
	var runs []*responseFold
	of := map[string]*responseFold{}
	err = a.hub.catchUp(r.Context(), ref, 0, func(it *item) error {
		if it.seq > v.Info.Head.Seq {
			return errDone
		}
		if it.run == "" {
			return nil
		}
		f := of[it.run]
		if f == nil {
			f = newResponseFold(responseID{session: ref.Session, run: it.run}, "")
			f.sink.part.reopens = true
			of[it.run], runs = f, append(runs, f)
		}
		if it.typ == holdfast.TypeUserMessage {
			ev, err := holdfast.UnmarshalEvent(it.line)
			if err != nil {
				return fmt.Errorf("read event %d: %w", it.seq, err)
			}
			if said, ok := ev.(*holdfast.UserMessageEvent); ok {
				f.output = append(f.output, newInputMessage(said, it))
			}
		}
		_, err := f.sink.event(it)
		return err
	})
	if err != nil && !errors.Is(err, errDone) {
		return nil, unavailable(fmt.Errorf("read the items of %s: %w", ref, err))
	}
	items := []any{}
	for _, f := range runs {
		if p := f.sink.part; !p.finished && p.run == v.Info.Run && v.Info.Status == events.StatusWaiting {
			if err := f.end(); err != nil {
				return nil, err
			}
		}
		f.fill()
		items = append(items, f.output...)
	}
	return items, nil
}

// listConversationItems answers GET /v1/conversations/{id}/items.
func (a *API) listConversationItems(w http.ResponseWriter, r *http.Request) error {
	return a.listItems(w, r, a.conversationItems)
}

// getConversationItem answers GET /v1/conversations/{id}/items/{item}.
func (a *API) getConversationItem(w http.ResponseWriter, r *http.Request) error {
	items, err := a.conversationItems(r)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(items, func(it any) bool { return idOfItem(it) == r.PathValue("item") })
	if i < 0 {
		return holdfast.Errorf(holdfast.CodeNotFound, "the conversation has no item %q", r.PathValue("item"))
	}
	writeJSON(w, http.StatusOK, "application/json", items[i])
	return nil
}

// idOfItem returns the id of an item of input or output.
func idOfItem(it any) string {
	switch it := it.(type) {
	case inputItem:
		return it.ID
	case messageItem:
		return it.ID
	case reasoningItem:
		return it.ID
	case callItem:
		return it.ID
	case approvalItem:
		return it.ID
	}
	return ""
}

// conversationRoutes mounts and describes the routes of conversations.
func (a *API) conversationRoutes(mux *router, add func(op huma.Operation, in, out *huma.Schema, streams bool, params ...*huma.Param), schemas map[string]*huma.Schema) {
	mux.HandleFunc("POST /v1/conversations", a.noQuery(a.openAI(a.createConversation)))
	mux.HandleFunc("GET /v1/conversations/{id}", a.noQuery(a.openAI(a.getConversation)))
	mux.HandleFunc("DELETE /v1/conversations/{id}", a.noQuery(a.openAI(a.deleteConversation)))
	mux.HandleFunc("GET /v1/conversations/{id}/items", a.openAI(a.listConversationItems))
	mux.HandleFunc("GET /v1/conversations/{id}/items/{item}", a.noQuery(a.openAI(a.getConversationItem)))

	const tag = "openai"
	str := &huma.Schema{Type: "string"}
	object := func(doc string) *huma.Schema {
		return &huma.Schema{Type: "object", AdditionalProperties: true, Description: doc}
	}
	schemas["OpenAIConversationRequest"] = object("Body of OpenAI's POST /v1/conversations: metadata.")
	schemas["OpenAIConversation"] = object("OpenAI's conversation object. Its id is that of the session.")
	schemas["OpenAIItem"] = object("OpenAI's item of a conversation.")
	conversation := &huma.Schema{Ref: "#/components/schemas/OpenAIConversation"}
	id := &huma.Param{Name: "id", In: "path", Required: true, Schema: str, Description: "Id of the conversation: a session."}
	missing := http.StatusNotFound
	add(a.operation("openai-create-conversation", http.MethodPost, "/v1/conversations", tag, "Create a conversation (OpenAI)",
		"Creates a session. The first response in it says which agent it has.", http.StatusRequestEntityTooLarge),
		&huma.Schema{Ref: "#/components/schemas/OpenAIConversationRequest"}, conversation, false,
		&huma.Param{Name: "Idempotency-Key", In: "header", Schema: str, Description: "Makes the request safe to repeat."})
	add(a.operation("openai-get-conversation", http.MethodGet, "/v1/conversations/{id}", tag, "Get a conversation (OpenAI)", "", missing), nil, conversation, false, id)
	add(a.operation("openai-delete-conversation", http.MethodDelete, "/v1/conversations/{id}", tag, "Delete a conversation (OpenAI)",
		"Deletes the session and its events. An active run is stopped.", missing), nil, &huma.Schema{Ref: "#/components/schemas/OpenAIDeleted"}, false, id)
	add(a.operation("openai-conversation-items", http.MethodGet, "/v1/conversations/{id}/items", tag, "List the items of a conversation (OpenAI)",
		"What the user said and the agent did, run by run.", missing), nil, &huma.Schema{Ref: "#/components/schemas/OpenAIItems"}, false, append([]*huma.Param{id}, itemPage...)...)
	add(a.operation("openai-conversation-item", http.MethodGet, "/v1/conversations/{id}/items/{item}", tag, "Get an item of a conversation (OpenAI)", "", missing),
		nil, &huma.Schema{Ref: "#/components/schemas/OpenAIItem"}, false, id,
		&huma.Param{Name: "item", In: "path", Required: true, Schema: str, Description: "Id of the item."})
}

// itemPage are the parameters of lists of items.
var itemPage = []*huma.Param{
	{Name: "limit", In: "query", Schema: &huma.Schema{Type: "integer"}, Description: "1 to 100, by default 20."},
	{Name: "after", In: "query", Schema: &huma.Schema{Type: "string"}, Description: "The id of the last item of the page before."},
	{Name: "order", In: "query", Schema: &huma.Schema{Type: "string", Enum: []any{"asc", "desc"}}, Description: "By default desc: newest first."},
}

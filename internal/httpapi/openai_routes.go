package httpapi

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// openAIRoutes mounts the routes of OpenAI's API. They are described as far as
// they differ from OpenAI's reference, by hand: their bodies are OpenAI's.
func (a *API) openAIRoutes(mux *router, api huma.API) {
	mux.HandleFunc("POST /v1/responses", a.openAI(a.createResponse))
	mux.HandleFunc("GET /v1/responses/{id}", a.openAI(a.getResponse))
	mux.HandleFunc("DELETE /v1/responses/{id}", a.openAI(a.deleteResponse))
	mux.HandleFunc("GET /v1/responses/{id}/input_items", a.openAI(a.getInputItems))
	mux.HandleFunc("POST /v1/responses/{id}/cancel", a.openAI(a.cancelResponse))
	mux.HandleFunc("POST /v1/chat/completions", a.openAI(a.createChat))
	mux.HandleFunc("GET /v1/models", a.noQuery(a.openAI(a.openAIModels)))
	mux.HandleFunc("GET /v1/models/{model}", a.noQuery(a.openAI(a.openAIModel)))

	str := &huma.Schema{Type: "string"}
	object := func(doc string) *huma.Schema {
		return &huma.Schema{Type: "object", AdditionalProperties: true, Description: doc}
	}
	schemas := api.OpenAPI().Components.Schemas.Map()
	schemas["OpenAIError"] = &huma.Schema{
		Type: "object", AdditionalProperties: true, Required: []string{"error"}, Description: "An error in OpenAI's form.",
		Properties: map[string]*huma.Schema{"error": {
			Type: "object", AdditionalProperties: true, Required: []string{"message", "type", "code"},
			Properties: map[string]*huma.Schema{
				"message": str, "type": str, "code": {Type: "string", Description: "One of the codes of this API."},
				"param": {Type: "string", Nullable: true, Description: "The parameter that is wrong."},
			},
		}},
	}
	failure := map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/OpenAIError"}}}
	add := func(op huma.Operation, in, out *huma.Schema, streams bool, params ...*huma.Param) {
		op.Parameters = params
		content := map[string]*huma.MediaType{"application/json": {Schema: out}}
		if streams {
			content[typeSSE] = &huma.MediaType{Schema: str}
		}
		op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: content}}
		if in != nil {
			op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: in}}}
		}
		for _, st := range op.Errors {
			op.Responses[strconv.Itoa(st)] = &huma.Response{Description: http.StatusText(st), Content: failure}
		}
		api.OpenAPI().AddOperation(&op)
	}
	const tag = "openai"
	key := &huma.Param{Name: "Idempotency-Key", In: "header", Schema: str, Description: "Makes the request safe to repeat."}
	id := &huma.Param{Name: "id", In: "path", Required: true, Schema: str, Description: "Id of the response."}
	conflict, missing := http.StatusConflict, http.StatusNotFound

	schemas["OpenAIResponseRequest"] = object("Body of OpenAI's POST /v1/responses: model (the agent), input (a text, or messages of the user and mcp_approval_response items), stream, background, previous_response_id or conversation (the id of a session), metadata. Every other parameter that would change something is refused by name.")
	schemas["OpenAIResponse"] = object("OpenAI's response object. holdfast_run is the run, conversation.id the session; holdfast_needs says what an incomplete response waits for.")
	response := &huma.Schema{Ref: "#/components/schemas/OpenAIResponse"}
	add(a.operation("openai-create-response", http.MethodPost, "/v1/responses", tag, "Create a response (OpenAI)",
		"Has an agent answer. The run does not depend on the connection. Tools that need an approval end the response with mcp_approval_request items; the answer is a request with previous_response_id and mcp_approval_response items. A response that is incomplete waits for what holdfast_needs says; a request with previous_response_id and without input is what comes then.",
		missing, conflict, http.StatusRequestEntityTooLarge),
		&huma.Schema{Ref: "#/components/schemas/OpenAIResponseRequest"}, response, true, key)
	add(a.operation("openai-get-response", http.MethodGet, "/v1/responses/{id}", tag, "Get a response (OpenAI)",
		"The response as it is now or, with stream=true, the events of its stream behind starting_after. Streams can be resumed at any time: nothing expires.", missing),
		nil, response, true, id,
		&huma.Param{Name: "stream", In: "query", Schema: &huma.Schema{Type: "boolean"}, Description: "Stream the response's events."},
		&huma.Param{Name: "starting_after", In: "query", Schema: &huma.Schema{Type: "integer", Format: "int64"}, Description: "sequence_number of the last event that is not wanted."})
	add(a.operation("openai-cancel-response", http.MethodPost, "/v1/responses/{id}/cancel", tag, "Cancel a response (OpenAI)",
		"Cancels the run, also one that is not in the background.", missing, conflict), nil, response, false, id)
	schemas["OpenAIDeleted"] = object("id, object and deleted.")
	add(a.operation("openai-delete-response", http.MethodDelete, "/v1/responses/{id}", tag, "Delete a response (OpenAI)",
		"Deletes the session of the response with all events, if it has no other response; else a conflict that says how.", missing, conflict),
		nil, &huma.Schema{Ref: "#/components/schemas/OpenAIDeleted"}, false, id)
	schemas["OpenAIItems"] = object("OpenAI's list of items.")
	add(a.operation("openai-input-items", http.MethodGet, "/v1/responses/{id}/input_items", tag, "List the input of a response (OpenAI)",
		"The messages of the user, or the approvals, that the response answers.", missing), nil, &huma.Schema{Ref: "#/components/schemas/OpenAIItems"}, false, append([]*huma.Param{id}, itemPage...)...)
	a.conversationRoutes(mux, add, schemas)
	schemas["OpenAIChatRequest"] = object("Body of OpenAI's POST /v1/chat/completions: model (the agent), messages, stream, stream_options.include_usage. Every other parameter that would change something is refused by name.")
	schemas["OpenAIChatCompletion"] = object("OpenAI's chat completion.")
	add(a.operation("openai-chat", http.MethodPost, "/v1/chat/completions", tag, "Create a chat completion (OpenAI)",
		"Has an agent answer the newest messages of the user. The header Holdfast-Session names the session: without it there is a new one, whose id is in the same header of the answer. What the session has already is not said again. A run that needs a human is a conflict.",
		missing, conflict, http.StatusRequestEntityTooLarge, http.StatusBadGateway),
		&huma.Schema{Ref: "#/components/schemas/OpenAIChatRequest"}, &huma.Schema{Ref: "#/components/schemas/OpenAIChatCompletion"}, true, key,
		&huma.Param{Name: sessionHeader, In: "header", Schema: str, Description: "Id of the session; made if there is none."})
	schemas["OpenAIModel"] = object("An agent as a model.")
	model := &huma.Schema{Ref: "#/components/schemas/OpenAIModel"}
	add(a.operation("openai-models", http.MethodGet, "/v1/models", tag, "List agents as models (OpenAI)", ""), nil,
		&huma.Schema{
			Type: "object", AdditionalProperties: true, Required: []string{"object", "data"},
			Properties: map[string]*huma.Schema{"object": str, "data": {Type: "array", Items: model}},
		}, false)
	add(a.operation("openai-model", http.MethodGet, "/v1/models/{model}", tag, "Get an agent as a model (OpenAI)", "", missing), nil, model, false,
		&huma.Param{Name: "model", In: "path", Required: true, Schema: str, Description: "Name of the agent."})
}

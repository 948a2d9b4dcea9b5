package openai

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

var (
	errNoName    = errors.New("a tool call without a name")
	errUnhealthy = errors.New("the provider ended the answer with an error of its own")
)

func unreadable(err error) error { return &model.UnreadableError{Err: err} }

func (m *Model) garbage(cause error) error {
	return holdfast.WrapError(holdfast.CodeModelFailed, cause, m.cfg.Provider+" sent what cannot be read")
}

// wireError holds the members of the error objects in use: OpenAI's
// {"error":{…}}, Ollama's older {"error":"…"}, Mistral's {"object":"error",…}
// and {"detail":…}.
type wireError struct {
	Message json.RawMessage `json:"message"`
	Type    string          `json:"type"`
	Code    json.RawMessage `json:"code"`
	Detail  json.RawMessage `json:"detail"`
	Error   json.RawMessage `json:"error"`
}

// parseError reads an error object in one of its forms.
func parseError(body []byte) (message, kind, code string) {
	var e wireError
	if json.Unmarshal(body, &e) != nil {
		var s string
		if json.Unmarshal(body, &s) == nil {
			return s, "", ""
		}
		return "", "", ""
	}
	if len(e.Error) > 0 && string(e.Error) != "null" {
		return parseError(e.Error)
	}
	message = rawText(e.Message)
	if message == "" {
		message = rawText(e.Detail)
	}
	return message, e.Type, rawText(e.Code)
}

// rawText is a JSON string's text, or any other value's JSON.
func rawText(raw json.RawMessage) string {
	var s string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case json.Unmarshal(raw, &s) == nil:
		return s
	}
	return string(raw)
}

// overflowWords are how providers say that a conversation is too long, where
// no code says it: vLLM, Mistral, llama.cpp, xAI, Ollama.
var overflowWords = []string{
	"maximum context length", "context length exceeded", "exceeds the available context size", "context window",
	"maximum prompt length", "prompt is too long", "input length exceeds", "too large for model",
}

// failure reads what a provider says of a failed call. status is 0 for an event
// in a stream.
func (m *Model) failure(status int, header http.Header, body []byte) model.Failure {
	message, kind, code := parseError(body)
	return m.classify(status, header, message, kind, code)
}

func (m *Model) classify(status int, header http.Header, message, kind, code string) model.Failure {
	f := model.Failure{
		Provider: m.cfg.Provider, Status: status, Header: header, Message: message,
		Secrets: []string{m.cfg.APIKey},
	}
	// Codes of OpenAI: https://platform.openai.com/docs/guides/error-codes and the
	// SDK's ResponseErrorCode; of Azure's filter: "content_filter"; llama.cpp:
	// "exceed_context_size_error".
	for _, c := range []string{code, kind} {
		switch c {
		case "context_length_exceeded", "exceed_context_size_error":
			f.Code = holdfast.CodeModelContext
		case "content_filter", "content_policy_violation", "invalid_prompt", "bio_policy",
			"misalignment_policy_violation", "image_content_policy_violation", "ResponsibleAIPolicyViolation":
			f.Code = holdfast.CodeModelFilter
		case "insufficient_quota", "billing_hard_limit_reached":
			f.Code, f.Final = holdfast.CodeModelRate, true
		case "rate_limit_exceeded", "rate_limit_error", "requests", "tokens":
			f.Code = holdfast.CodeModelRate
		case "invalid_api_key", "authentication_error", "permission_error":
			f.Code = holdfast.CodeModelAuth
		case "server_error", "internal_error", "overloaded_error":
			f.Code = holdfast.CodeModelFailed
		case "invalid_request_error", "BadRequestError":
			if status == 0 {
				f.Code = holdfast.CodeInvalid
			}
		}
		if f.Code != "" {
			break
		}
	}
	if f.Code == "" || f.Code == holdfast.CodeInvalid {
		lower := strings.ToLower(message)
		for _, w := range overflowWords {
			if status < 500 && strings.Contains(lower, w) {
				f.Code = holdfast.CodeModelContext
			}
		}
	}
	// A status that speaks of the key or the rate is more to be trusted than words.
	if status == http.StatusUnauthorized {
		f.Code = holdfast.CodeModelAuth
	}
	return f
}

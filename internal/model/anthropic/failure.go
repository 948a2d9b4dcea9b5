package anthropic

import (
	"encoding/json"
	"net/http"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// overflowWords are how the API says that a conversation is too long: it has no
// type of error for that.
var overflowWords = []string{"prompt is too long", "exceed context limit", "exceeds the context window"}

// failure reads what the API says of a failed call
// (https://platform.claude.com/docs/en/api/errors). status is 0 for an event in a
// stream.
func (m *Model) failure(status int, header http.Header, body []byte) model.Failure {
	f := model.Failure{Provider: m.cfg.Provider, Status: status, Header: header, Secrets: []string{m.cfg.APIKey}}
	var e struct {
		Error struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"error"`
	}
	// What is not the API's JSON comes from something between us and it: the status
	// has to do.
	if json.Unmarshal(body, &e) != nil {
		return f
	}
	f.Message = e.Error.Message
	switch e.Error.Type {
	case "authentication_error", "permission_error":
		f.Code = holdfast.CodeModelAuth
	case "rate_limit_error":
		f.Code = holdfast.CodeModelRate
	case "billing_error":
		f.Code, f.Final = holdfast.CodeModelRate, true
	case "request_too_large":
		f.Code = holdfast.CodeModelContext
	case "invalid_request_error":
		f.Code = holdfast.CodeInvalid
		lower := strings.ToLower(f.Message)
		switch {
		case strings.Contains(lower, "credit balance is too low"):
			f.Code, f.Final = holdfast.CodeModelRate, true
		case strings.Contains(lower, "content filtering policy"):
			f.Code = holdfast.CodeModelFilter
		}
		for _, w := range overflowWords {
			if strings.Contains(lower, w) {
				f.Code = holdfast.CodeModelContext
			}
		}
	case "not_found_error":
		f.Code = holdfast.CodeInvalid
	case "api_error", "overloaded_error", "timeout_error":
		f.Code = holdfast.CodeModelFailed
	}
	if status == http.StatusUnauthorized {
		f.Code = holdfast.CodeModelAuth
	}
	return f
}

package gemini

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// wireError is google.rpc.Status as JSON
// (https://cloud.google.com/apis/design/errors#error_model).
type wireError struct {
	Error struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
		Details []struct {
			Reason     string `json:"reason"`     // ErrorInfo
			RetryDelay string `json:"retryDelay"` // RetryInfo
			Violations []struct {
				QuotaID string `json:"quotaId"`
			} `json:"violations"` // QuotaFailure
		} `json:"details"`
	} `json:"error"`
}

// failure reads what the API says of a failed call
// (https://ai.google.dev/gemini-api/docs/troubleshooting). status is 0 for an
// event in a stream.
func (m *Model) failure(status int, header http.Header, body []byte) model.Failure {
	f := model.Failure{Provider: m.cfg.Provider, Status: status, Header: header, Secrets: []string{m.cfg.APIKey}}
	var e wireError
	// Streams wrap their error into a list.
	if body = bytes.TrimSpace(body); len(body) > 0 && body[0] == '[' {
		var list []wireError
		if json.Unmarshal(body, &list) == nil && len(list) > 0 {
			e = list[0]
		}
	} else if json.Unmarshal(body, &e) != nil {
		return f // not the API's: the status has to do
	}
	f.Message = e.Error.Message
	switch e.Error.Status {
	case "UNAUTHENTICATED", "PERMISSION_DENIED":
		f.Code = holdfast.CodeModelAuth
	case "RESOURCE_EXHAUSTED":
		f.Code = holdfast.CodeModelRate
	case "INVALID_ARGUMENT":
		f.Code = holdfast.CodeInvalid
		lower := strings.ToLower(f.Message)
		if strings.Contains(lower, "token count") && strings.Contains(lower, "exceeds the maximum") {
			f.Code = holdfast.CodeModelContext
		}
	case "FAILED_PRECONDITION", "NOT_FOUND", "OUT_OF_RANGE", "UNIMPLEMENTED":
		f.Code = holdfast.CodeInvalid
	case "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "ABORTED", "CANCELLED":
		f.Code = holdfast.CodeModelFailed
	}
	for _, d := range e.Error.Details {
		if d.Reason == "API_KEY_INVALID" {
			f.Code = holdfast.CodeModelAuth
		}
		for _, v := range d.Violations {
			if strings.Contains(v.QuotaID, "PerDay") {
				f.Final = true // not before tomorrow
			}
		}
		if pause, err := time.ParseDuration(d.RetryDelay); err == nil && pause > 0 && header.Get("Retry-After") == "" {
			// The API says it in the body, where others use the header.
			f.Header = header.Clone()
			if f.Header == nil {
				f.Header = http.Header{}
			}
			f.Header.Set("Retry-After", strconv.Itoa(int(math.Ceil(pause.Seconds()))))
		}
	}
	if status == http.StatusUnauthorized {
		f.Code = holdfast.CodeModelAuth
	}
	return f
}

package bedrock

import (
	"encoding/json"
	"net/http"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// overflowWords are how models on Bedrock say that a conversation is too long:
// the API has no exception for that.
var overflowWords = []string{
	"input is too long", "prompt is too long", "exceed context limit", "maximum context length", "too many input tokens", "exceeds the maximum number of input tokens",
}

// failure reads what the API says of a failed call. The type of the exception is
// in a header, in some answers in the body
// (https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization).
func (m *Model) failure(status int, header http.Header, body []byte) model.Failure {
	return m.classify(status, header, header.Get("X-Amzn-Errortype"), body)
}

// classify reads an exception
// (https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html).
// status is 0 for a message in a stream.
func (m *Model) classify(status int, header http.Header, exception string, body []byte) model.Failure {
	f := model.Failure{Provider: m.cfg.Provider, Status: status, Header: header, Secrets: m.secrets()}
	var e struct {
		// Some services behind the API begin the name with a capital; encoding/json
		// takes both.
		Message string `json:"message"`
		Type    string `json:"__type"`
	}
	// What is not the API's JSON comes from something between us and it: the type or
	// the status has to do.
	if json.Unmarshal(body, &e) == nil {
		f.Message = e.Message
		if exception == "" {
			exception = e.Type
		}
	}
	exception, _, _ = strings.Cut(exception, ":")
	if i := strings.LastIndexByte(exception, '#'); i >= 0 {
		exception = exception[i+1:]
	}
	switch strings.ToLower(exception) {
	case "accessdeniedexception", "unrecognizedclientexception", "invalidsignatureexception", "expiredtokenexception",
		"missingauthenticationtokenexception", "incompletesignatureexception":
		f.Code = holdfast.CodeModelAuth
	case "throttlingexception", "servicequotaexceededexception":
		f.Code = holdfast.CodeModelRate
	case "validationexception":
		f.Code = holdfast.CodeInvalid
		lower := strings.ToLower(f.Message)
		if strings.Contains(lower, "content filtering policy") {
			f.Code = holdfast.CodeModelFilter
		}
		for _, w := range overflowWords {
			if strings.Contains(lower, w) {
				f.Code = holdfast.CodeModelContext
			}
		}
	case "resourcenotfoundexception":
		f.Code = holdfast.CodeInvalid
	case "internalserverexception", "serviceunavailableexception", "modelstreamerrorexception", "modelerrorexception",
		"modeltimeoutexception", "modelnotreadyexception":
		f.Code = holdfast.CodeModelFailed
	}
	return f
}

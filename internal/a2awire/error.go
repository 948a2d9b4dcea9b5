package a2awire

import (
	"errors"
	"net/http"

	"github.com/a2aproject/a2a-go/a2a"
)

// Errors that 0.3 has not.
var (
	// ErrVersion is VersionNotSupportedError.
	ErrVersion = errors.New("this version is not supported")
	// ErrExtension is ExtensionSupportRequiredError.
	ErrExtension = errors.New("extension support required")
)

// Kind is a kind of error of the protocol in the terms of each binding (section
// 5.4).
type Kind struct {
	// Code is that of JSON-RPC.
	Code int
	// Reason is that of google.rpc.ErrorInfo: the error's name in upper case without
	// its ending Error.
	Reason string
	// Status is that of google.rpc.Status, HTTP that of the answer.
	Status string
	HTTP   int
}

const (
	invalidArgument = "INVALID_ARGUMENT"
	precondition    = "FAILED_PRECONDITION"
)

var kinds = []struct {
	err error
	Kind
}{
	{a2a.ErrTaskNotFound, Kind{-32001, "TASK_NOT_FOUND", "NOT_FOUND", http.StatusNotFound}},
	{a2a.ErrTaskNotCancelable, Kind{-32002, "TASK_NOT_CANCELABLE", precondition, http.StatusBadRequest}},
	{a2a.ErrPushNotificationNotSupported, Kind{-32003, "PUSH_NOTIFICATION_NOT_SUPPORTED", precondition, http.StatusBadRequest}},
	{a2a.ErrUnsupportedOperation, Kind{-32004, "UNSUPPORTED_OPERATION", precondition, http.StatusBadRequest}},
	{a2a.ErrUnsupportedContentType, Kind{-32005, "CONTENT_TYPE_NOT_SUPPORTED", invalidArgument, http.StatusBadRequest}},
	{a2a.ErrInvalidAgentResponse, Kind{-32006, "INVALID_AGENT_RESPONSE", "INTERNAL", http.StatusInternalServerError}},
	{a2a.ErrAuthenticatedExtendedCardNotConfigured, Kind{-32007, "EXTENDED_AGENT_CARD_NOT_CONFIGURED", precondition, http.StatusBadRequest}},
	{ErrExtension, Kind{-32008, "EXTENSION_SUPPORT_REQUIRED", precondition, http.StatusBadRequest}},
	{ErrVersion, Kind{-32009, "VERSION_NOT_SUPPORTED", precondition, http.StatusBadRequest}},
	{a2a.ErrParseError, Kind{-32700, "PARSE_ERROR", invalidArgument, http.StatusBadRequest}},
	{a2a.ErrInvalidRequest, Kind{-32600, "INVALID_REQUEST", invalidArgument, http.StatusBadRequest}},
	{a2a.ErrMethodNotFound, Kind{-32601, "METHOD_NOT_FOUND", "UNIMPLEMENTED", http.StatusNotFound}},
	{a2a.ErrInvalidParams, Kind{-32602, "INVALID_PARAMS", invalidArgument, http.StatusBadRequest}},
	{a2a.ErrServerError, Kind{-32000, "UNAVAILABLE", "UNAVAILABLE", http.StatusServiceUnavailable}},
	{a2a.ErrInternalError, Kind{-32603, "INTERNAL_ERROR", "INTERNAL", http.StatusInternalServerError}},
}

// KindOf returns the kind of an error that has one of the protocol's in its chain;
// every other one is an internal error.
func KindOf(err error) Kind {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.Kind
		}
	}
	return kinds[len(kinds)-1].Kind
}

// ErrorInfo is google.rpc.ErrorInfo, the detail by which programs tell errors
// apart (sections 9.5 and 11.6).
type ErrorInfo struct {
	Type     string            `json:"@type"`
	Reason   string            `json:"reason"`
	Domain   string            `json:"domain"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// NewErrorInfo returns the detail of an error of a kind.
func NewErrorInfo(k Kind, metadata map[string]string) ErrorInfo {
	return ErrorInfo{Type: "type.googleapis.com/google.rpc.ErrorInfo", Reason: k.Reason, Domain: "a2a-protocol.org", Metadata: metadata}
}

// RPCError is the error of an answer over JSON-RPC.
type RPCError struct {
	Code    int         `json:"code"`
	Message string      `json:"message"`
	Data    []ErrorInfo `json:"data,omitempty"`
}

// Status is the body of an error over HTTP+JSON: google.rpc.Status (AIP-193).
type Status struct {
	Error StatusError `json:"error"`
}

// StatusError is the inside of a [Status].
type StatusError struct {
	// Code is the status of HTTP again.
	Code    int         `json:"code"`
	Status  string      `json:"status"`
	Message string      `json:"message"`
	Details []ErrorInfo `json:"details"`
}

package holdfast

import (
	"errors"
	"fmt"
)

// Code classifies an error. Only codes and the message that goes with them
// cross a process border or reach a tenant; wrapped causes stay inside.
type Code string

// The codes. One table in internal/httpapi maps them to HTTP status.
const (
	CodeInvalid      Code = "invalid"       // the request cannot be understood or breaks a rule
	CodeInvalidInput Code = "invalid_input" // an answer does not fit the schema of its question
	CodeUnauthorized Code = "unauthorized"  // no valid credentials
	CodeForbidden    Code = "forbidden"     // valid credentials, not allowed
	CodeNotFound     Code = "not_found"     // no such session, agent, call
	CodeConflict     Code = "conflict"      // contradicts what is already in the log
	CodeStale        Code = "stale"         // If-Match or If-None-Match does not fit what is there now
	CodeKeyReused    Code = "key_reused"    // an Idempotency-Key came again with another body
	CodeGone         Code = "gone"          // a cursor or a resource that cannot be served any more
	CodeTooLarge     Code = "too_large"     // over a limit of size
	CodeRateLimited  Code = "rate_limited"  // too much at once; try later
	CodeQuota        Code = "quota"         // what the tenant may use is used up
	CodeNotOffered   Code = "not_offered"   // known, but not offered in this deployment
	CodeUnavailable  Code = "unavailable"   // a dependency is away; try again
	CodeUpstream     Code = "upstream"      // a server that was asked for this request failed: an OCI registry
	CodeTimeout      Code = "timeout"       // it took too long
	CodeCanceled     Code = "canceled"      // the caller or the user canceled
	CodeInternal     Code = "internal"      // a bug or an unclassified failure
	CodeModelAuth    Code = "model_auth"    // the provider refused our credentials
	CodeModelRate    Code = "model_rate"    // the provider's rate limit, after all retries
	CodeModelContext Code = "model_context" // the conversation does not fit the model's window
	CodeModelFilter  Code = "model_filter"  // the provider's content filter
	CodeModelFailed  Code = "model_failed"  // the provider failed or answered what cannot be read
	CodeMaxTurns     Code = "max_turns"     // the run reached its limit of iterations
)

// Retryable reports whether the same request may succeed later without a
// change by the caller.
func (c Code) Retryable() bool {
	switch c {
	case CodeRateLimited, CodeUnavailable, CodeTimeout, CodeModelRate, CodeModelFailed:
		return true
	}
	return false
}

// Error is an error that may be shown to a tenant: a code and a message, and a
// cause that stays inside.
type Error struct {
	Code    Code
	Message string
	Cause   error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf returns an [Error] with a message for the tenant and no cause; use
// [WrapError] when there is one that must stay inside.
func Errorf(code Code, format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	return &Error{Code: code, Message: msg}
}

// WrapError returns an [Error] whose message is shown and whose cause is not.
func WrapError(code Code, cause error, message string) error {
	return &Error{Code: code, Message: message, Cause: cause}
}

// CodeOf returns the code of the first [Error] in err's chain, CodeInternal if
// there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// PublicMessage returns what a tenant may read of err: the message of the
// first [Error] in its chain, or a fixed text that reveals nothing.
func PublicMessage(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "internal error"
}

package tool

import (
	"fmt"

	holdfast "github.com/holdfast-run/holdfast"
)

// AuthorizationError is the Go error of Tools and Call when the far side wants
// credentials that it did not get. Nothing was executed: the same call may be
// made again once somebody has authorized it.
type AuthorizationError struct {
	// Toolset is the name of the toolset that was asked.
	Toolset string
	// URL is the resource that refused, without query and user part.
	URL string
	// Status is the HTTP status: 401, or 403 for a token whose scope is too small.
	Status int
	// Challenges are the values of all WWW-Authenticate headers, in order and
	// unparsed (RFC 9110 section 11.6.1).
	Challenges []string
}

func (e *AuthorizationError) Error() string {
	return fmt.Sprintf("toolset %q: %s asks for authorization (HTTP %d)", e.Toolset, e.URL, e.Status)
}

// Unwrap gives the error its code and the text that a tenant may read.
func (e *AuthorizationError) Unwrap() error {
	return holdfast.Errorf(holdfast.CodeUnauthorized, "the server of toolset %q asks for authorization", e.Toolset)
}

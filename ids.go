package holdfast

import (
	"fmt"

	"github.com/google/uuid"
)

// SessionRef is the full identity of a session: nothing in Holdfast names a
// session without its tenant.
type SessionRef struct {
	Tenant  string
	Session string
}

func (r SessionRef) String() string { return r.Tenant + "/" + r.Session }

// Validate reports whether both parts are usable as identifiers.
func (r SessionRef) Validate() error {
	if err := ValidateID("tenant", r.Tenant); err != nil {
		return err
	}
	return ValidateID("session id", r.Session)
}

// MaxIDLength is the longest identifier, in bytes.
const MaxIDLength = 128

// ValidateID reports whether id can be part of a subject, a primary key and a
// URL path: 1 to [MaxIDLength] of A–Z, a–z, 0–9, '-' and '_'.
func ValidateID(what, id string) error {
	if id == "" {
		return Errorf(CodeInvalid, "%s is empty", what)
	}
	if len(id) > MaxIDLength {
		return Errorf(CodeInvalid, "%s is longer than %d characters", what, MaxIDLength)
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return Errorf(CodeInvalid, "%s %q: only letters, digits, '-' and '_' are allowed", what, id)
		}
	}
	return nil
}

// NewID returns a new identifier: a UUID of version 7 (RFC 9562 section 5.7),
// so that ids made later sort later.
func NewID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic(fmt.Sprintf("holdfast: no randomness for an identifier: %v", err))
	}
	return id.String()
}

// idSpace separates ids that are derived from keys from all other UUIDs.
var idSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://holdfast.run/ids"))

// DeriveID returns the same identifier for the same parts (UUID version 5, RFC
// 9562 section 5.5). It turns an Idempotency-Key into the id of what the key
// made the first time.
func DeriveID(parts ...string) string {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
		b = append(b, 0)
	}
	return uuid.NewSHA1(idSpace, b).String()
}

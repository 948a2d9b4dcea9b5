package tenant

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// MinKeyLength is the fewest characters of an API key. Shorter ones could be
// guessed, since a lookup is cheap.
const MinKeyLength = 16

// Keyring knows which API key belongs to which tenant. The zero value and nil
// know no key: everybody is [Default].
type Keyring struct {
	entries   []entry
	operators []entry
}

type entry struct {
	sum    [sha256.Size]byte
	tenant string
}

// ParseKeys reads keys in the form "tenant:key". A tenant may have several keys,
// a key belongs to one tenant. Errors have CodeInvalid and name the entry by its
// place in the list, never by its text.
func ParseKeys(list []string) (*Keyring, error) {
	k := &Keyring{}
	for i, item := range list {
		name, key, ok := strings.Cut(strings.TrimSpace(item), ":")
		if !ok {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "API key %d: want tenant:key", i+1)
		}
		if err := holdfast.ValidateID("tenant", name); err != nil {
			return nil, holdfast.WrapError(holdfast.CodeInvalid, err, fmt.Sprintf("API key %d: the tenant may have letters, digits, '-' and '_' only", i+1))
		}
		if len(key) < MinKeyLength {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "API key %d of tenant %s: shorter than %d characters", i+1, name, MinKeyLength)
		}
		sum := sha256.Sum256([]byte(key))
		for _, e := range k.entries {
			if e.sum == sum && e.tenant != name {
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "API key %d: tenants %s and %s have the same key", i+1, e.tenant, name)
			}
		}
		k.entries = append(k.entries, entry{sum, name})
	}
	return k, nil
}

// WithOperators returns a keyring that also knows the keys of the operator. A key is
// either the operator's or a tenant's. Errors are those of [ParseKeys].
func (k *Keyring) WithOperators(keys []string) (*Keyring, error) {
	out := &Keyring{}
	if k != nil {
		*out = *k
	}
	for i, key := range keys {
		if key = strings.TrimSpace(key); len(key) < MinKeyLength {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "operator key %d: shorter than %d characters", i+1, MinKeyLength)
		}
		sum := sha256.Sum256([]byte(key))
		for _, e := range out.entries {
			if e.sum == sum {
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "operator key %d: the tenant %s has the same", i+1, e.tenant)
			}
		}
		out.operators = append(out.operators, entry{sum: sum})
	}
	return out, nil
}

// Operated reports whether there is an operator who has a key.
func (k *Keyring) Operated() bool { return k != nil && len(k.operators) > 0 }

// Open reports whether no key is configured, so that none is needed.
func (k *Keyring) Open() bool { return k == nil || len(k.entries) == 0 }

// Authenticate returns the caller that key belongs to, [Default] if the keyring
// is open and the key is not the operator's. Any other error has CodeUnauthorized and does not say why.
func (k *Keyring) Authenticate(key string) (Caller, error) {
	if k.Operated() && key != "" {
		sum := sha256.Sum256([]byte(key))
		found := 0
		for i := range k.operators {
			found |= subtle.ConstantTimeCompare(k.operators[i].sum[:], sum[:])
		}
		if found == 1 {
			return Caller{Operator: true, Key: hex.EncodeToString(sum[:4])}, nil
		}
	}
	if k.Open() {
		return Caller{Tenant: Default}, nil
	}
	if key == "" {
		return Caller{}, holdfast.Errorf(holdfast.CodeUnauthorized, "an API key is needed: as a Bearer token, as the password of Basic authentication, or in the header X-API-Key")
	}
	sum := sha256.Sum256([]byte(key))
	found := -1
	for i := range k.entries {
		// All entries are compared, whichever fits.
		if subtle.ConstantTimeCompare(k.entries[i].sum[:], sum[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Caller{}, holdfast.Errorf(holdfast.CodeUnauthorized, "the API key is not valid")
	}
	return Caller{Tenant: k.entries[found].tenant, Key: hex.EncodeToString(sum[:4])}, nil
}

// KeyOf returns the API key of a request: X-API-Key, else the Bearer token (RFC
// 6750 section 2.1), else the password of Basic authentication (RFC 7617), which
// is what Go's client makes of http://user:KEY@host. "" if there is none.
func KeyOf(r *http.Request) string {
	if key := r.Header.Get("X-API-Key"); key != "" {
		return key
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest)
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	return ""
}

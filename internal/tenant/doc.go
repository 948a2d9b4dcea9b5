// Package tenant says who is calling.
//
// A tenant is part of every identity in Holdfast: nothing names a session, an
// agent or a key without one. This package turns the credentials of a request
// into a [Caller] and carries it in a context; what a caller may see follows
// from Caller.Tenant alone.
//
// A [Keyring] holds the SHA-256 of API keys and never a key. Looking a key up
// compares with every entry in constant time, so that neither the time it takes
// nor an error tells how near a guess was. A Keyring does not change after it
// was made and may be used by any number of goroutines.
package tenant

package state

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// Answer is what an authorization server answered through the browser (RFC 6749
// section 4.1.2, RFC 9207). It exists in clear only in the callback and in the
// worker that finishes the flow.
type Answer struct {
	State string `json:"state"`
	Code  string `json:"code,omitempty"`
	// Issuer is the parameter iss, nil if there was none.
	Issuer           *string `json:"iss,omitempty"`
	Error            string  `json:"error,omitempty"`
	ErrorDescription string  `json:"error_description,omitempty"`
}

// String and GoString keep the code out of logs.
func (Answer) String() string { return "an authorization server's answer" }

// GoString is String.
func (a Answer) GoString() string { return a.String() }

// Seal encrypts an answer for the worker of its session (AES-256-GCM with a random
// nonce). Sealing the same answer twice gives two texts, so that a hash of one
// says nothing of the code.
func (r *Ring) Seal(d Data, a Answer) ([]byte, error) {
	plain, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("seal an answer: %w", err)
	}
	k := r.keys[0]
	aead, err := newAEAD(k.seal)
	if err != nil {
		return nil, err
	}
	out := append([]byte{version, byte(len(k.id))}, k.id...)
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce) // never fails
	out = append(out, nonce...)
	return aead.Seal(out, nonce, plain, identity(d)), nil
}

// Open decrypts an answer that was sealed for this flow of this session; for
// another one it is an error.
func (r *Ring) Open(d Data, sealed []byte) (Answer, error) {
	var a Answer
	bad := errors.New("open an answer: it was not sealed for this flow")
	if len(sealed) < 2 || sealed[0] != version || len(sealed) < 2+int(sealed[1]) {
		return a, bad
	}
	k, ok := r.key(string(sealed[2 : 2+sealed[1]]))
	if !ok {
		return a, bad
	}
	aead, err := newAEAD(k.seal)
	if err != nil {
		return a, err
	}
	rest := sealed[2+int(sealed[1]):]
	if len(rest) < aead.NonceSize() {
		return a, bad
	}
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], identity(d))
	if err != nil || json.Unmarshal(plain, &a) != nil {
		return Answer{}, bad
	}
	return a, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	return aead, nil
}

// identity is the associated data: an answer cannot be moved to another flow.
func identity(d Data) []byte {
	var out []byte
	for _, p := range []string{"answer", d.Tenant, d.SessionID, d.Connection, d.Flow} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}

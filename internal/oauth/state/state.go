// Package state makes and checks the parameter state of authorization requests,
// and what else the callback of an authorization needs without a database: the
// cookie of the browser that began, the verifier for the application that
// confirms, and the seal around the code on its way to a worker.
//
// A state is base64url (RFC 4648 section 5, without padding) of a JSON object. Its
// members session_id and random are those that clients of the original contract
// know; the others, and a MAC over all of them, are ours. A state routes a
// redirect to its session and says for how long it may; the authority is the
// record of the flow.
//
// A [Ring] holds the keys. The first one signs and seals, all of them are
// accepted, so that keys rotate without a flow being lost: add the new key in
// front on every process, and drop the old one when no flow can be under way any
// more, which is after [Lifetime]. From each key one key per purpose is derived
// (HKDF, RFC 5869). A Ring does not change and is safe for concurrent use.
package state

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Lifetime is how long a flow may take from its start to the redirect.
const Lifetime = 10 * time.Minute

// MaxLength is the most bytes of a state that is looked at.
const MaxLength = 2048

// MinKeyLength is the fewest bytes of a key.
const MinKeyLength = 32

// Ways in which the user who finishes is known to be the one who was to start.
const (
	// BindCookie: the browser that opened the start URL brings back its cookie.
	BindCookie = "cookie"
	// BindConfirm: the tenant's application, to which the browser is sent, confirms.
	BindConfirm = "confirm"
)

// Errors of [Ring.Decode]. Nobody outside is told which one it was.
var (
	ErrInvalid = errors.New("state: it is not one of ours")
	ErrExpired = errors.New("state: it has expired")
)

// Data is what a state says.
type Data struct {
	Tenant    string
	SessionID string
	// Connection is the id of the connection, part of the redirect URI's path.
	Connection string
	// Flow is the id of the flow's record.
	Flow string
	// Random makes every state another one: at least 128 bits.
	Random string
	// Binding is [BindCookie] or [BindConfirm].
	Binding string
	// Expires has whole seconds.
	Expires time.Time
}

// Ref is the session.
func (d *Data) Ref() holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: d.Tenant, Session: d.SessionID}
}

func (d *Data) validate() error {
	for what, id := range map[string]string{
		"tenant": d.Tenant, "session id": d.SessionID, "connection": d.Connection, "flow": d.Flow, "random": d.Random,
	} {
		if err := holdfast.ValidateID(what, id); err != nil {
			return err
		}
	}
	if d.Binding != BindCookie && d.Binding != BindConfirm {
		return fmt.Errorf("binding %q", d.Binding)
	}
	if len(d.Random) < 22 {
		return errors.New("random is too short")
	}
	return nil
}

// Key is a secret with the name under which states call it.
type Key struct {
	ID     string
	Secret []byte
}

// Ring is the keys that are accepted; the first one signs.
type Ring struct {
	keys []ringKey
}

type ringKey struct {
	id                           string
	mac, seal, cookie, confirmed []byte
}

// NewRing derives the keys of all purposes. An error has CodeInvalid and names a
// key by its place.
func NewRing(keys ...Key) (*Ring, error) {
	if len(keys) == 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "there is no key for the state of authorizations")
	}
	r := &Ring{}
	seen := map[string]bool{}
	for i, k := range keys {
		if err := holdfast.ValidateID("id", k.ID); err != nil || len(k.ID) > 32 || seen[k.ID] {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "state key %d: its id must be new, of letters, digits, '-' and '_', and have 32 at most", i+1)
		}
		if len(k.Secret) < MinKeyLength {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "state key %s: shorter than %d bytes", k.ID, MinKeyLength)
		}
		seen[k.ID] = true
		rk := ringKey{id: k.ID}
		for purpose, into := range map[string]*[]byte{
			"mac": &rk.mac, "seal": &rk.seal, "cookie": &rk.cookie, "confirm": &rk.confirmed,
		} {
			key, err := hkdf.Key(sha256.New, k.Secret, nil, "holdfast oauth state "+purpose, 32)
			if err != nil {
				return nil, fmt.Errorf("derive a key from state key %s: %w", k.ID, err)
			}
			*into = key
		}
		r.keys = append(r.keys, rk)
	}
	return r, nil
}

// NewRandom returns 128 bits for [Data.Random] and for ids of flows.
func NewRandom() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// wire is the JSON of a state. Clients of the contract read the first two.
type wire struct {
	SessionID  string `json:"session_id"`
	Random     string `json:"random"`
	Version    int64  `json:"v"`
	KeyID      string `json:"kid"`
	Tenant     string `json:"tenant"`
	Connection string `json:"connection"`
	Flow       string `json:"flow"`
	Binding    string `json:"binding"`
	Expires    int64  `json:"exp"`
	MAC        string `json:"mac"`
}

const version = 1

// sum is over all members but itself, each with its length, so that no two
// states have the same input.
func (w *wire) sum(key []byte) []byte {
	return mac(key, strconv.FormatInt(w.Version, 10), w.KeyID, w.SessionID, w.Random, w.Tenant, w.Connection, w.Flow, w.Binding,
		strconv.FormatInt(w.Expires, 10))
}

func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	var n [4]byte
	for _, p := range parts {
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		io.WriteString(h, p) //nolint:errcheck // a hash takes everything
	}
	return h.Sum(nil)
}

// Encode returns the state.
func (r *Ring) Encode(d Data) (string, error) {
	if err := d.validate(); err != nil {
		return "", fmt.Errorf("make a state: %w", err)
	}
	k := r.keys[0]
	w := wire{
		SessionID: d.SessionID, Random: d.Random, Version: version, KeyID: k.id, Tenant: d.Tenant, Connection: d.Connection,
		Flow: d.Flow, Binding: d.Binding, Expires: d.Expires.Unix(),
	}
	w.MAC = base64.RawURLEncoding.EncodeToString(w.sum(k.mac))
	b, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("make a state: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// Decode checks a state and returns what it says. An expired one is ErrExpired,
// with its data; everything else that is not right is ErrInvalid.
func (r *Ring) Decode(s string, now time.Time) (Data, error) {
	w, err := parse(s)
	if err != nil {
		return Data{}, err
	}
	k, ok := r.key(w.KeyID)
	if !ok || w.Version != version {
		return Data{}, ErrInvalid
	}
	if want := base64.RawURLEncoding.EncodeToString(w.sum(k.mac)); !hmac.Equal([]byte(w.MAC), []byte(want)) {
		return Data{}, ErrInvalid
	}
	d := Data{
		Tenant: w.Tenant, SessionID: w.SessionID, Connection: w.Connection, Flow: w.Flow, Random: w.Random, Binding: w.Binding,
		Expires: time.Unix(w.Expires, 0).UTC(),
	}
	if d.validate() != nil {
		return Data{}, ErrInvalid
	}
	if !now.Before(d.Expires) {
		return d, ErrExpired
	}
	return d, nil
}

func (r *Ring) key(id string) (ringKey, bool) {
	for _, k := range r.keys {
		if k.id == id {
			return k, true
		}
	}
	return ringKey{}, false
}

// parse reads exactly what Encode writes: one object, each member once, nothing
// behind it.
func parse(s string) (*wire, error) {
	if s == "" || len(s) > MaxLength || strings.ContainsAny(s, "\r\n") { // which base64 passes over
		return nil, ErrInvalid
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, ErrInvalid
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, ErrInvalid
	}
	w := &wire{}
	texts := map[string]*string{
		"session_id": &w.SessionID, "random": &w.Random, "kid": &w.KeyID, "tenant": &w.Tenant, "connection": &w.Connection,
		"flow": &w.Flow, "binding": &w.Binding, "mac": &w.MAC,
	}
	numbers := map[string]*int64{"v": &w.Version, "exp": &w.Expires}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, ErrInvalid
		}
		key, _ := name.(string)
		text, number := texts[key], numbers[key]
		delete(texts, key) // a second one is not known any more
		delete(numbers, key)
		value, err := dec.Token()
		if err != nil {
			return nil, ErrInvalid
		}
		switch v := value.(type) {
		case string:
			if text == nil {
				return nil, ErrInvalid
			}
			*text = v
		case float64:
			if number == nil || v != float64(int64(v)) {
				return nil, ErrInvalid
			}
			*number = int64(v)
		default:
			return nil, ErrInvalid
		}
	}
	if _, err := dec.Token(); err != nil || len(texts) > 0 || len(numbers) > 0 {
		return nil, ErrInvalid
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrInvalid
	}
	return w, nil
}

// Cookie is the value that the browser which began the flow keeps. It follows
// from the state, so that the callback needs no memory, and cannot be guessed
// from it.
func (r *Ring) Cookie(d Data) string { return r.derived(r.keys[0].cookie, d) }

// CookieName is the cookie's name: browsers may have several flows under way.
func CookieName(flow string) string { return "holdfast_oauth_" + flow }

// IsCookie reports whether value is the cookie of the flow.
func (r *Ring) IsCookie(d Data, value string) bool {
	for _, k := range r.keys {
		if hmac.Equal([]byte(value), []byte(r.derived(k.cookie, d))) {
			return true
		}
	}
	return false
}

// Verifier is what the browser carries from the callback to the tenant's
// application: it proves that the redirect came through the callback.
func (r *Ring) Verifier(d Data) string { return r.derived(r.keys[0].confirmed, d) }

// IsVerifier reports whether value is the verifier of the flow.
func (r *Ring) IsVerifier(d Data, value string) bool {
	for _, k := range r.keys {
		if hmac.Equal([]byte(value), []byte(r.derived(k.confirmed, d))) {
			return true
		}
	}
	return false
}

func (r *Ring) derived(key []byte, d Data) string {
	return base64.RawURLEncoding.EncodeToString(mac(key, d.Tenant, d.SessionID, d.Connection, d.Flow, d.Random))
}

// OAuthStateData is what clients of the original contract read from a state.
type OAuthStateData struct {
	SessionID string `json:"session_id"`
	Random    string `json:"random"`
}

// DecodeSessionIDFromState returns the session that a state names, without
// checking anything: it is for clients, which have no key. It takes states of the
// original contract too.
func DecodeSessionIDFromState(s string) (string, error) {
	if len(s) > MaxLength {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the state is longer than %d characters", MaxLength)
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the state is not base64url")
	}
	var d OAuthStateData
	if json.Unmarshal(b, &d) != nil || d.SessionID == "" {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the state names no session")
	}
	return d.SessionID, nil
}

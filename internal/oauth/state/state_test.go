package state_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/oauth/state"
)

func key(id string, b byte) state.Key {
	return state.Key{ID: id, Secret: bytes.Repeat([]byte{b}, 32)}
}

func ring(t *testing.T, keys ...state.Key) *state.Ring {
	t.Helper()
	r, err := state.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func data() state.Data {
	return state.Data{
		Tenant: "acme", SessionID: "s-1", Connection: "c0ffee", Flow: state.NewRandom(), Random: state.NewRandom(),
		Binding: state.BindCookie, Expires: now.Add(state.Lifetime),
	}
}

func encode(t *testing.T, r *state.Ring, d state.Data) string {
	t.Helper()
	s, err := r.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoundTripAndTheContractsView(t *testing.T) {
	r, d := ring(t, key("a", 1)), data()
	s := encode(t, r, d)
	got, err := r.Decode(s, now)
	if err != nil || got != d {
		t.Fatalf("Decode = %+v, %v; want %+v", got, err, d)
	}
	if id, err := state.DecodeSessionIDFromState(s); err != nil || id != "s-1" {
		t.Errorf("DecodeSessionIDFromState = %q, %v", id, err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	var old state.OAuthStateData
	if err := json.Unmarshal(raw, &old); err != nil || old.SessionID != "s-1" || old.Random != d.Random {
		t.Errorf("the contract's members: %+v, %v", old, err)
	}
	if len(s) > 700 {
		t.Errorf("a state of %d characters", len(s))
	}
}

func TestRotation(t *testing.T) {
	first, second := key("a", 1), key("b", 2)
	d := data()
	before := encode(t, ring(t, first), d)
	both := ring(t, second, first)
	if _, err := both.Decode(before, now); err != nil {
		t.Errorf("a state of the old key: %v", err)
	}
	if !both.IsCookie(d, ring(t, first).Cookie(d)) || !both.IsVerifier(d, ring(t, first).Verifier(d)) {
		t.Error("cookie or verifier of the old key is refused")
	}
	after := encode(t, both, d)
	if _, err := ring(t, first).Decode(after, now); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("a state of a key that is not known: %v", err)
	}
	if _, err := ring(t, second).Decode(after, now); err != nil {
		t.Errorf("the new key does not sign: %v", err)
	}
}

func TestEveryByteCounts(t *testing.T) {
	r := ring(t, key("a", 1))
	s := encode(t, r, data())
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for _, bit := range []byte{1, 0x20, 0x80} {
			b := bytes.Clone(raw)
			b[i] ^= bit
			if _, err := r.Decode(base64.RawURLEncoding.EncodeToString(b), now); !errors.Is(err, state.ErrInvalid) {
				t.Fatalf("byte %d flipped by %#x: %v", i, bit, err)
			}
		}
	}
	for n := range len(s) {
		if _, err := r.Decode(s[:n], now); !errors.Is(err, state.ErrInvalid) {
			t.Fatalf("truncated to %d: %v", n, err)
		}
	}
}

func TestRefused(t *testing.T) {
	r := ring(t, key("a", 1))
	d := data()
	raw, err := base64.RawURLEncoding.DecodeString(encode(t, r, d))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	b64 := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for name, s := range map[string]string{
		"empty":           "",
		"unsigned":        b64(fmt.Sprintf(`{"session_id":%q,"random":%q}`, d.SessionID, d.Random)),
		"a megabyte":      strings.Repeat("A", 1<<20),
		"padded":          b64(text) + "==",
		"a line's end":    b64(text) + "\n",
		"lines":           b64(text)[:9] + "\r\n" + b64(text)[9:],
		"doubled member":  b64(strings.Replace(text, `{`, `{"session_id":"other",`, 1)),
		"unknown member":  b64(strings.Replace(text, `{`, `{"extra":"x",`, 1)),
		"something after": b64(text + "{}"),
		"array":           b64("[" + text + "]"),
		"number as text":  b64(strings.Replace(text, `"v":1`, `"v":"1"`, 1)),
		"null":            b64(strings.Replace(text, `"v":1`, `"v":null`, 1)),
		"no mac":          b64(text[:strings.Index(text, `,"mac"`)] + "}"),
		"empty mac":       b64(text[:strings.Index(text, `"mac"`)] + `"mac":""}`),
	} {
		if got, err := r.Decode(s, now); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	other := ring(t, key("a", 9)) // the id of the key, and another secret
	if _, err := other.Decode(b64(text), now); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("another secret: %v", err)
	}
	if _, err := r.Decode(b64(text), now.Add(state.Lifetime)); !errors.Is(err, state.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

func TestKeysAreChecked(t *testing.T) {
	for name, keys := range map[string][]state.Key{
		"none":  {},
		"short": {{ID: "a", Secret: make([]byte, 31)}},
		"twice": {key("a", 1), key("a", 2)},
		"no id": {key("", 1)},
	} {
		if _, err := state.NewRing(keys...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSealedAnswerBelongsToItsFlow(t *testing.T) {
	r, d := ring(t, key("b", 2), key("a", 1)), data()
	iss := "https://issuer.example"
	a := state.Answer{State: "s", Code: "canary-code", Issuer: &iss}
	one, err := r.Seal(d, a)
	if err != nil {
		t.Fatal(err)
	}
	two, err := r.Seal(d, a)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one, two) || bytes.Contains(one, []byte("canary")) {
		t.Error("the seal shows what is inside")
	}
	got, err := ring(t, key("b", 2)).Open(d, one)
	if err != nil || got.Code != a.Code || got.Issuer == nil || *got.Issuer != iss {
		t.Fatalf("Open = %#v, %v", got, err)
	}
	for name, change := range map[string]func(*state.Data){
		"tenant":     func(d *state.Data) { d.Tenant = "globex" },
		"session":    func(d *state.Data) { d.SessionID = "s-2" },
		"connection": func(d *state.Data) { d.Connection = "other" },
		"flow":       func(d *state.Data) { d.Flow = state.NewRandom() },
	} {
		other := d
		change(&other)
		if _, err := r.Open(other, one); err == nil {
			t.Errorf("opened for another %s", name)
		}
		if r.IsCookie(other, r.Cookie(d)) || r.IsVerifier(other, r.Verifier(d)) {
			t.Errorf("cookie or verifier fits another %s", name)
		}
	}
	for i := range one {
		b := bytes.Clone(one)
		b[i] ^= 1
		if _, err := r.Open(d, b); err == nil {
			t.Fatalf("byte %d flipped and opened", i)
		}
	}
	for n := range len(one) {
		if _, err := r.Open(d, one[:n]); err == nil {
			t.Fatalf("truncated to %d and opened", n)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v %s", a, a, a, a); strings.Contains(text, "canary") {
		t.Errorf("printed: %s", text)
	}
}

func FuzzDecode(f *testing.F) {
	r, err := state.NewRing(key("a", 1))
	if err != nil {
		f.Fatal(err)
	}
	s, err := r.Encode(data())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s)
	f.Add("e30")
	f.Fuzz(func(t *testing.T, in string) {
		if d, err := r.Decode(in, now); err == nil && in != s {
			t.Errorf("%q is accepted: %+v", in, d)
		}
		_, _ = state.DecodeSessionIDFromState(in) // does not panic
	})
}

package holdfast

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// filled returns an event of the type with something in every member.
func filled(t *testing.T, typ string) Event {
	t.Helper()
	e := registry[typ]()
	fill(t, reflect.ValueOf(e).Elem())
	e.setAgent("root")
	return e
}

func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
		return
	case json.RawMessage:
		v.SetBytes([]byte(`{"k":[1,"x"]}`))
		return
	case []byte:
		v.SetBytes([]byte("bytes"))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"k": "v"}))
	case reflect.String:
		v.SetString("text \"<é>\"")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(0.25)
	default:
		t.Fatalf("a member of kind %s: teach the test to fill it", v.Kind())
	}
}

func types() []string {
	var out []string
	for typ := range registry {
		out = append(out, typ)
	}
	slices.Sort(out)
	return out
}

// TestGolden holds the wire form of every event, empty and filled: names and
// meanings are for ever, so a change of this file breaks somebody's client.
func TestGolden(t *testing.T) {
	var got bytes.Buffer
	for _, typ := range types() {
		for _, e := range []Event{registry[typ](), filled(t, typ)} {
			line, err := MarshalEvent(e)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(line)
			got.WriteByte('\n')
		}
	}
	const file = "testdata/events.jsonl"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("wire forms (-want +got):\n%s", diff)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, typ := range types() {
		e := filled(t, typ)
		if e.EventType() != typ || e.GetAgentName() != "root" {
			t.Errorf("%s: type %q, agent %q", typ, e.EventType(), e.GetAgentName())
		}
		line, err := MarshalEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		direct, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(line, &a) != nil || json.Unmarshal(direct, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: json.Marshal says something else than MarshalEvent", typ)
		}
		back, err := UnmarshalEvent(line)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back, cmp.AllowUnexported()); diff != "" {
			t.Errorf("%s over the wire (-sent +read):\n%s", typ, diff)
		}
		payload, err := MarshalPayload(e)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := UnmarshalPayload(typ, "root", payload)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, stored); diff != "" {
			t.Errorf("%s over the log (-stored +read):\n%s", typ, diff)
		}
		if bytes.Contains(payload, []byte(`"agent_name"`)) {
			t.Errorf("%s: the stored form repeats the agent: %s", typ, payload)
		}
	}
}

// TestContractMembers: clients of the original read these members without
// looking whether they are there.
func TestContractMembers(t *testing.T) {
	members := map[string][]string{
		TypeUserMessage: {"message"}, TypeAgentChoice: {"content"}, TypeAgentChoiceReasoning: {"content"},
		TypePartialToolCall: {"tool_call"}, TypeToolCall: {"tool_call"}, TypeToolCallConfirmation: {"tool_call"},
		TypeToolCallResponse: {"tool_call", "response", "tool_call_id", "result"}, TypeTokenUsage: {"usage"},
		TypeSessionTitle: {"title"}, TypeSessionSummary: {"summary"}, TypeSessionCompaction: {"status"},
		TypeAuthorizationRequired: {"server_url", "server_type", "confirmation"}, TypeShellOutput: {"output", "error"}, TypeError: {"error"},
	}
	for typ, names := range members {
		line, err := MarshalEvent(registry[typ]()) // nothing set
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if v, ok := m[n]; !ok || string(v) == "null" {
				t.Errorf("%s: member %q is %s in %s", typ, n, v, line)
			}
		}
	}
	line := AppendWire(nil, TypeStreamStarted, "root", "s-1", []byte("{}"))
	if got := string(line); got != `{"type":"stream_started","agent_name":"root","session_id":"s-1"}` {
		t.Errorf("stream_started: %s", got)
	}
}

func TestUnknownPassesThrough(t *testing.T) {
	line := []byte(`{ "type":"from_the_future", "n": 1.50, "agent_name":"root","x":{"b":[ ],"a":"\u00e9"} }`)
	e, err := UnmarshalEvent(line)
	if err != nil {
		t.Fatal(err)
	}
	u, ok := e.(*UnknownEvent)
	if !ok || u.Type != "from_the_future" || u.GetAgentName() != "root" {
		t.Fatalf("got %#v", e)
	}
	if back, err := MarshalEvent(e); err != nil || !bytes.Equal(back, line) {
		t.Errorf("wire: %s, %v", back, err)
	}
	payload := []byte(`{"n": 1.50,  "x":"y"}`)
	if e, err = UnmarshalPayload("from_the_future", "root", payload); err != nil {
		t.Fatal(err)
	}
	if back, err := MarshalPayload(e); err != nil || !bytes.Equal(back, payload) {
		t.Errorf("log: %s, %v", back, err)
	}
}

func TestNotEvents(t *testing.T) {
	for _, in := range []string{"", "null", "[]", "1", `"x"`, "{}", `{"type":1}`, `{"type":null}`, `{"type":"user_message","message":{}}`, `{"type":"error"`} {
		if e, err := UnmarshalEvent([]byte(in)); err == nil {
			t.Errorf("%q was read as %#v", in, e)
		}
	}
}

func TestErrors(t *testing.T) {
	inner := os.ErrNotExist
	err := WrapError(CodeUnavailable, inner, "the store is away")
	if CodeOf(err) != CodeUnavailable || PublicMessage(err) != "the store is away" || !strings.Contains(err.Error(), inner.Error()) {
		t.Errorf("%v", err)
	}
	if CodeOf(inner) != CodeInternal || strings.Contains(PublicMessage(inner), "exist") || CodeOf(nil) != "" {
		t.Error("an error without a code shows its inside")
	}
	if !CodeUnavailable.Retryable() || CodeInvalid.Retryable() {
		t.Error("Retryable")
	}
}

func TestIDs(t *testing.T) {
	for _, id := range []string{"a", "A-1_b", NewID(), DeriveID("x", "y"), strings.Repeat("x", MaxIDLength)} {
		if err := ValidateID("id", id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"", "a.b", "a b", "a*", "a>", "é", "a/b", "a\n", strings.Repeat("x", MaxIDLength+1)} {
		if err := ValidateID("id", id); CodeOf(err) != CodeInvalid {
			t.Errorf("%q: %v", id, err)
		}
	}
	if DeriveID("ab", "c") == DeriveID("a", "bc") {
		t.Error("parts run together")
	}
}

// FuzzUnmarshalEvent: whatever comes, the decoder does not panic, and what it
// has read it writes so that it reads the same again.
func FuzzUnmarshalEvent(f *testing.F) {
	golden, err := os.ReadFile("testdata/events.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(golden) {
		f.Add(bytes.TrimSpace(line))
	}
	f.Add([]byte(`{"type":"x","agent_name":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := UnmarshalEvent(line)
		if err != nil {
			return
		}
		out, err := MarshalEvent(e)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", line, err)
		}
		again, err := UnmarshalEvent(out)
		if err != nil {
			t.Fatalf("%q was written as %q, which cannot be read: %v", line, out, err)
		}
		third, err := MarshalEvent(again)
		if err != nil || !bytes.Equal(out, third) {
			t.Fatalf("%q is not stable: %q, %v", out, third, err)
		}
	})
}

package modeltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
)

// diffJSON tells how two JSON texts differ, "" if only in order of members and
// white space.
func diffJSON(got, want []byte) string {
	var g, w any
	if err := unmarshal(got, &g); err != nil {
		return fmt.Sprintf("the body is not JSON: %v\n%s", err, got)
	}
	if err := unmarshal(want, &w); err != nil {
		return fmt.Sprintf("the wanted body is not JSON: %v", err)
	}
	if d := cmp.Diff(w, g); d != "" {
		return "(-want +got)\n" + d + "\ngot " + string(got)
	}
	return ""
}

// unmarshal keeps numbers as they are written: 0 is not 0.0 on every provider's
// side, and large ones lose nothing.
func unmarshal(b []byte, v any) error {
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one value")
	}
	return nil
}

func (w *Want) check(t *testing.T, a *Answer, err error, took time.Duration) {
	t.Helper()
	if a.Text != w.Text {
		t.Errorf("text is %q, want %q", a.Text, w.Text)
	}
	if a.Reasoning != w.Reasoning {
		t.Errorf("reasoning is %q, want %q", a.Reasoning, w.Reasoning)
	}
	if a.Refusal != w.Refusal {
		t.Errorf("refusal is %v, want %v", a.Refusal, w.Refusal)
	}
	if a.Finish != w.Finish {
		t.Errorf("finish reason is %q, want %q", a.Finish, w.Finish)
	}
	if d := cmp.Diff(w.Usage, a.Usage); d != "" {
		t.Errorf("usage (-want +got)\n%s", d)
	}
	if a.Model != w.Model {
		t.Errorf("model is %q, want %q", a.Model, w.Model)
	}
	w.checkCalls(t, a.ToolCalls)
	switch {
	case w.Opaque == nil && a.Opaque != nil:
		t.Errorf("unexpected opaque %s", a.Opaque)
	case w.Opaque != nil:
		if d := diffJSON(a.Opaque, w.Opaque); d != "" {
			t.Errorf("opaque: %s", d)
		}
	}
	w.checkError(t, err)
	w.checkTime(t, took)
}

func (w *Want) checkCalls(t *testing.T, calls []holdfast.ToolCall) {
	t.Helper()
	if len(calls) != len(w.ToolCalls) {
		t.Errorf("%d tool calls, want %d: %+v", len(calls), len(w.ToolCalls), calls)
		return
	}
	for i, want := range w.ToolCalls {
		got := calls[i]
		if want.ID != "*" && got.ID != want.ID || got.Function.Name != want.Name || got.Function.Arguments != want.Arguments {
			t.Errorf("tool call %d is %+v, want %+v", i, got, want)
		}
	}
}

func (w *Want) checkError(t *testing.T, err error) {
	t.Helper()
	if w.Error == nil {
		if err != nil {
			t.Errorf("error %v (%s)", err, holdfast.CodeOf(err))
		}
		return
	}
	if err == nil {
		t.Errorf("no error, want code %s", w.Error.Code)
		return
	}
	CheckSecrets(t, err)
	if code := holdfast.CodeOf(err); code != w.Error.Code {
		t.Errorf("error has code %s, want %s: %v", code, w.Error.Code, err)
	}
	msg := holdfast.PublicMessage(err)
	for _, s := range w.Error.Says {
		if !strings.Contains(msg, s) {
			t.Errorf("message %q does not say %q", msg, s)
		}
	}
	for _, s := range w.Error.Hides {
		if strings.Contains(msg, s) {
			t.Errorf("message %q says %q", msg, s)
		}
	}
}

// CheckSecrets fails if an error shows the key, whole or in part, or is not
// coded.
func CheckSecrets(t *testing.T, err error) {
	t.Helper()
	var e *holdfast.Error
	if !errors.As(err, &e) {
		t.Errorf("error without a code: %v", err)
	}
	for _, s := range []string{err.Error(), fmt.Sprintf("%+v", err), holdfast.PublicMessage(err)} {
		if strings.Contains(s, Key) || strings.Contains(s, Key[:len(Key)/2]) {
			t.Errorf("error shows the key: %s", s)
		}
	}
}

// backoff is the longest that the pauses of a back-off may take together.
const backoff = 30 * time.Second

func (w *Want) checkTime(t *testing.T, took time.Duration) {
	t.Helper()
	if w.Waits == "" {
		most := time.Duration(0)
		if w.exchanges > 1 {
			most = backoff
		}
		if took > most {
			t.Errorf("took %s, want at most %s", took, most)
		}
		return
	}
	least, err := time.ParseDuration(w.Waits)
	if err != nil {
		t.Fatal(err)
	}
	if most := least + least/10 + 2*time.Second; took < least || took > most {
		t.Errorf("took %s, want %s to %s", took, least, most)
	}
}

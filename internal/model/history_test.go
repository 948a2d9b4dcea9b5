package model_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/model"
)

func TestDataURL(t *testing.T) {
	for in, want := range map[string]string{
		"data:image/png;base64,iVBO":       "image/png iVBO",
		"data:image/png;name=a;base64,iVB": "image/png iVB",
		"data:,a%20b":                      "text/plain YSBi",
		"data:text/html;charset=utf-8,<p>": "text/html PHA+",
		"data:text/plain,%zz":              "",
		"data:nothing":                     "",
		"https://x.test/a.png":             "",
	} {
		mediaType, content, ok := model.DataURL(in)
		if got := strings.TrimSpace(mediaType + " " + content); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", in, got, ok, want)
		}
	}
}

func TestArgumentsObject(t *testing.T) {
	for in, want := range map[string]string{
		"": `{}`, " \n": `{}`, ` {"a":1} `: `{"a":1}`, `{"a`: `{"invalid_arguments":"{\"a"}`, `[1]`: `{"invalid_arguments":"[1]"}`,
	} {
		if got := string(model.ArgumentsObject(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestSafeID(t *testing.T) {
	if got := model.SafeID("functions.f:0", 64); got != "functions_f_0" {
		t.Error(got)
	}
	if got := model.SafeID(strings.Repeat("a", 70)+"bc", 4); got != "aabc" {
		t.Error(got)
	}
}

func TestObject(t *testing.T) {
	var o model.Object
	if !o.Empty() || string(o.Close()) != "{}" {
		t.Error("the empty object")
	}
	zero := 0.0
	o.String("s", "<\"\x01\u2028\xff>")
	o.StringIf("none", "")
	o.FloatIf("f", &zero)
	o.FloatIf("no", nil)
	o.Bool("b", true)
	o.Raw("r", []byte("[1]"))
	if err := o.Any("a", map[string]int{"x": 1}); err != nil {
		t.Error(err)
	}
	if err := o.Any("bad", func() {}); err == nil {
		t.Error("a function is JSON")
	}
	const want = `{"s":"<\"\u0001` + "\u2028\ufffd" + `>","f":0,"b":true,"r":[1],"a":{"x":1}}`
	if got := string(o.Close()); got != want || !json.Valid([]byte(got)) || !o.Has("f") || o.Has("no") {
		t.Errorf("%s, want %s", got, want)
	}
	// Closing an object does not spoil it for what is added later.
	open := o.Open()
	o.Int("i", 7)
	if string(open)+`,"i":7}` != string(o.Close()) {
		t.Errorf("%s", o.Close())
	}
}

func TestCallName(t *testing.T) {
	for name, want := range map[string]string{
		"get_weather": "get_weather", "": "_", "functions.get<|x|>": "functions_get__x__", "größe": "gr__e",
		strings.Repeat("n", 65): strings.Repeat("n", 64),
	} {
		if got := model.CallName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// FuzzString: every text becomes a JSON string that means the same as
// encoding/json's.
func FuzzString(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\n\r\t\x00\x1f\x7f<>& ☔\u2028\xff\xc3\x28")
	f.Fuzz(func(t *testing.T, s string) {
		var got, want string
		if err := json.Unmarshal(model.AppendString(nil, s), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &want); err != nil || got != want {
			t.Fatalf("%q, encoding/json %q %v", got, want, err)
		}
	})
}

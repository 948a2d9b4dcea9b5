package runtime

import (
	"encoding/json"
	"testing"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// A model that leaves out what comes before the names of a server's tools is
// understood, unless several tools have the rest of the name.
func TestFindByTheServersName(t *testing.T) {
	box := &toolbox{tools: map[string]boxed{}}
	for name, remote := range map[string]string{"bank_pay": "pay", "shop_pay": "pay", "bank_read": "read", "think": ""} {
		box.put(boxed{def: tool.Definition{Name: name, Remote: remote}})
	}
	for _, c := range []struct {
		name  string
		exact bool
		want  string
	}{
		{"bank_pay", false, "bank_pay"},
		{"bank_pay", true, "bank_pay"},
		{"read", false, "bank_read"},
		{"read", true, ""},
		{"pay", false, ""}, // of the bank, or of the shop?
		{"think", false, "think"},
		{"", false, ""},
		{"nothing", false, ""},
	} {
		found, known := box.find(c.name, c.exact)
		if found.def.Name != c.want || known != (c.want != "") {
			t.Errorf("%q (exact: %t) is %q, %t; want %q", c.name, c.exact, found.def.Name, known, c.want)
		}
	}
}

// What a tool would understand all the same is no way around a hook that looks for
// the name in the schema.
func TestMisspelledArguments(t *testing.T) {
	const schema = `{"type":"object","properties":{"cmd":{"type":"string"},"cwd":{"type":"string"}}}`
	for arguments, want := range map[string]string{
		`{"cmd":"ls"}`:            "",
		`{"cmd":"ls","other":1}`:  "",
		``:                        "",
		`{}`:                      "",
		`{"Cmd":"ls"}`:            `There is no argument "Cmd"; it is called "cmd".`,
		`{"command":"ls"}`:        `There is no argument "command"; it is called "cmd".`,
		`{"COMMAND":"ls"}`:        `There is no argument "COMMAND"; it is called "cmd".`,
		`{"cmd":"a","cmd":"b"}`:   `The argument "cmd" is there twice.`,
		`{"cmd":"a","CWD":"/"}`:   `There is no argument "CWD"; it is called "cwd".`,
		`{"cwd":{"cmd":1,"c":2}}`: "",
	} {
		if got := misspelled(arguments, json.RawMessage(schema)); got != want {
			t.Errorf("%s: %q, want %q", arguments, got, want)
		}
	}
}

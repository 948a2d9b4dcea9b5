package agent

import "testing"

func TestDecide(t *testing.T) {
	const file = `
agents: {root: {model: openai/x}}
permissions:
  allow: ["read_*", "shell:cmd=ls*", "shell:cmd=make test", "mcp:github:get_*", "fetch:url=https://docs.*:method=GET", "write:n=1", "glob:p=[a-c]?\\*", "any:cmd=*"]
  ask: ["read_secret", "fetch", "list_*"]
  deny: ["shell:cmd=rm *", "*:path=/etc/*", "delete_*"]
`
	team, err := Parse("p.yaml", []byte(file), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		tool, args string
		want       Verdict
	}{
		{"read_file", `{}`, Allow},
		{"READ_FILE", ``, Allow},
		{"read_secret", `{}`, Allow}, // allow is looked at before ask
		{"read_file", `{"path":"/etc/passwd"}`, Deny},
		{"read_file", `{"path":"/home"}`, Allow},
		{"write_file", `{}`, Unset},
		{"shell", `{"cmd":"ls -l"}`, Allow},
		{"shell", `{"cmd":"ls; rm -rf /"}`, Unset},
		{"shell", `{"cmd":"ls $(reboot)"}`, Unset},
		{"shell", `{"cmd":"ls\nreboot"}`, Unset},
		{"shell", `{"cmd":"ls && reboot"}`, Unset},
		{"shell", `{"cmd":"make test"}`, Allow},
		{"shell", `{"cmd":"make test2"}`, Unset},
		{"any", `{"cmd":"a; b"}`, Allow},
		{"shell", `{"cmd":"RM -rf\n/"}`, Deny},
		{"shell", `{}`, Unset},
		// A tool takes a name in any case, and of two with one name the last.
		{"shell", `{"CMD":"rm -rf /"}`, Deny},
		{"shell", `{"cmd":"ls","CMD":"reboot"}`, Deny},
		{"shell", `{"cmd":"ls","cmd":"ls"}`, Deny}, // cannot be read: nobody allows it
		{"shell", `{"Cmd":"ls -l"}`, Allow},
		{"shell", `{"command":"rm -rf /"}`, Deny},
		{"shell", `{"cmd":"ls","command":"rm -rf /"}`, Deny},
		{"shell", `{"cmd":"ls","command":"reboot"}`, Unset},
		{"shell", `{"command":"ls -l"}`, Allow},
		{"write_files", `{"path":"/home","path\u017f":"/etc/passwd"}`, Deny}, // Go takes the long s for an s
		{"write_files", `{"paths":["/home","/etc/passwd"]}`, Deny},
		{"write_files", `{"paths":"[\"/etc/passwd\"]"}`, Deny},
		{"write_files", `{"paths":"/etc/passwd"}`, Deny},
		{"write_files", `{"paths":["/home"]}`, Unset},
		{"fetch", `{"url":["https://docs.a","https://docs.b"],"method":"GET"}`, Allow},
		{"fetch", `{"url":["https://docs.a","https://evil.b"],"method":"GET"}`, Ask},
		{"shell", `{"cmd":`, Deny},
		{"mcp:github:get_issue", `{}`, Allow},
		{"fetch", `{"url":"https://docs.example.com/a:b","method":"get"}`, Allow},
		{"fetch", `{"url":"https://other.example.com","method":"GET"}`, Ask},
		{"write", `{"n":1}`, Allow},
		{"write", `{"n":1.0}`, Unset},
		{"glob", `{"p":"bx*"}`, Allow},
		{"glob", `{"p":"dx*"}`, Unset},
		{"glob", `{"p":"bxy"}`, Unset},
		{"list_all", ``, Ask},
		{"delete_all", `{}`, Deny},
	} {
		if got, rule := team.Permissions.Decide(tc.args, tc.tool); got != tc.want {
			t.Errorf("%s %s: %q by %q, want %q", tc.tool, tc.args, got, rule, tc.want)
		}
	}
	if got, _ := team.Permissions.Decide("{}", "get_issue", "mcp:github:get_issue"); got != Allow {
		t.Errorf("a rule for one of two names says %q", got)
	}
	var none *Permissions
	if got, _ := none.Decide("{}", "x"); got != Unset {
		t.Errorf("no permissions say %q", got)
	}
}

// However a rule of allow spells the argument, it lets a single command through.
func TestAllowIsForASingleCommand(t *testing.T) {
	for _, name := range []string{"cmd", "Cmd", "COMMAND"} {
		team, err := Parse("p.yaml", []byte("agents: {root: {model: openai/x}}\npermissions: {allow: ['shell:"+name+"=ls*']}\n"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := team.Permissions.Decide(`{"cmd":"ls -l"}`, "shell"); got != Allow {
			t.Errorf("%s: a command that fits is %v", name, got)
		}
		if got, _ := team.Permissions.Decide(`{"cmd":"ls; reboot"}`, "shell"); got == Allow {
			t.Errorf("%s: a second command is allowed", name)
		}
	}
}

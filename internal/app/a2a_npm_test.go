package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// a2aSeen is a task as testdata/a2a/client.mjs tells of it.
type a2aSeen struct {
	ID, Context, State, Said string
	History                  []string
}

// a2aHeard is a stream: how often the whole task came, what was said in all, and the
// states after that.
type a2aHeard struct {
	ID, Said string
	Tasks    int
	States   []string
}

// a2aScenes is what came of one client's scenes.
type a2aScenes struct {
	Hello, Asked, Done, Again, Got, Short, Slow, Canceled, Own     a2aSeen
	Needs                                                          []struct{ Kind, ID, Tool string }
	Stream, Back, Through                                          a2aHeard
	Wrong, Strayed, Over, Lost, Twice, Stranger                    string
	Heard                                                          []string
	Before                                                         int
	Resubscribed, OwnContext, BadPage, Push, Card, Version, Tenant string
	Pages                                                          []struct {
		Total, Size int
		Tasks       []a2aSeen
	}
	Waiting, Others []a2aSeen
	Listed          []string
}

// TestA2AClients: the protocol's official clients for node, of 0.3 over JSON-RPC
// and of 1.0 over both bindings, do the same with the same agents: messages,
// streams, approvals, cancellation, a lost connection; and each is refused by name
// what is not its own or not offered.
func TestA2AClients(t *testing.T) {
	tools, err := testenv.NPM("a2a", os.DirFS(filepath.Join("testdata", "a2a")))
	if err != nil {
		t.Fatal(err)
	}
	base := startFacades(t)
	putSleeper(t, base)
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join("testdata", "a2a", "client.mjs"), filepath.Join(tools, "node_modules"), base, facadeKey, "another-key-of-other")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var all struct {
		V0, V1, V1rest a2aScenes
		Both           string
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if all.Both != "1.0" {
		t.Errorf("a client of both versions takes %s", all.Both)
	}
	// Refusals by the client's own names; those of 0.3 are texts.
	for name, c := range map[string]struct {
		s    a2aScenes
		over string
	}{
		"0.3":                {all.V0, "the task is over"},
		"1.0 over JSON-RPC":  {all.V1, "UnsupportedOperationError"},
		"1.0 over HTTP+JSON": {all.V1rest, "UnsupportedOperationError"},
	} {
		t.Run(name, func(t *testing.T) {
			checkA2AScenes(t, &c.s, c.over)
			if name != "0.3" {
				checkA2A1(t, &c.s)
			}
		})
	}
}

// putSleeper stores an agent that would take 20 s to its end.
func putSleeper(t *testing.T, base string) {
	t.Helper()
	sleeper := strings.Replace(fmt.Sprintf(talkerFile, numbered()), "5ms", "100ms", 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/v1/agents/sleeper", strings.NewReader(sleeper))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+facadeKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusCreated {
		t.Fatalf("the sleeper: %s", resp.Status)
	}
}

func checkA2AScenes(t *testing.T, s *a2aScenes, over string) {
	check := func(ok bool, what string, got any) {
		t.Helper()
		if !ok {
			data, _ := json.Marshal(got) //nolint:errchkjson // for a person
			t.Errorf("%s: %.2000s", what, data)
		}
	}
	check(s.Hello.State == "done" && s.Hello.Said != "" && slices.Equal(s.Hello.History, []string{"hello"}), "a message", s.Hello)
	check(s.Asked.State == "asked" && len(s.Needs) == 1 && s.Needs[0].Kind == "approval" && s.Needs[0].Tool == "add_memory", "a task that asks", s.Needs)
	check(s.Wrong != "", "an answer that is none", s.Wrong)
	check(strings.Contains(s.Strayed, "the task is in another context"), "an answer in another context", s.Strayed)
	check(s.Done.ID == s.Asked.ID && s.Done.State == "done" && strings.HasPrefix(s.Done.Said, "For that I need your approval.|The tool said:"), "answered", s.Done)
	check(s.Again.ID == s.Done.ID && s.Again.State == "done" && s.Again.Said == s.Done.Said, "the same answer again", s.Again)
	check(strings.Contains(s.Over, over), "a message to a task that is over", s.Over)
	check(s.Got.Said == s.Done.Said && s.Got.State == "done" && slices.Equal(s.Got.History, []string{"remember the milk"}), "read again", s.Got)
	check(len(s.Short.History) == 0 && s.Short.Said == s.Done.Said, "read without history", s.Short)
	check(s.Stream.Said == numbered() && s.Stream.Tasks == 1 && s.Stream.States[len(s.Stream.States)-1] == "done", "streamed", s.Stream.States)
	check(s.Lost != "" && s.Before > 0 && s.Before < len(numbered()), "a lost connection", []any{s.Lost, s.Before})
	check(s.Back.Said == numbered() && s.Back.Tasks == 1 && s.Back.States[len(s.Back.States)-1] == "done", "the rest of it", s.Back.States)
	check(s.Slow.State != "done", "a task that is not waited for", s.Slow)
	check(s.Canceled.ID == s.Slow.ID && s.Canceled.State == "canceled", "canceled", s.Canceled)
	check(len(s.Heard) > 0 && s.Heard[len(s.Heard)-1] == "canceled", "who listened", s.Heard)
	check(strings.Contains(s.Twice, "TaskNotCancelable") || strings.Contains(s.Twice, "cannot be canceled"), "canceled twice", s.Twice)
	check(strings.Contains(s.Stranger, "TaskNotFound"), "another tenant's task", s.Stranger)
}

func checkA2A1(t *testing.T, s *a2aScenes) {
	check := func(ok bool, what string, got any) {
		t.Helper()
		if !ok {
			data, _ := json.Marshal(got) //nolint:errchkjson // for a person
			t.Errorf("%s: %.2000s", what, data)
		}
	}
	check(strings.HasPrefix(s.Resubscribed, "UnsupportedOperationError"), "a subscription to a task that is over", s.Resubscribed)
	check(s.Own.Context == s.OwnContext && s.Own.State == "done", "a context of the client's own", s.Own)
	check(len(s.Pages) == 2 && len(s.Pages[0].Tasks) == 2 && len(s.Pages[1].Tasks) == 1 && s.Pages[0].Total == 3 && s.Pages[0].Size == 2, "pages", s.Pages)
	var states, ids []string
	for _, p := range s.Pages {
		for _, one := range p.Tasks {
			states, ids = append(states, one.State), append(ids, one.ID)
			check(one.Said == "", "a list without artifacts", one)
		}
	}
	check(slices.Equal(states, []string{"asked", "done", "done"}) && ids[2] == s.Own.ID, "the newest first", states)
	check(len(s.Waiting) == 1 && s.Waiting[0].ID == ids[0] && s.Waiting[0].Said != "", "tasks that wait, with artifacts", s.Waiting)
	check(slices.Contains(s.Listed, s.Own.ID) && slices.Contains(s.Listed, s.Done.ID), "all contexts", s.Listed)
	check(len(s.Others) == 0, "another tenant's list", s.Others)
	check(strings.HasPrefix(s.BadPage, "RequestMalformedError"), "a page that is too large", s.BadPage)
	check(strings.HasPrefix(s.Push, "PushNotificationNotSupportedError"), "push notifications", s.Push)
	check(strings.HasPrefix(s.Card, "UnsupportedOperationError"), "an extended card", s.Card)
	check(strings.HasPrefix(s.Version, "VersionNotSupportedError"), "a version of the future", s.Version)
	// Over HTTP+JSON a tenant is a path, and there is none.
	check(strings.HasPrefix(s.Tenant, "TaskNotFoundError") || strings.Contains(s.Tenant, "404"), "another tenant", s.Tenant)
	check(s.Through.Tasks == 1 && slices.Contains(s.Through.States, "working") && s.Through.States[len(s.Through.States)-1] == "done", "a task that waited, to its end", s.Through.States)
}

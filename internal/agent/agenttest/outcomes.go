package agenttest

import (
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// Outcomes checks that a version whose outcome its writer does not know is made
// once when the same request comes again, with the same condition. fail lets the
// next write be reported as failed with CodeUnavailable, after it has happened or
// before.
func Outcomes(t *testing.T, s agent.Store, fail func(happened bool)) {
	for name, happened := range map[string]bool{"failed and did not happen": false, "failed and did happen": true} {
		t.Run(name, func(t *testing.T) { outcomes(t, s, happened, fail) })
	}
}

func outcomes(t *testing.T, s agent.Store, happened bool, fail func(happened bool)) {
	ctx := t.Context()
	tenant := map[bool]string{false: "one", true: "two"}[happened]
	wantCode := func(what string, err error, code holdfast.Code) {
		t.Helper()
		if holdfast.CodeOf(err) != code {
			t.Fatalf("%s: %v, want %q", what, err, code)
		}
	}
	source := func(d string) []byte {
		return []byte("version: \"2\"\nagents:\n  root:\n    model: scripted/x\n    description: " + d + "\n    instruction: i\n")
	}

	// The store itself: who asks again learns that the number is taken.
	r := agent.Revision{Name: "raw.yaml", Source: source("raw"), Digest: agent.Digest(source("raw")), CreatedAt: time.Now().UTC().Truncate(time.Microsecond), Origin: "put"}
	fail(happened)
	wantCode("store", s.PutRevision(ctx, tenant, r, 0), holdfast.CodeUnavailable)
	again := holdfast.Code("")
	if happened {
		again = holdfast.CodeConflict
	}
	wantCode("store again", s.PutRevision(ctx, tenant, r, 0), again)

	l := agent.NewLibrary(s, agent.Builtin(nil, agent.Options{}), agent.Options{})
	put := func(d string, c agent.Condition) (agent.File, error) {
		f, _, err := l.Put(ctx, tenant, "mine", source(d), "put", c)
		return f, err
	}
	// unsure makes a change that fails, and then again.
	unsure := func(what string, version int64, change func() (agent.File, error)) agent.File {
		t.Helper()
		fail(happened)
		_, err := change()
		wantCode(what, err, holdfast.CodeUnavailable)
		f, err := change()
		wantCode(what+" again", err, "")
		if f.Version != version {
			t.Fatalf("%s again: version %d, want %d", what, f.Version, version)
		}
		return f
	}
	first := unsure("create", 1, func() (agent.File, error) { return put("first", agent.Condition{}) })
	second := unsure("replace", 2, func() (agent.File, error) { return put("second", agent.Condition{Match: first.ETag()}) })
	third := unsure("edit", 3, func() (agent.File, error) {
		patch := map[string]any{"agents": map[string]any{"root": map[string]any{"description": "third"}}}
		return l.Edit(ctx, tenant, "mine", patch, agent.Condition{Match: second.ETag()})
	})
	// Whoever wants something else of an old version is still refused.
	_, err := put("other", agent.Condition{Match: second.ETag()})
	wantCode("a lost update", err, holdfast.CodeStale)
	_, err = put("third", agent.Condition{Match: third.ETag(), NoneMatch: "*"})
	wantCode("a file that is there", err, holdfast.CodeStale)
	fail(happened)
	wantCode("delete", l.Delete(ctx, tenant, "mine", agent.Condition{}), holdfast.CodeUnavailable)
	if happened {
		again = holdfast.CodeNotFound
	}
	wantCode("delete again", l.Delete(ctx, tenant, "mine", agent.Condition{}), again)
	list, err := l.Revisions(ctx, tenant, "mine", 0, 10)
	if err != nil || len(list) != 4 || !list[0].Deleted {
		t.Fatalf("versions %+v, %v; want 4", list, err)
	}
}

package client_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// TestCopies: a session goes into a file and back under another id; a file that
// broke off is refused; a session as of an event in its past has nothing later.
func TestCopies(t *testing.T) {
	c := newClient(t)
	doc, err := c.CreateSession(t.Context(), client.NewSession{Agent: "demo", ToolsApproved: true})
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, doc.ID, "hello")
	var file bytes.Buffer
	n, err := c.Export(t.Context(), doc.ID, &file)
	if err != nil || n != int64(file.Len()) || n == 0 {
		t.Fatalf("export: %d bytes, %v", n, err)
	}
	in, err := c.Import(t.Context(), doc.ID+"-copy", bytes.NewReader(file.Bytes()))
	if err != nil || in.ID != doc.ID+"-copy" || in.Seq == 0 {
		t.Fatalf("import: %+v, %v", in, err)
	}
	if _, err := c.Import(t.Context(), doc.ID+"-half", bytes.NewReader(file.Bytes()[:file.Len()/2])); err == nil {
		t.Error("half a file was taken")
	}
	if _, err := c.Export(t.Context(), "nobody", &file); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("export of nothing: %v", err)
	}
	then, err := c.GetSessionAt(t.Context(), doc.ID, 1)
	now, nerr := c.GetSession(t.Context(), doc.ID+"-copy")
	if err != nil || nerr != nil || len(then.Messages) != 0 || len(now.Messages) == 0 {
		t.Errorf("at its beginning %+v, %v; the copy %+v, %v", then, err, now, nerr)
	}
	// The list is of what is stored in the archive, which follows the log.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for found := 0; found != 2; <-tick.C {
		all, err := c.GetSessions(ctx)
		if err != nil {
			t.Fatalf("%d of 2 sessions in the list, %v", found, err)
		}
		found = 0
		for _, s := range all {
			if strings.HasPrefix(s.ID, doc.ID) {
				found++
			}
		}
	}
}

// TestStop: a run that waits is canceled, and what is not under way is an error.
func TestStop(t *testing.T) {
	c := newClient(t)
	doc, err := c.CreateSession(t.Context(), client.NewSession{Agent: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	run, err := c.StartRun(t.Context(), doc.ID, client.NewRun{Messages: []client.Message{{Content: "remember the milk"}}})
	if err != nil {
		t.Fatal(err)
	}
	reason := ""
	for e, err := range c.Events(t.Context(), doc.ID, run.Seq-1) {
		if err != nil {
			t.Fatal(err)
		}
		switch ev := e.Event.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			if s, err := c.Cancel(t.Context(), doc.ID, run.Run); err != nil || s.Run != run.Run {
				t.Errorf("cancel: %+v, %v", s, err)
			}
		case *holdfast.RunFinishedEvent:
			reason = ev.Reason
		}
		if reason != "" {
			break
		}
	}
	if r, err := c.GetRun(t.Context(), doc.ID, run.Run); err != nil || r.Status != "finished" || r.Reason != reason || reason == "" {
		t.Errorf("the run: %+v, %v; the event says %q", r, err, reason)
	}
	if _, err := c.Cancel(t.Context(), doc.ID, ""); holdfast.CodeOf(err) != holdfast.CodeConflict && holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("cancel of nothing: %v", err)
	}
	if _, err := c.Continue(t.Context(), doc.ID, run.Run, 3); err == nil {
		t.Error("a run that has finished goes on")
	}
}

// TestSummarize: a conversation is replaced by its summary, the reader sees the
// events of it, and the caller's session is up to date.
func TestSummarize(t *testing.T) {
	c := newClient(t)
	r, err := client.NewRemoteRuntime(c, client.WithRemoteAgentFilename("demo"))
	if err != nil {
		t.Fatal(err)
	}
	s := holdfast.NewSession("hello")
	s.ToolsApproved = true
	if _, err := r.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	s.AddUserMessage("and again")
	if _, err := r.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	events := make(chan holdfast.Event, 100)
	r.Summarize(t.Context(), s, events)
	close(events)
	seen := map[string]int{}
	for e := range events {
		seen[e.EventType()]++
		if ev, ok := e.(*holdfast.ErrorEvent); ok {
			t.Error(ev.Error)
		}
	}
	if seen[holdfast.TypeSessionSummary] != 1 || seen[holdfast.TypeSessionCompaction] != 2 {
		t.Errorf("events %v", seen)
	}
	if _, err := c.Compact(t.Context(), "nobody"); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("compact nothing: %v", err)
	}
}

// TestResumeReports: an answer that nobody waits for is an error of the stream, and
// the run is not harmed.
func TestResumeReports(t *testing.T) {
	r, err := client.NewRemoteRuntime(newClient(t), client.WithRemoteAgentFilename("demo"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := holdfast.NewSession("remember the milk")
	failed, finished := "", false
	for e := range r.RunStream(ctx, s) {
		switch ev := e.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			r.Resume(ctx, "perhaps")
		case *holdfast.ErrorEvent:
			failed = ev.Error
			r.Resume(ctx, client.ResumeTypeReject)
		case *holdfast.StreamStoppedEvent:
			finished = true
		}
	}
	if failed == "" || !finished {
		t.Errorf("error %q, finished %v", failed, finished)
	}
}

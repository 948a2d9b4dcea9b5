package runtime_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// TestOldLogs: logs that earlier versions wrote, as they exported them, keep every
// rule, and their fold is what it was: stored forms never change. The files are never
// made anew; a version that stores something else adds one.
func TestOldLogs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/logs/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no logs: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			r, err := events.NewCopyReader(f)
			if err != nil {
				t.Fatal(err)
			}
			s, row := runtime.NewState(ref(r.Session)), events.NewRebuilt(ref(r.Session))
			for {
				e, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Fold(&e); err != nil {
					t.Fatal(err)
				}
				if err := row.Apply(&e); err != nil {
					t.Fatal(err)
				}
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%s %s %s, %d messages, %d in, %d out, %d timers, %d kinds of usage\n", row.Info.Title, row.Info.Status, row.Info.Waiting,
				row.Info.NumMessages, row.Info.InputTokens, row.Info.OutputTokens, len(row.Timers), len(row.Usage))
			for _, m := range s.Conversation {
				fmt.Fprintf(&b, "%s: %s\n", m.Role, strings.ReplaceAll(m.Content, "\n", " "))
			}
			if s.Run != nil {
				for _, th := range s.Run.Threads {
					for _, c := range th.Calls {
						fmt.Fprintf(&b, "%s %s %s\n", c.Status, c.Function.Name, c.Function.Arguments)
					}
				}
			}
			want, err := os.ReadFile(strings.TrimSuffix(name, ".jsonl") + ".out")
			if err != nil {
				t.Fatalf("%v; the fold is\n%s", err, b.String())
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

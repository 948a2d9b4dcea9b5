//go:build chaos

package e2e_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestChaosLong rages for CHAOS_DURATION (default 3m).
func TestChaosLong(t *testing.T) {
	chaos(t, chaosDuration(t, 3*time.Minute), 32, programs{})
}

// TestVersions is chaos among processes of two versions, as during a deploy, and
// one that is taken back: a session that one of them has written, the other goes on
// with, in either direction, and what both are told is one log. CHAOS_OLD is the
// folder with the programs of the other version; `make versions OLD=REVISION`
// builds them.
func TestVersions(t *testing.T) {
	dir := os.Getenv("CHAOS_OLD")
	if dir == "" {
		t.Fatal("CHAOS_OLD must be the folder with the programs of another version: make versions OLD=REVISION")
	}
	others := programs{api: filepath.Join(dir, "api"), worker: filepath.Join(dir, "worker")}
	for _, bin := range []string{others.api, others.worker} {
		if _, err := os.Stat(bin); err != nil {
			t.Fatal(err)
		}
	}
	chaos(t, chaosDuration(t, time.Minute), 16, others)
}

// chaosDuration is CHAOS_DURATION.
func chaosDuration(t *testing.T, unset time.Duration) time.Duration {
	s := os.Getenv("CHAOS_DURATION")
	if s == "" {
		return unset
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("CHAOS_DURATION: %v", err)
	}
	return d
}

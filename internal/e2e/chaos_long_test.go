//go:build chaos

package e2e_test

import (
	"os"
	"testing"
	"time"
)

// TestChaosLong rages for CHAOS_DURATION (default 3m).
func TestChaosLong(t *testing.T) {
	duration := 3 * time.Minute
	if s := os.Getenv("CHAOS_DURATION"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatalf("CHAOS_DURATION: %v", err)
		}
	}
	chaos(t, duration, 32)
}

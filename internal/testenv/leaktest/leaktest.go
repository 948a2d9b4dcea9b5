// Package leaktest fails tests that leave goroutines behind. It has what goleak
// has, with more patience: goleak gives goroutines that are about to end less
// than half a second, and on a busy machine that is too short.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end; a leak takes for ever.
const patience = 30 * time.Second

// Find returns an error that shows the goroutines that do not end, nil if all do.
func Find(options ...goleak.Option) error {
	for began := time.Now(); ; {
		// It tries again by itself, with pauses.
		err := goleak.Find(options...)
		if err == nil || time.Since(began) > patience {
			return err
		}
	}
}

// Main runs the tests, looks for what they left behind, and exits.
func Main(m *testing.M, options ...goleak.Option) {
	code := m.Run()
	if code == 0 {
		if err := Find(options...); err != nil {
			fmt.Fprintf(os.Stderr, "after the tests: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

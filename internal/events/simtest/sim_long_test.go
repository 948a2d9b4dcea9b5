//go:build sim

package simtest

import "testing"

// TestSim is the long target, `make sim`.
func TestSim(t *testing.T) {
	t.Run("Protocol", func(t *testing.T) { simulate(t, 10_000, (*World).Run) })
	t.Run("Dispatch", func(t *testing.T) { simulate(t, 2_000, (*World).RunDispatch) })
}

package main

import (
	"os"
	"runtime/debug"
)

// small keeps the embedded mode small: it shares a developer's machine with an
// editor and a browser. GOGC and GOMEMLIMIT, if they are set, are obeyed instead.
func small() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(64 << 20)
	}
}

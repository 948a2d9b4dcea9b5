//go:build !unix

package main

import "os"

// watchSize tells nothing: there is no signal for it here, and the next key paints
// the screen anew.
func watchSize() (<-chan os.Signal, func()) { return nil, func() {} }

// canStop says whether a process can be stopped and go on later.
const canStop = false

func stopHere() {}

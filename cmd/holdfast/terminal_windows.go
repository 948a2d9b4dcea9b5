package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// watchSize tells nothing: there is no signal for it here, and the chat looks by
// itself.
func watchSize() (<-chan os.Signal, func()) { return nil, func() {} }

// canStop says whether a process can be stopped and go on later.
const canStop = false

func stopHere() {}

// obeysSequences has a console obey control sequences and reports whether it does:
// consoles before Windows 10 cannot, later ones want to be asked
// (https://learn.microsoft.com/windows/console/setconsolemode).
func obeysSequences(f *os.File) bool {
	console := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(console, &mode) != nil {
		return false
	}
	return mode&windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0 ||
		windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// modesCount says that the mode of a file says who can read it: here the folder of a
// user's settings does, which others cannot open.
const modesCount = false

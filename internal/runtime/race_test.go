//go:build race

package runtime_test

// crashEvery is how many frames lie between those at which a worker is killed:
// with the race detector a play takes ten times as long, and what it looks for
// shows at a few of them. Every frame has its turn without it, see the Makefile.
const crashEvery = 5

// Package runtime is the agent loop: fold the events of a session into a
// [State], decide what comes next, perform it, append what happened, again.
//
// All state comes from the log. A step reads the State and nothing else; what
// it does is visible to others (and to a successor) only as events. An effect
// on the outside world begins after its intent is stored and not before.
//
// [Engine.Drive] drives one session for the worker that owns it, from claim to
// park, hand-over or loss. It is called from one goroutine per session, accepts
// commands while a step is under way, and returns with nothing of its own left
// running.
package runtime

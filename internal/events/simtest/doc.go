// Package simtest simulates the protocol of the log: workers that write
// sessions, recorders that archive them and readers that follow them, over a
// real nats-server and a real store, in a bubble of testing/synctest where hours
// pass in milliseconds. From a seed come who does what and when, crashes, pauses
// longer than any lease, and publishes that are lost, late, doubled, or done but
// reported as failed. An independent check then reads the log and nothing else.
//
// A seed fixes all decisions and faults, but not how the Go scheduler interleaves
// the goroutines in between: a seed that fails once may need a few runs to fail
// again.
package simtest

// Package peers measures Holdfast beside other systems that run durable agents,
// on the same machine, in the same run, with the same agent: a loop of model and
// tool calls over HTTP against a service that answers at once. What is measured
// is seen by that service, or by the operating system; no system reports on
// itself.
//
// Peers are Temporal (its development server, with a database file) and Restate
// (its server, one node). An agent for them is written as their documentation
// says: one activity, or one durable step, for each model call and each tool
// call; the conversation is what the model call is given. Neither streams or keeps
// tokens; Holdfast does, and its figures include that.
//
// It is a module of its own, so that the SDKs of the peers are no dependency of
// the product, and benchmarks alone: `make bench-peers`. Their servers are fetched
// for it, Temporal's as a Go module, Restate's from npm.
package peers

// Package bench measures the whole product: real programs as processes of their
// own, a real nats-server with file storage, a real Postgres with fsync, a
// scripted model, clients over real HTTP, all on one machine. docs/benchmarks.md
// has the figures and how they compare with what was aimed at; `make bench`
// prints them again.
//
// It is benchmarks alone; nothing imports it. They promise:
//
//   - every figure stands beside its peer or raw limit, measured in the same run
//     against the same servers;
//   - a latency is taken by the client, from the time in the event (the writer's
//     clock, which on one machine is the reader's) or from the request;
//   - every stream is checked while it is read: a gap, a duplicate or a stream
//     that ends too early fails the benchmark;
//   - nothing is judged by time: a slow machine prints other figures and passes.
//
// A benchmark is a scenario of fixed size. Run it once, with -benchtime 1x.
package bench

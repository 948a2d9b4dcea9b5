// Package schedule brings about what is to happen at a time: timers that
// sessions have set fire as commands.
//
// Nothing is kept in memory. What is due is found in the store, which has the
// timers as a projection of the log, and sent as a command whose id is derived
// from the timer: it takes effect once, however often and by however many
// processes it is sent, and it is sent again until the log says that it had its
// effect. Every process with a [Keeper] looks on its own; they share the work
// through the store.
//
// A timer fires when the clock of the process that looks says so, some
// milliseconds after its time, [Config].Look at the most; later if the store or
// the bus is away or the recorder is behind, and never not at all. A clock that
// is wrong makes it early or late by as much and changes no order.
package schedule

// Package schedule brings about what is to happen at a time: timers that
// sessions have set fire as commands, and schedules of tenants start runs.
//
// Nothing is kept in memory. What is due is found in the store, which has the
// timers as a projection of the log, and sent as a command whose id is derived
// from the timer: it takes effect once, however often and by however many
// processes it is sent, and it is sent again until the log says that it had its
// effect. Every process with a [Keeper] looks on its own; they share the work
// through the store.
//
// A schedule is a row that a tenant wrote, with the time at which it fires next
// ([Schedule]). What it starts has ids that are derived from the schedule and
// that time, so that it happens once, too ([Starter]).
//
// A timer fires when the clock of the process that looks says so, some
// milliseconds after its time, [Config].Look at the most; later if the store or
// the bus is away or the recorder is behind, and never not at all. A clock that
// is wrong makes it early or late by as much and changes no order.
package schedule

// Package events is the log: what a session is.
//
// A session is a sequence of [Envelope]s, numbered 1, 2, 3 … without gaps, each
// carrying the epoch (which claim of the session) that wrote it. Consecutive
// events travel together in frames; a frame is one message of the bus, stored
// by a compare-and-set on the session's previous frame, so that a session has
// one writer at a time without locks ([Writer]).
//
// Two adapters keep the log: a [Bus] has the hot end and is what "durable" means
// (a frame is stored once Append returns), a [Store] has everything from the
// first event up to a known sequence number and answers queries. [Reader] makes
// them one log again, with no gap and no duplicate.
//
// Ordering: events of one session are totally ordered by Seq; events of
// different sessions are not ordered. Wall time orders nothing.
package events

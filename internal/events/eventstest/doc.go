// Package eventstest checks that adapters keep the promises of package events:
// [Store] for archives, Bus for buses, each with everything that it promises and
// everything that may go wrong around it. Beside the suites are a [Script] for
// tests in which a store fails in the middle, and a [Load] for benchmarks.
//
// The suites need what they are given and nothing else: no clock but the
// system's, no order of tests, no leftovers. They wait for signals, never for
// time to pass.
package eventstest

// Package e2e tests the programs from outside, as processes: cmd/api, cmd/worker
// and cmd/holdfast against a real nats-server and a real Postgres, with clients
// that know nothing but HTTP. It has nothing but tests.
//
// What they hold the product to: a client sees every event of a session once
// and in order whatever dies meanwhile; a run that was accepted comes to its
// end; an effect that was keyed happens once, and one that was not is never
// repeated in silence; what goes wrong is said clearly where somebody looks.
//
// TestChaos keeps killing and freezing every kind of process under load for some
// seconds. With the build tag chaos (make chaos) TestChaosLong does so for
// CHAOS_DURATION, three minutes by default.
//
// Times are measured and logged, and bounded only where it would be a bug to be
// slower: machines that run tests are slow and busy.
package e2e

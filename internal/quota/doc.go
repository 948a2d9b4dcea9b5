// Package quota decides whether a tenant may have what it asks for.
//
// A [Gate] stands where work is admitted: at each request, at each command that
// lets an agent work, at each new session and agent file. It knows the limits of a
// tenant, which the operator has set or which are those of the deployment, and what
// the tenant uses. All that counts is in the store, so that the processes of an API
// share it; docs/quotas.md has the promises, limit by limit:
//
//   - requests: a bucket in the store from which processes take permits, one or a
//     tenth of a second's worth at a time. Nothing is let through without a permit;
//   - runs: a row for each open run. Two requests cannot both take the last place;
//   - tokens, costs, sessions and storage: sums of the archive that are looked at
//     again after a second, storage after a minute. What was admitted goes on.
//
// A tenant without limits costs nothing but a look at its quota every few seconds.
// Quotas do not stand in the way when the database is away: what cannot be looked
// up is let through, with a line in the log.
package quota

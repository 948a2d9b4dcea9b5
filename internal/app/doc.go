// Package app is the composition root: it turns a configuration and a set of
// roles into a running program and stops it in reverse order. It knows every
// other package; none knows it.
//
// The embedded mode is no code path of its own: SQLite stands in for Postgres
// and an in-process nats-server for a remote one, behind the same interfaces.
package app

// Package worker claims sessions, drives them, parks them and hands them over.
//
// A worker holds nothing that matters: what it knows of a session it read from
// the log, and whatever it does is in the log before it has an effect. It may be
// killed at any moment; another worker then claims its sessions and goes on
// (package events has the protocol).
package worker

// Package holdfast is the vocabulary of Holdfast: the words that the API, the
// workers, the log and every client share. It holds events and their JSON,
// messages, tool calls, identifiers and error codes, and nothing that acts.
//
// A tour of the code, bottom up:
//
//   - package holdfast (here): words. Imports the standard library and uuid.
//   - internal/events: the log. An envelope with a per-session sequence number
//     and an epoch, frames, the writer's chain of compare-and-sets, and the
//     promises [Store] and [Bus] that adapters keep.
//   - internal/agent, model, tool, tenant, oauth: nouns of the domain, each with
//     the interfaces it needs.
//   - internal/runtime: the agent loop as a fold over events: state, decision,
//     effect, event.
//   - internal/worker, recorder: the two processes behind the API; one claims
//     and drives sessions, one carries the log from the bus to the archive.
//   - internal/natsbus, pgstore, sqlitestore, httpapi, model/openai,
//     tool/mcptool: adapters, named after their technology.
//   - internal/app: the composition root. cmd/…: one small main each.
//
// Stored forms never change: the name of an event type and of its members is
// for ever. New members and new types may be added; a reader that meets a type
// it does not know passes its bytes on ([UnknownEvent]).
//
// [Store]: https://pkg.go.dev/github.com/holdfast-run/holdfast/internal/events#Store
// [Bus]: https://pkg.go.dev/github.com/holdfast-run/holdfast/internal/events#Bus
package holdfast

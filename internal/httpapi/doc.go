// Package httpapi serves Holdfast over HTTP.
//
// Three mounts lie over the same operations:
//
//   - /api: the routes of the original contract, for clients that exist. Their
//     quirks are served, not judged: bodies that are null, an array or an object,
//     ids with and without .yaml, a session that begins with its first run.
//   - /v2/api: the same, where GET /agents/:id has agents as an array whose
//     elements have a Name. Clients put "/api/…" behind the base URL that they
//     were given, so such a client is given http://host/v2.
//   - /v1: our own routes, described by one OpenAPI document that is served at
//     /v1/openapi.json. Errors are application/problem+json with a code.
//
// What it promises:
//
//   - a run never depends on a connection. A request stores a command and tells
//     what became of it; streams only read the log;
//   - an event stream has every event once and in order, from any cursor, on any
//     process that serves this API. A cursor that cannot be served gets a typed
//     answer before the stream begins;
//   - a slow client is cut by a write deadline and slows nobody. What a process
//     keeps for readers is bounded per session, and nothing when nobody reads;
//   - a session that this process created or deleted is so in its lists at once,
//     although the archive follows a little later;
//   - no error shows more than its code and its message ([holdfast.Error]); there
//     is one table from code to HTTP status.
//
// This package folds the log into the session document by itself ([View]) and
// shares no code with the loop that writes it: two readers of one log that
// disagree have found a bug.
package httpapi

// Package conformance drives the official conformance suite of MCP against the
// whole product: the suite plays MCP server and authorization server, an agent file
// has that server as its toolset, a scripted model calls the tools, and a browser
// without a head is the user. What the suite says is written to docs/conformance.md.
//
// `go test` runs a few scenarios in one process. `make conformance` runs all of
// them, three times: in one process; in processes of their own, where the worker
// that asked for an authorization is killed before the user opens the URL; and
// where the user's answer is delivered five times to two callback services.
package conformance

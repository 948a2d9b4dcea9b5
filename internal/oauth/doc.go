// Package oauth gets and keeps the tokens with which an agent's remote MCP
// servers are used on behalf of a user (MCP authorization, 2025-03-26 to
// 2026-07-28; OAuth 2.1, RFC 6749, 6750, 7009, 7523, 7591, 7636, 8414, 8693,
// 8707, 9207, 9449, 9728).
//
// # The client
//
// A [Client] speaks to authorization servers. [Client.RoundTripper] gives the
// http.RoundTripper over which a toolset speaks to its MCP server: it adds the
// token of the connection's grant, to the server's resource and nowhere else,
// and refreshes it. When a human has to decide it returns an
// [OAuthAuthorizationRequiredError] whose [Demand] is plain data. Whoever gets
// it calls [Client.Start], stores the [Flow] that this returns, and only then
// shows the URL. Any process that has the flow calls [Client.Finish] with what
// the redirect brought, puts the [Grant] into the [GrantStore], and the same
// request works.
//
//	NewClient(Options) (*Client, error)
//	(*Client) RoundTripper(Connection) (http.RoundTripper, error)
//	(*Client) Start(ctx, StartRequest) (flow Flow, url string, err error)
//	(*Client) Finish(ctx, Flow, Response) (Grant, error)   // begins with (*Flow) Check(Response) error
//	StoreGrant(ctx, GrantStore, GrantKey, Grant) error     // replaces what is there
//	(*Client) Revoke(ctx, Grant) error                     // RFC 7009, on disconnect
//	(*Client) Document(documentURL, redirectURIs…) ClientMetadata  // what StartRequest.DocumentURL serves
//	(Connection) Key() GrantKey
//
// # Promises
//
// Nothing is believed that a remote document says about another: an issuer must
// name itself, a resource must be the one that was asked, a response must come
// from the issuer that the user was sent to. Each request has a limit in time
// and size. A rotated refresh token is used once in the whole cluster, as long
// as the GrantStore keeps its own promises. Loops end: a refused token is
// refreshed once and authorized once more, a scope is asked for three times.
// Tokens, codes, verifiers and keys are of type [Secret] and appear in no error,
// log line or printed value.
//
// The package opens no connection of its own: [Options] bring the transport, and
// with it the guard against addresses of the inside.
package oauth

// Package client talks to a Holdfast server.
//
//	c, err := client.New("http://localhost:8080", client.WithAPIKey(key))
//	s, err := c.CreateSession(ctx, client.NewSession{Agent: "demo"})
//	events, err := c.RunAgent(ctx, s.ID, "demo", []holdfast.Message{{Role: holdfast.RoleUser, Content: "hello"}})
//	for e := range events { … }
//
// What it promises:
//
//   - a stream goes on after a connection is lost or a server is restarted: the
//     client reconnects by itself, from the last event that it gave out, and no
//     event is lost or comes twice;
//   - a request that changes something has its effect once, although it is sent
//     again when its answer is lost: every one carries an Idempotency-Key;
//   - whatever a server sends, it does not panic and its memory is bounded. There
//     is no limit of 64 KiB on an event;
//   - an error of the server is an [*Error], and [holdfast.CodeOf] gives its code.
//
// A [Client] is safe for concurrent use.
package client

package client

import "context"

// Continue grants more model calls to a run that waits because it has used up its
// limit; 0 is a number of the server's choice.
func (c *Client) Continue(ctx context.Context, session, run string, iterations int) (Settled, error) {
	in := map[string]int{}
	if iterations != 0 {
		in["iterations"] = iterations
	}
	return c.settle(ctx, path("v1", "sessions", session, "runs", run, "continue"), in)
}

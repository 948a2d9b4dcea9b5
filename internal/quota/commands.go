package quota

import (
	"context"

	"github.com/holdfast-run/holdfast/internal/events"
)

// Requester sends commands and waits for what becomes of them.
type Requester interface {
	Request(ctx context.Context, c events.Command) (events.Answer, error)
}

// Commands sends what its gate admits: the one way on which every door asks for runs.
// A refusal is an error with a [Refusal] in its chain; the command is then not stored.
type Commands struct {
	Gate *Gate
	Next Requester
}

// Request implements [Requester].
func (c Commands) Request(ctx context.Context, cmd events.Command) (events.Answer, error) {
	if known, _ := ctx.Value(admittedKey{}).(bool); known {
		return c.Next.Request(ctx, cmd)
	}
	done, err := c.Gate.Command(ctx, cmd)
	if err != nil {
		return events.Answer{}, err
	}
	ans, err := c.Next.Request(ctx, cmd)
	done(ans, err)
	return ans, err
}

type admittedKey struct{}

// Admitted returns a context in which commands were admitted before: a request that
// is repeated gets the answer that it got then.
func Admitted(ctx context.Context) context.Context {
	return context.WithValue(ctx, admittedKey{}, true)
}

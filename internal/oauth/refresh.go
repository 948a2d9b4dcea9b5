package oauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"
)

// leasePoll is how often a worker looks whether another one is done refreshing.
const leasePoll = 40 * time.Millisecond

// renew makes one of all workers change the grant while the others wait for it:
// it returns the grant as soon as its version is not the given one any more.
// change gets the grant as it is (zero with version 0) and returns what to store.
func (c *Client) renew(ctx context.Context, store GrantStore, key GrantKey, version int64,
	change func(context.Context, Grant) (Grant, error),
) (Grant, int64, error) {
	for {
		release, err := store.Lease(ctx, key, c.opts.Timeout*3)
		if err == nil {
			return c.renewAlone(ctx, store, key, version, change, release)
		}
		if !errors.Is(err, ErrLeaseHeld) {
			return Grant{}, 0, fmt.Errorf("reserving the refresh of the grant: %w", err)
		}
		wait := time.NewTimer(leasePoll/2 + rand.N(leasePoll))
		select {
		case <-ctx.Done():
			wait.Stop()
			return Grant{}, 0, ctx.Err()
		case <-wait.C:
		}
		if g, v, err := load(ctx, store, key); err != nil || v != version {
			return g, v, err
		}
	}
}

// renewAlone runs while this worker has the lease. From the request to the store
// on it cannot be canceled: the server may have taken back the old refresh token
// already.
func (c *Client) renewAlone(ctx context.Context, store GrantStore, key GrantKey, version int64,
	change func(context.Context, Grant) (Grant, error), release func(),
) (Grant, int64, error) {
	defer release()
	g, v, err := load(ctx, store, key)
	if err != nil || v != version {
		return g, v, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.Timeout*2)
	defer cancel()
	changed, err := change(ctx, g)
	var dead *deadGrantError
	if err != nil && !errors.As(err, &dead) {
		return Grant{}, 0, err
	}
	for {
		nv, putErr := store.Put(ctx, key, changed, v)
		switch {
		case putErr == nil:
			return changed, nv, err
		case errors.Is(putErr, ErrConflict):
			// Somebody stored a new authorization meanwhile: that one counts.
			return load(ctx, store, key)
		}
		wait := time.NewTimer(leasePoll)
		select {
		case <-ctx.Done():
			wait.Stop()
			return Grant{}, 0, fmt.Errorf("storing a refreshed grant: %w", putErr)
		case <-wait.C:
		}
	}
}

// load returns the zero grant and version 0 if there is none.
func load(ctx context.Context, store GrantStore, key GrantKey) (Grant, int64, error) {
	g, v, err := store.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return Grant{}, 0, nil
	}
	if err != nil {
		return Grant{}, 0, fmt.Errorf("reading the grant: %w", err)
	}
	return g, v, nil
}

// deadGrantError is that a grant cannot be refreshed any more.
type deadGrantError struct{ cause error }

func (e *deadGrantError) Error() string { return "the grant has ended: " + e.cause.Error() }
func (e *deadGrantError) Unwrap() error { return e.cause }

// refresh asks for new tokens (RFC 6749 section 6). With a deadGrantError comes
// the grant without its refresh token, so that nobody tries again.
func (c *Client) refresh(conn *Connection) func(context.Context, Grant) (Grant, error) {
	return func(ctx context.Context, g Grant) (Grant, error) {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.RefreshToken.Reveal()}}
		if g.Resource != "" {
			form.Set("resource", g.Resource)
		}
		t, err := c.token(ctx, tokenRequest{
			endpoint: g.TokenEndpoint, client: &g.Registration, issuer: g.Issuer, form: form, proofKey: g.ProofKey,
			local: localEndpoint(g.TokenEndpoint),
		})
		if err == nil {
			err = g.take(t)
		}
		var refused *TokenError
		if errors.As(err, &refused) {
			if refused.Code == errInvalidClient && g.Registration.Source == SourceDynamic {
				key := RegistrationKey{Tenant: conn.Tenant, Issuer: g.Issuer, RedirectURI: g.Registration.RedirectURI}
				if err := conn.Registrations.DeleteRegistration(ctx, key, g.Registration.ClientID); err != nil {
					return Grant{}, fmt.Errorf("forgetting a registration that the server does not know: %w", err)
				}
			}
			g.RefreshToken = ""
			return g, &deadGrantError{refused}
		}
		if err != nil {
			return Grant{}, fmt.Errorf("refreshing the token: %w", err)
		}
		c.opts.Logger.DebugContext(ctx, "token refreshed", "tenant", conn.Tenant, "connection", conn.Name, "issuer", g.Issuer)
		return g, nil
	}
}

package oauth

import (
	"context"
	"fmt"
	"net/url"
)

// OAuthHandler is what [GetAuthorizationURL] needs to know of a client.
type OAuthHandler struct {
	Client *Client
	// ServerURL is the MCP endpoint.
	ServerURL   string
	ClientID    string
	RedirectURI string
	// Scopes are asked for; empty is all that the resource lists.
	Scopes []string
	// ResourceMetadata is the URL that a challenge named, if any did.
	ResourceMetadata string
}

// GetAuthorizationURL returns the URL at which a human authorizes a client that is
// registered already. It finds the authorization server by the metadata of the
// resource (RFC 9728), else by RFC 8414 and OpenID Connect Discovery at the
// server's origin, else assumes /authorize there. codeChallenge is S256 of the
// verifier (RFC 7636). The checks are those of [Client.Start].
func GetAuthorizationURL(ctx context.Context, handler *OAuthHandler, state, codeChallenge string) (string, error) {
	c := handler.Client
	d, err := c.Discover(ctx, handler.ServerURL, handler.ResourceMetadata)
	if err != nil {
		return "", err
	}
	server, err := url.Parse(d.ServerURL)
	if err != nil {
		return "", fmt.Errorf("reading the URL of the MCP server: %w", err)
	}
	if err := checkCodeFlow(d); err != nil {
		return "", c.refused(server, err)
	}
	if err := checkMixUp(d, false); err != nil {
		return "", c.refused(server, err)
	}
	conn := Connection{Scopes: handler.Scopes}
	f := Flow{
		Resource: d.resourceID(), Registration: Registration{ClientID: handler.ClientID}, RedirectURI: handler.RedirectURI,
		State: state, Scopes: wantedScopes(&conn, d, &Demand{}),
	}
	at, err := authorizationURL(d, &f, codeChallenge)
	return at, c.refused(server, err)
}

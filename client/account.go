package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// NewWebhook is a subscription to what happens in a tenant's sessions.
type NewWebhook struct {
	ID  string `json:"id,omitempty"`
	URL string `json:"url"`
	// Events are "run.finished" and "session.needs_human"; none are both.
	Events      []string `json:"events,omitempty"`
	Description string   `json:"description,omitempty"`
}

// Webhook is a subscription.
type Webhook struct {
	ID          string   `json:"id"`
	URL         string   `json:"url"`
	Events      []string `json:"events"`
	Description string   `json:"description"`
	// Secret is what deliveries are signed with; see [VerifyWebhook]. Only the answers
	// to the creation and to RotateWebhookSecret have it.
	Secret    string    `json:"secret,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	// FailingSince is zero while deliveries get through; Disabled says why nothing is
	// sent any more, "" while it is.
	FailingSince time.Time `json:"failing_since,omitzero"`
	Disabled     string    `json:"disabled,omitempty"`
}

// Delivery is what was sent to a webhook, or is to be.
type Delivery struct {
	ID      string    `json:"id"`
	Type    string    `json:"type"`
	Session string    `json:"session"`
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	// State is "pending", "delivered" or "failed".
	State     string    `json:"state"`
	Attempts  int       `json:"attempts"`
	Status    int       `json:"status"`
	Problem   string    `json:"problem"`
	NextAt    time.Time `json:"next_at,omitzero"`
	SettledAt time.Time `json:"settled_at,omitzero"`
}

// CreateWebhook subscribes.
func (c *Client) CreateWebhook(ctx context.Context, n NewWebhook) (*Webhook, error) {
	var w Webhook
	if err := c.do(ctx, "POST", path("v1", "webhooks"), nil, n, &w); err != nil {
		return nil, err
	}
	return &w, nil
}

// Webhooks returns the subscriptions of the tenant.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	var out struct {
		Webhooks []Webhook `json:"webhooks"`
	}
	err := c.do(ctx, "GET", path("v1", "webhooks"), nil, nil, &out)
	return out.Webhooks, err
}

// DeleteWebhook ends a subscription.
func (c *Client) DeleteWebhook(ctx context.Context, id string) error {
	return c.do(ctx, "DELETE", path("v1", "webhooks", id), nil, nil, nil)
}

// EnableWebhook lets one work again that was disabled after a long failure.
func (c *Client) EnableWebhook(ctx context.Context, id string) error {
	return c.do(ctx, "POST", path("v1", "webhooks", id, "enable"), nil, nil, nil)
}

// Deliveries returns the newest deliveries to a webhook.
func (c *Client) Deliveries(ctx context.Context, id string) ([]Delivery, error) {
	var out struct {
		Deliveries []Delivery `json:"deliveries"`
	}
	err := c.do(ctx, "GET", path("v1", "webhooks", id, "deliveries"), nil, nil, &out)
	return out.Deliveries, err
}

// Secret is a secret without its value, which no request gives back.
type Secret struct {
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// PutSecret stores a secret that agent files name.
func (c *Client) PutSecret(ctx context.Context, name, value string) error {
	return c.do(ctx, "PUT", path("v1", "secrets", name), nil, map[string]string{"value": value}, nil)
}

// Secrets returns the tenant's secrets.
func (c *Client) Secrets(ctx context.Context) ([]Secret, error) {
	var out struct {
		Secrets []Secret `json:"secrets"`
	}
	err := c.do(ctx, "GET", path("v1", "secrets"), nil, nil, &out)
	return out.Secrets, err
}

// DeleteSecret deletes a secret.
func (c *Client) DeleteSecret(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", path("v1", "secrets", name), nil, nil, nil)
}

// Grant is what a user has granted, without tokens.
type Grant struct {
	ID        string   `json:"id"`
	User      string   `json:"user"`
	Toolset   string   `json:"toolset"`
	ServerURL string   `json:"server_url"`
	Issuer    string   `json:"issuer"`
	Scopes    []string `json:"scopes"`
	// ExpiresAt is when the access token ends, zero if that is not known; it is
	// renewed by itself if the server allows.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Connections returns what users have granted: one user, or all if user is "".
func (c *Client) Connections(ctx context.Context, user string) ([]Grant, error) {
	var out struct {
		Connections []Grant `json:"connections"`
	}
	query := url.Values{}
	if user != "" {
		query.Set("user", user)
	}
	err := c.do(ctx, "GET", path("v1", "connections"), query, nil, &out)
	return out.Connections, err
}

// Disconnect revokes a grant and deletes it.
func (c *Client) Disconnect(ctx context.Context, id string) error {
	return c.do(ctx, "DELETE", path("v1", "connections", id), nil, nil, nil)
}

// OAuthClient is a client that was registered at an authorization server by hand.
type OAuthClient struct {
	Issuer       string `json:"issuer,omitempty"`
	ServerURL    string `json:"server_url,omitempty"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
	// Method is "none", "client_secret_basic", "client_secret_post" or
	// "private_key_jwt", "" for what fits the server; PrivateKey, KeyID and Algorithm
	// are for the last.
	Method     string `json:"token_endpoint_auth_method,omitempty"`
	PrivateKey string `json:"private_key,omitempty"`
	KeyID      string `json:"key_id,omitempty"`
	Algorithm  string `json:"algorithm,omitempty"`
}

// OAuthClientInfo is such a client without its secrets.
type OAuthClientInfo struct {
	Name      string `json:"name"`
	Issuer    string `json:"issuer"`
	ServerURL string `json:"server_url"`
	ClientID  string `json:"client_id"`
}

// PutOAuthClient stores a client.
func (c *Client) PutOAuthClient(ctx context.Context, name string, o OAuthClient) error {
	return c.do(ctx, "PUT", path("v1", "oauth-clients", name), nil, o, nil)
}

// OAuthClients returns the tenant's clients.
func (c *Client) OAuthClients(ctx context.Context) ([]OAuthClientInfo, error) {
	var out struct {
		Clients []OAuthClientInfo `json:"clients"`
	}
	err := c.do(ctx, "GET", path("v1", "oauth-clients"), nil, nil, &out)
	return out.Clients, err
}

// DeleteOAuthClient deletes a client.
func (c *Client) DeleteOAuthClient(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", path("v1", "oauth-clients", name), nil, nil, nil)
}

// UsageQuery asks what model calls took.
type UsageQuery struct {
	// From and To are the first and the last day that count, in UTC; zero for no bound.
	From, To time.Time
	// What the calls must be of; "" is any.
	Session, Agent, AgentName, Model string
	// By is what rows are told apart by and ordered by: "day", "session", "agent",
	// "agent_name", "model". None is one row with the sum.
	By []string
}

// Usage is what model calls took. Members that rows are not told apart by are
// empty.
type Usage struct {
	Day               string  `json:"day,omitempty"`
	Session           string  `json:"session,omitempty"`
	Agent             string  `json:"agent,omitempty"`
	AgentName         string  `json:"agent_name,omitempty"`
	Model             string  `json:"model,omitempty"`
	Calls             int64   `json:"calls"`
	InputTokens       int64   `json:"input_tokens"`
	OutputTokens      int64   `json:"output_tokens"`
	CachedInputTokens int64   `json:"cached_input_tokens"`
	ReasoningTokens   int64   `json:"reasoning_tokens"`
	Cost              float64 `json:"cost"` // US dollars
}

// Usage gives out what model calls took, page by page. An error is the last thing
// that it gives out.
func (c *Client) Usage(ctx context.Context, q UsageQuery) iter.Seq2[Usage, error] {
	query := url.Values{"limit": {"1000"}}
	set := func(name, v string) {
		if v != "" {
			query.Set(name, v)
		}
	}
	if !q.From.IsZero() {
		set("from", q.From.UTC().Format(time.DateOnly))
	}
	if !q.To.IsZero() {
		set("to", q.To.UTC().Format(time.DateOnly))
	}
	set("session", q.Session)
	set("agent", q.Agent)
	set("agent_name", q.AgentName)
	set("model", q.Model)
	set("by", strings.Join(q.By, ","))
	return func(yield func(Usage, error) bool) {
		for {
			var p struct {
				Usage []Usage `json:"usage"`
				Next  string  `json:"next"`
			}
			if err := c.do(ctx, "GET", path("v1", "usage"), query, nil, &p); err != nil {
				yield(Usage{}, err)
				return
			}
			for _, u := range p.Usage {
				if !yield(u, nil) {
					return
				}
			}
			if p.Next == "" || len(p.Usage) == 0 || p.Next == query.Get("cursor") {
				return
			}
			query.Set("cursor", p.Next)
		}
	}
}

// SessionFilter selects sessions; the zero value selects all.
type SessionFilter struct {
	// Text must be in the title, the id or a value of the metadata, in upper or lower
	// case.
	Text string
	// Status is "idle", "queued", "running" or "waiting", "" for any; Agent is an agent
	// file, "" for any.
	Status, Agent string
	// Metadata are labels that the session must have.
	Metadata map[string]string
}

// SearchSessions is [Client.Sessions] for those that a filter selects.
func (c *Client) SearchSessions(ctx context.Context, f SessionFilter, page int) iter.Seq2[Session, error] {
	query := url.Values{"limit": {strconv.Itoa(page)}}
	for name, v := range map[string]string{"q": f.Text, "status": f.Status, "agent": f.Agent} {
		if v != "" {
			query.Set(name, v)
		}
	}
	for k, v := range f.Metadata {
		query.Add("metadata", k+":"+v)
	}
	return c.sessions(ctx, query)
}

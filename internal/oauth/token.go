package oauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// TokenError is the refusal of an authorization server, or an answer that is none.
type TokenError struct {
	Origin string
	// Status is the HTTP status.
	Status int
	// Code is the error code of the server (RFC 6749 section 5.2), "" if it gave
	// none that is known: what it says beyond that may repeat what it was sent.
	Code string
	// Reason says in our words what is wrong with an answer that cannot be used.
	Reason string
}

func (e *TokenError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("%s refused the request: %s (HTTP %d)", e.Origin, e.Code, e.Status)
	}
	return fmt.Sprintf("%s gave no usable answer: %s (HTTP %d)", e.Origin, e.Reason, e.Status)
}

// Unwrap gives the error its code and the text that a tenant may read.
func (e *TokenError) Unwrap() error {
	return holdfast.Errorf(holdfast.CodeForbidden, "the authorization server does not give a token: %s", e.Error())
}

// Error codes of authorization servers that are acted on.
const (
	errInvalidGrant  = "invalid_grant"
	errInvalidClient = "invalid_client"
	errUseNonce      = "use_dpop_nonce"

	errUnsupportedTokenType = "unsupported_token_type"
)

// knownCodes may be repeated in errors; others could be anything.
var knownCodes = []string{
	"invalid_request", errInvalidClient, errInvalidGrant, "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"invalid_target", errUseNonce, "invalid_dpop_proof", "access_denied", "server_error", "temporarily_unavailable",
	"interaction_required", "login_required", "consent_required", "account_selection_required", "unsupported_response_type",
	"invalid_redirect_uri", "invalid_client_metadata", "invalid_software_statement", "unapproved_software_statement",
	errUnsupportedTokenType, "insufficient_user_authentication",
}

// passingCodes say nothing of the grant: the same request may work later,
// whatever status they come with.
var passingCodes = []string{"server_error", "temporarily_unavailable", "slow_down"}

// parseParameters reads the answer of a token endpoint: JSON (RFC 6749 section
// 5.1), or a form, which servers older than that send.
func parseParameters(a *answer) (object, error) {
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")) // one that cannot be read is no form
	if kind != "application/x-www-form-urlencoded" {
		return parseObject(a.body)
	}
	if o, err := parseObject(a.body); err == nil {
		return o, nil // the type is wrong, not the answer
	}
	form, err := url.ParseQuery(string(a.body))
	if err != nil {
		return nil, errors.New("this is no form")
	}
	o := object{}
	for name, values := range form {
		if len(values) != 1 {
			return nil, errors.New("a parameter comes twice")
		}
		if o[name], err = json.Marshal(values[0]); err != nil {
			return nil, fmt.Errorf("reading a form: %w", err)
		}
	}
	return o, nil
}

// errorCode is the error code of an answer, "" if there is none.
func errorCode(a *answer) (code string) {
	if o, err := parseParameters(a); err == nil {
		_ = o.get("error", &code) // one of a wrong type is none
	}
	return code
}

func isTokenError(err error, code string) bool {
	var e *TokenError
	return errors.As(err, &e) && e.Code == code
}

// tokenRequest is a request to a token endpoint.
type tokenRequest struct {
	endpoint string
	client   *Registration
	issuer   string // the audience of assertions
	form     url.Values
	proofKey Secret
	local    bool
}

// tokens is what a token endpoint gave.
type tokens struct {
	access, refresh Secret
	kind            string // "Bearer" or "DPoP"
	scopes          []string
	scoped          bool // the server said which scopes
	expires         time.Time
	issuedKind      string // issued_token_type of a token exchange
}

// localEndpoint reports whether a stored endpoint, which was checked when it was
// learned, is one on this machine.
func localEndpoint(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && isLoopback(u.Hostname())
}

// token asks a token endpoint, once more if it wants a nonce in the proof (RFC
// 9449 section 8).
func (c *Client) token(ctx context.Context, r tokenRequest) (*tokens, error) {
	u, err := checkEndpoint("token endpoint", r.endpoint, r.local)
	if err != nil {
		return nil, err
	}
	nonce := ""
	for {
		a, err := c.post(ctx, u, r, nonce)
		if err != nil {
			return nil, err
		}
		t, err := c.parseTokens(u, a, r.proofKey != "")
		next := a.header.Get("DPoP-Nonce")
		if r.proofKey == "" || nonce != "" || next == "" || !isTokenError(err, errUseNonce) {
			return t, err
		}
		nonce = next
	}
}

func (c *Client) post(ctx context.Context, u *url.URL, r tokenRequest, nonce string) (*answer, error) {
	form := url.Values{}
	for k, v := range r.form {
		form[k] = v
	}
	header := http.Header{}
	if err := c.authenticate(r.client, r.issuer, form, header); err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, u.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("the token endpoint at %s cannot be asked", origin(u))
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.proofKey != "" {
		p, err := c.proof(r.proofKey, http.MethodPost, u, "", nonce)
		if err != nil {
			return nil, err
		}
		req.Header.Set("DPoP", p)
	}
	return c.do(ctx, req, false, r.local)
}

// assertionType is RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// authenticate adds who the client is to a request (RFC 6749 section 2.3, RFC
// 7523 section 2.2).
func (c *Client) authenticate(r *Registration, issuer string, form url.Values, header http.Header) error {
	if r.Issuer != "" && r.Issuer != issuer {
		return errors.New("the client is registered with another issuer")
	}
	switch r.Method {
	case authAnonymous:
	case AuthNone:
		form.Set("client_id", r.ClientID)
	case AuthPost:
		form.Set("client_id", r.ClientID)
		form.Set("client_secret", r.ClientSecret.Reveal())
	case AuthBasic:
		plain := url.QueryEscape(r.ClientID) + ":" + url.QueryEscape(r.ClientSecret.Reveal())
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(plain)))
	case AuthPrivateKeyJWT:
		a, err := c.assertion(r, issuer)
		if err != nil {
			return fmt.Errorf("authenticating the client: %w", err)
		}
		form.Set("client_id", r.ClientID)
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", a)
	default:
		return fmt.Errorf("the method of client authentication %s is not known", printable(r.Method))
	}
	return nil
}

// chooseMethod sets how a client authenticates if that is open: with what it has,
// in a way that the server offers.
func chooseMethod(r *Registration, offered []string) {
	if r.Method != "" {
		return
	}
	switch {
	case r.PrivateKey != "":
		r.Method = AuthPrivateKeyJWT
	case r.ClientSecret == "":
		r.Method = AuthNone
	case len(offered) > 0 && !slices.Contains(offered, AuthBasic) && slices.Contains(offered, AuthPost):
		r.Method = AuthPost
	default:
		r.Method = AuthBasic // what a server without metadata must take
	}
}

const maxToken = 32 << 10

// parseTokens reads the answer of a token endpoint (RFC 6749 section 5).
func (c *Client) parseTokens(u *url.URL, a *answer, bound bool) (*tokens, error) {
	refuse := func(reason string) (*tokens, error) {
		return nil, &TokenError{Origin: origin(u), Status: a.status, Reason: reason}
	}
	o, err := parseParameters(a)
	if a.status != http.StatusOK {
		code := ""
		if err == nil {
			_ = o.get("error", &code) // one of a wrong type is none
		}
		if isBusy(a.status) && !slices.Contains([]string{errInvalidGrant, errInvalidClient}, code) || slices.Contains(passingCodes, code) {
			return nil, busy(u, a)
		}
		if slices.Contains(knownCodes, code) {
			return nil, &TokenError{Origin: origin(u), Status: a.status, Code: code}
		}
		if a.status >= 300 && a.status < 400 {
			return refuse("it redirects")
		}
		if a.status < 300 {
			return refuse("the status is not 200")
		}
		return refuse("an error without a known code")
	}
	if err != nil {
		return refuse("it is no JSON object")
	}
	if raw, ok := o["error"]; ok && string(raw) != "null" && o["access_token"] == nil {
		code := ""
		_ = o.get("error", &code) // one of a wrong type is none
		if slices.Contains(passingCodes, code) {
			return nil, busy(u, a)
		}
		if slices.Contains(knownCodes, code) {
			return nil, &TokenError{Origin: origin(u), Status: a.status, Code: code}
		}
		return refuse("an error with status 200")
	}
	var access, refresh, kind, issuedKind string
	var scopes []string
	if err := errors.Join(o.get("access_token", &access), o.get("refresh_token", &refresh), o.get("token_type", &kind),
		o.list("scope", &scopes), o.get("issued_token_type", &issuedKind)); err != nil {
		return refuse(err.Error())
	}
	t := &tokens{issuedKind: issuedKind, refresh: Secret(refresh), access: Secret(access)}
	switch {
	case access == "":
		return refuse("there is no access token")
	case !isToken(access), refresh != "" && !isPrintable(refresh):
		return refuse("a token has characters that no token may have, or is too long")
	case strings.EqualFold(kind, "Bearer"):
		t.kind = "Bearer"
	case strings.EqualFold(kind, "DPoP") && bound:
		t.kind = "DPoP"
	case strings.EqualFold(kind, "N_A") && issuedKind != "":
		t.kind = "N_A" // RFC 8693 section 2.2.1: no access token
	case kind == "":
		return refuse("it does not say the type of the token")
	default:
		return refuse("the token is of a type that is not known")
	}
	if scopes = cleanScopes(scopes); len(scopes) > 0 {
		t.scopes, t.scoped = scopes, true
	}
	if n, known := o.seconds("expires_in"); known {
		t.expires = c.opts.Now().Add(time.Duration(n) * time.Second)
	}
	return t, nil
}

// isToken reports whether a token can stand in a header (RFC 6750 section 2.1,
// somewhat wider: visible characters).
func isToken(s string) bool {
	return isPrintable(s) && !strings.ContainsAny(s, ` ",`)
}

func isPrintable(s string) bool {
	if len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// Package flow carries authorizations from the tool call that needs one to the
// grant that it gets.
//
//	Begin    (worker)    discovers, registers, stores the record; then the event goes out
//	Open     (API)       the user opens the start URL and is sent on
//	         (callback)  the answer comes back and is sealed into a command
//	Deliver  (worker)    keeps the sealed answer with the record, once
//	Finish   (worker)    consumes the record, exchanges the code, stores the grant
//
// Each step may happen in another process, and any process may die between two of
// them. A record is consumed by compare-and-set, so a code is sent to its token
// endpoint at most once, however often and wherever the redirect is delivered. A
// process that dies after it consumed a record loses the code with it: the flow is
// then [OutcomeLost], and the user is asked again.
//
// The verifier, the URL and the client's credentials are in the record sealed by
// the tenant's data key, the answer by the key of the callbacks. Nothing of them
// is ever in an event, a log line or an error.
package flow

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
)

// Record is a flow as the store keeps it.
type Record struct {
	ID      string
	Tenant  string
	User    string
	Session string
	// Connection is the id of the connection, Name the name that its toolset has.
	Connection string
	Name       string
	ServerURL  string
	Issuer     string
	Binding    string
	Created    time.Time
	Expires    time.Time
	// Sealed holds the oauth.Flow, with its token endpoint, registration, redirect
	// URI, state and PKCE verifier, and the URL that the user is sent to.
	Sealed []byte
	// Answer is what the callback sealed; nil before.
	Answer []byte
	// Consumed is when somebody set out to use the answer; zero before.
	Consumed time.Time
}

// Errors of a [Store]. Compare with errors.Is.
var (
	ErrNotFound = errors.New("flow: there is no such flow")
	// ErrSettled says that a flow has expired, has its answer, or was consumed.
	ErrSettled = errors.New("flow: it is settled")
)

// Store keeps records. Everything is apart by tenant.
type Store interface {
	// CreateFlow stores a new record.
	CreateFlow(ctx context.Context, r Record) error
	// Flow returns ErrNotFound if there is none.
	Flow(ctx context.Context, tenant, id string) (Record, error)
	// AnswerFlow stores the answer of a flow that has none, is not consumed and
	// does not expire before now. The same answer again is no error; else ErrSettled.
	AnswerFlow(ctx context.Context, tenant, id string, answer []byte, now time.Time) error
	// ConsumeFlow marks the flow as consumed, if it was not, and forgets the answer.
	// Else ErrSettled.
	ConsumeFlow(ctx context.Context, tenant, id string, now time.Time) error
	// DropFlow removes a record; none is no error.
	DropFlow(ctx context.Context, tenant, id string) error
	// PurgeFlows removes records of all tenants that expired before the time.
	PurgeFlows(ctx context.Context, before time.Time) (int, error)
}

// Sealer is the part of the vault that seals records.
type Sealer interface {
	Seal(ctx context.Context, tenant, kind, id string, plain []byte) ([]byte, error)
	Open(ctx context.Context, tenant, kind, id string, sealed []byte) ([]byte, error)
}

// kindFlow is the kind under which records are sealed. It is stored.
const kindFlow = "flow"

// Client speaks to authorization servers: [oauth.Client].
type Client interface {
	Start(ctx context.Context, r oauth.StartRequest) (oauth.Flow, string, error)
	Finish(ctx context.Context, f oauth.Flow, r oauth.Response) (oauth.Grant, error)
}

// Config configures [Flows]. Those that are not said to have a default
// must be set.
type Config struct {
	Store  Store
	Sealer Sealer
	Ring   *state.Ring
	Grants oauth.GrantStore
	Client Client
	// CallbackURL is the address of the callback service, without a slash at the end.
	CallbackURL string
	// StartURL is the address of the API, without a slash at the end.
	StartURL string
	// DocumentURL returns where the client id metadata document of a connection is
	// served; nil, or "", is that none is.
	DocumentURL func(connection string) string
	// Confirm reports whether the tenant's application confirms who finished. Default:
	// the browser's cookie does for all.
	Confirm func(tenant string) bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Flows begins and finishes authorizations. It holds nothing of a flow and is
// safe for concurrent use.
type Flows struct{ cfg Config }

// New returns flows.
func New(cfg Config) *Flows {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Confirm == nil {
		cfg.Confirm = func(string) bool { return false }
	}
	return &Flows{cfg}
}

// Paths of the routes, below the addresses of the API and of the callback.
const (
	StartPath    = "/oauth/start"    // /{tenant}/{flow}
	CallbackPath = "/oauth/callback" // /{connection}
	DocumentPath = "/oauth/client"   // /{connection}
)

// ConnectionID is the id of a tenant's connection: part of its redirect URI, so
// that each connection has its own (against mix-up), and the same for all users.
func ConnectionID(tenant, name, serverURL string) string {
	h := sha256.New()
	var n [4]byte
	for _, p := range []string{tenant, name, serverURL} {
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// RedirectURI is where the callback awaits the answers for a connection.
func RedirectURI(callbackURL, connection string) string {
	return strings.TrimSuffix(callbackURL, "/") + CallbackPath + "/" + connection
}

// Begun is a flow that waits for its user.
type Begun struct {
	ID        string
	ServerURL string
	// URL is our own start URL.
	URL     string
	Expires time.Time
	Binding string
}

// sealedFlow is the content of Record.Sealed.
type sealedFlow struct {
	Flow json.RawMessage `json:"flow"`
	URL  string          `json:"url"`
}

// Begin asks the servers where the user is to be sent and stores the record. The
// URL may be given out when it has returned. anew says that the flow before this one
// got no answer at all: see [oauth.StartRequest].
func (f *Flows) Begin(ctx context.Context, session string, c oauth.Connection, d oauth.Demand, anew bool) (Begun, error) {
	now := f.cfg.Now().UTC().Truncate(time.Second)
	id := ConnectionID(c.Tenant, c.Name, c.ServerURL)
	data := state.Data{
		Tenant: c.Tenant, SessionID: session, Connection: id, Flow: state.NewRandom(), Random: state.NewRandom(),
		Binding: state.BindCookie, Expires: now.Add(state.Lifetime),
	}
	if f.cfg.Confirm(c.Tenant) {
		data.Binding = state.BindConfirm
	}
	st, err := f.cfg.Ring.Encode(data)
	if err != nil {
		return Begun{}, err
	}
	req := oauth.StartRequest{Connection: c, Demand: d, RedirectURI: RedirectURI(f.cfg.CallbackURL, id), State: st, RegisterAnew: anew}
	if f.cfg.DocumentURL != nil {
		req.DocumentURL = f.cfg.DocumentURL(id)
	}
	started, target, err := f.cfg.Client.Start(ctx, req)
	if err != nil {
		return Begun{}, fmt.Errorf("start an authorization for %s: %w", c.ServerURL, err)
	}
	if err := navigable(target); err != nil {
		return Begun{}, err
	}
	secret, err := started.MarshalSecret()
	if err != nil {
		return Begun{}, fmt.Errorf("keep an authorization: %w", err)
	}
	plain, err := json.Marshal(sealedFlow{Flow: secret, URL: target})
	if err != nil {
		return Begun{}, fmt.Errorf("keep an authorization: %w", err)
	}
	sealed, err := f.cfg.Sealer.Seal(ctx, c.Tenant, kindFlow, data.Flow, plain)
	if err != nil {
		return Begun{}, err
	}
	err = f.cfg.Store.CreateFlow(ctx, Record{
		ID: data.Flow, Tenant: c.Tenant, User: c.User, Session: session, Connection: id, Name: c.Name, ServerURL: c.ServerURL,
		Issuer: started.Issuer, Binding: data.Binding, Created: now, Expires: data.Expires, Sealed: sealed,
	})
	if err != nil {
		return Begun{}, fmt.Errorf("keep an authorization: %w", err)
	}
	return Begun{
		ID: data.Flow, ServerURL: c.ServerURL, Expires: data.Expires, Binding: data.Binding,
		URL: strings.TrimSuffix(f.cfg.StartURL, "/") + StartPath + "/" + c.Tenant + "/" + data.Flow,
	}, nil
}

// navigable refuses what a browser must not be sent to, whoever composed it.
func navigable(target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return holdfast.Errorf(holdfast.CodeInvalid, "the authorization server names an address that no browser should be sent to")
	}
	return nil
}

// Opened is what the start URL needs to know.
type Opened struct {
	Record Record
	State  state.Data
	// URL is where the user is sent.
	URL string
}

// Open returns a flow that its user begins. ErrNotFound and ErrSettled say that
// there is nothing to begin.
func (f *Flows) Open(ctx context.Context, tenant, id string) (Opened, error) {
	rec, kept, flow, err := f.load(ctx, tenant, id)
	if err != nil {
		return Opened{}, err
	}
	if !rec.Consumed.IsZero() || rec.Answer != nil || !f.cfg.Now().Before(rec.Expires) {
		return Opened{}, ErrSettled
	}
	data, err := f.cfg.Ring.Decode(flow.State, f.cfg.Now())
	if err != nil {
		return Opened{}, ErrSettled
	}
	return Opened{Record: rec, State: data, URL: kept.URL}, nil
}

func (f *Flows) load(ctx context.Context, tenant, id string) (rec Record, kept sealedFlow, flow oauth.Flow, err error) {
	rec, err = f.cfg.Store.Flow(ctx, tenant, id)
	if err != nil {
		return rec, kept, flow, fmt.Errorf("look for an authorization: %w", err)
	}
	plain, err := f.cfg.Sealer.Open(ctx, tenant, kindFlow, id, rec.Sealed)
	if err != nil {
		return rec, kept, flow, err
	}
	if json.Unmarshal(plain, &kept) != nil {
		return rec, kept, flow, errors.New("look for an authorization: what is kept cannot be read")
	}
	if err := flow.UnmarshalSecret(kept.Flow); err != nil {
		return rec, kept, flow, err
	}
	return rec, kept, flow, nil
}

// Deliver keeps the sealed answer for whoever finishes the flow. ErrSettled and
// ErrNotFound say that the answer comes too late or to the wrong place.
func (f *Flows) Deliver(ctx context.Context, ref holdfast.SessionRef, id string, sealed []byte) error {
	rec, err := f.cfg.Store.Flow(ctx, ref.Tenant, id)
	if err != nil {
		return fmt.Errorf("look for an authorization: %w", err)
	}
	if rec.Session != ref.Session {
		return ErrNotFound
	}
	data := state.Data{Tenant: rec.Tenant, SessionID: rec.Session, Connection: rec.Connection, Flow: rec.ID}
	if _, err := f.cfg.Ring.Open(data, sealed); err != nil {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err := f.cfg.Store.AnswerFlow(ctx, ref.Tenant, id, sealed, f.cfg.Now().UTC()); err != nil {
		return fmt.Errorf("keep an answer: %w", err)
	}
	return nil
}

// Outcomes of [Flows.Finish].
const (
	OutcomeGranted = "granted"
	// OutcomeDenied: the user, or the server, said no.
	OutcomeDenied = "denied"
	// OutcomeLost: the record is gone, has expired, or somebody consumed it and died.
	OutcomeLost = "lost"
	// OutcomeFailed: the exchange failed; Reason says why, for the user.
	OutcomeFailed = "failed"
)

// Result is what became of a flow, without secrets.
type Result struct {
	Outcome string
	Issuer  string
	Scopes  []string
	Reason  string
}

// Finish uses the answer that Deliver kept, at most once. An error means that
// nothing was consumed and that it may be called again.
func (f *Flows) Finish(ctx context.Context, ref holdfast.SessionRef, user, id string) (Result, error) {
	rec, _, flow, err := f.load(ctx, ref.Tenant, id)
	if errors.Is(err, ErrNotFound) {
		return Result{Outcome: OutcomeLost}, nil
	}
	if err != nil {
		return Result{}, err
	}
	if rec.Session != ref.Session || rec.User != user || rec.Answer == nil || !rec.Consumed.IsZero() {
		return Result{Outcome: OutcomeLost}, nil
	}
	data := state.Data{Tenant: rec.Tenant, SessionID: rec.Session, Connection: rec.Connection, Flow: rec.ID}
	answer, err := f.cfg.Ring.Open(data, rec.Answer)
	if err != nil {
		return Result{Outcome: OutcomeLost}, nil // its key is gone; the answer cannot come back
	}
	if err := f.cfg.Store.ConsumeFlow(ctx, ref.Tenant, id, f.cfg.Now().UTC()); err != nil {
		if errors.Is(err, ErrSettled) {
			return Result{Outcome: OutcomeLost}, nil
		}
		return Result{}, fmt.Errorf("consume an authorization: %w", err)
	}
	resp := oauth.Response{
		State: answer.State, Code: oauth.Secret(answer.Code), Issuer: answer.Issuer,
		Error: answer.Error, ErrorDescription: answer.ErrorDescription,
	}
	if denied := (*oauth.DeniedError)(nil); errors.As(flow.Check(resp), &denied) && denied.Code == "access_denied" {
		return Result{Outcome: OutcomeDenied, Issuer: flow.Issuer}, nil
	}
	// From here on the code may be used up: it is finished even if the caller leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	grant, err := f.cfg.Client.Finish(ctx, flow, resp)
	if err != nil {
		return failed(err), nil
	}
	conn := oauth.Connection{Tenant: rec.Tenant, User: rec.User, Name: rec.Name, ServerURL: rec.ServerURL}
	key, err := conn.Key()
	if err != nil {
		return failed(err), nil
	}
	if err := oauth.StoreGrant(ctx, f.cfg.Grants, key, grant); err != nil {
		return failed(fmt.Errorf("store the grant: %w", err)), nil
	}
	return Result{Outcome: OutcomeGranted, Issuer: grant.Issuer, Scopes: grant.Scopes}, nil
}

// finishTimeout is how long the exchange and the storing may take together.
const finishTimeout = 40 * time.Second

func failed(err error) Result {
	return Result{Outcome: OutcomeFailed, Reason: holdfast.PublicMessage(err)}
}

// Drop forgets a flow that nobody waits for any more.
func (f *Flows) Drop(ctx context.Context, ref holdfast.SessionRef, id string) error {
	if err := f.cfg.Store.DropFlow(ctx, ref.Tenant, id); err != nil {
		return fmt.Errorf("drop an authorization: %w", err)
	}
	return nil
}

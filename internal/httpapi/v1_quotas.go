package httpapi

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/quota"
	"github.com/holdfast-run/holdfast/internal/tenant"
)

// QuotaLimits is what a tenant may use. Members that are absent are no limit.
type QuotaLimits struct {
	RequestsPerSecond *float64 `json:"requests_per_second,omitempty" minimum:"0.001" maximum:"1000000" doc:"Requests a second, on average."`
	Burst             *int64   `json:"burst,omitempty" minimum:"1" maximum:"1000000" doc:"Requests at once after a pause. Default: those of one second, at least one."`
	Runs              *int64   `json:"runs,omitempty" minimum:"0" maximum:"9007199254740991" doc:"Runs at once, those that are queued or wait for somebody included."`
	Sessions          *int64   `json:"sessions,omitempty" minimum:"0" maximum:"9007199254740991" doc:"Sessions that are not deleted."`
	StorageBytes      *int64   `json:"storage_bytes,omitempty" minimum:"0" maximum:"9007199254740991" doc:"Bytes of the archive: events, compressed, and agent files."`
	TokensPerDay      *int64   `json:"tokens_per_day,omitempty" minimum:"0" maximum:"9007199254740991" doc:"Tokens in and out of a day in UTC."`
	TokensPerMonth    *int64   `json:"tokens_per_month,omitempty" minimum:"0" maximum:"9007199254740991" doc:"Tokens in and out of a calendar month in UTC."`
	CostPerDay        *float64 `json:"cost_per_day,omitempty" minimum:"0" maximum:"1000000000000" doc:"US dollars of a day in UTC, as far as prices are known."`
	CostPerMonth      *float64 `json:"cost_per_month,omitempty" minimum:"0" maximum:"1000000000000" doc:"US dollars of a calendar month in UTC, as far as prices are known."`
}

// QuotaUse is what a tenant uses.
type QuotaUse struct {
	Runs              int64      `json:"runs" doc:"Open runs; those that began while runs were not limited are not counted."`
	Sessions          int64      `json:"sessions"`
	StorageBytes      int64      `json:"storage_bytes"`
	StorageMeasuredAt *time.Time `json:"storage_measured_at,omitempty" doc:"When storage was measured; absent if it was not yet."`
	TokensDay         int64      `json:"tokens_day"`
	TokensMonth       int64      `json:"tokens_month"`
	CostDay           float64    `json:"cost_day"`
	CostMonth         float64    `json:"cost_month"`
	DayResetsAt       time.Time  `json:"day_resets_at" doc:"When tokens and costs of the day begin again."`
	MonthResetsAt     time.Time  `json:"month_resets_at" doc:"When tokens and costs of the month begin again."`
}

// QuotaDocument is the quota of a tenant and what it uses.
type QuotaDocument struct {
	Tenant string      `json:"tenant"`
	Limits QuotaLimits `json:"limits" doc:"Those that count."`
	Own    bool        `json:"own" doc:"The operator has set them for this tenant; else they are those of the deployment."`
	Use    QuotaUse    `json:"use"`
}

// SetQuota is a quota that the operator has set.
type SetQuota struct {
	Tenant    string      `json:"tenant"`
	Limits    QuotaLimits `json:"limits"`
	UpdatedAt time.Time   `json:"updated_at"`
}

// QuotaPage is a page of quotas.
type QuotaPage struct {
	Quotas  []SetQuota  `json:"quotas" doc:"By tenant."`
	Next    string      `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
	Default QuotaLimits `json:"default" doc:"The limits of all other tenants."`
}

// ProblemQuota is the limit that a request was over.
type ProblemQuota struct {
	Limit    string     `json:"limit" doc:"Its name, as in the quota."`
	Max      float64    `json:"max"`
	Used     float64    `json:"used"`
	ResetsAt *time.Time `json:"resets_at,omitempty" doc:"When the day or the month ends."`

	after time.Duration
}

// retryAfter is the value of Retry-After in seconds, 0 for none.
func (q *ProblemQuota) retryAfter() int {
	if q == nil {
		return 0
	}
	return int(math.Ceil(q.after.Seconds()))
}

// quotaOf returns the limit that an error is about, nil if it is about none.
func quotaOf(err error) *ProblemQuota {
	var r *quota.Refusal
	if !errors.As(err, &r) {
		return nil
	}
	q := &ProblemQuota{Limit: r.Limit, Max: r.Max, Used: r.Used, after: r.RetryAfter}
	if !r.ResetsAt.IsZero() {
		q.ResetsAt = &r.ResetsAt
	}
	return q
}

const quotasPath = "/v1/quotas"

// operated reports whether a path is for the operator. All others are for tenants.
func operated(path string) bool {
	return path == quotasPath || strings.HasPrefix(path, quotasPath+"/")
}

func (a *API) notYours(c tenant.Caller) error {
	switch {
	case a.cfg.Quotas == nil && !c.Operator:
		_, err := a.quotas()
		return err
	case c.Operator:
		return holdfast.Errorf(holdfast.CodeForbidden, "the key is the operator's: it is for %s alone", quotasPath)
	}
	return holdfast.Errorf(holdfast.CodeForbidden, "only the operator may do this, with a key of HOLDFAST_OPERATOR_KEYS")
}

// admitRequest counts a request, and says in the header what is left
// (draft-ietf-httpapi-ratelimit-headers-10).
func (a *API) admitRequest(w http.ResponseWriter, r *http.Request, c tenant.Caller) error {
	if a.cfg.Quotas == nil || c.Operator {
		return nil
	}
	left, err := a.cfg.Quotas.Request(r.Context(), c.Tenant)
	if rate := left.Rate; rate.Burst > 0 {
		full := max(1, int64(math.Ceil(float64(rate.Burst)/rate.PerSecond)))
		h := w.Header()
		h.Set("RateLimit-Policy", fmt.Sprintf(`"requests";q=%d;w=%d`, rate.Burst, full))
		h.Set("RateLimit", fmt.Sprintf(`"requests";r=%d;t=%d`, max(0, left.Left), max(1, int64(math.Ceil(1/rate.PerSecond)))))
	}
	return err
}

// admitSession looks whether a tenant may have one more session. One that is there
// already is for the caller to find; made says that it cannot be.
func (a *API) admitSession(ctx context.Context, ref holdfast.SessionRef, made bool) error {
	if a.cfg.Quotas == nil {
		return nil
	}
	err := a.cfg.Quotas.Session(ctx, ref.Tenant)
	if err == nil || made {
		return err
	}
	if there := a.exists(ctx, ref); there == nil || errors.Is(there, errDeleted) {
		return nil
	}
	return err
}

// askedBefore reports whether a command that is refused for a quota was admitted
// before: its session has the run.
func (a *API) askedBefore(ctx context.Context, c events.Command) bool {
	if c.Kind != events.KindRun {
		return false
	}
	var body events.RunBody
	if decodeJSON(c.Body, &body) != nil || body.Run == "" {
		return false
	}
	v, err := a.view(ctx, c.Session, 0)
	return err == nil && v.run(body.Run) != nil
}

func (a *API) quotaRoutes(api huma.API) {
	const tag = "quotas"
	huma.Register(api, a.operation("get-quota", http.MethodGet, "/v1/quota", tag, "What the tenant may use, and uses",
		"The limits of the caller's tenant, what it uses of them now, and when tokens and costs begin again. Only the operator changes limits.", http.StatusNotImplemented), a.getQuota)
	huma.Register(api, a.operation("list-quotas", http.MethodGet, quotasPath, tag, "List quotas",
		"For the operator: the quotas that are set for single tenants, and the default of all others.", http.StatusNotImplemented), a.listQuotas)
	huma.Register(api, a.operation("get-tenant-quota", http.MethodGet, quotasPath+"/{tenant}", tag, "The quota of a tenant",
		"For the operator: the limits of a tenant and what it uses. Every name is answered: tenants are not kept in a list.", http.StatusNotImplemented), a.getTenantQuota)
	huma.Register(api, a.operation("set-tenant-quota", http.MethodPut, quotasPath+"/{tenant}", tag, "Set the quota of a tenant",
		"For the operator: replaces all limits of a tenant; those that the body does not have are none, whatever the default says. It counts in this process at once and in others within five seconds. "+
			"Nothing that was admitted is taken back if less is allowed than is used.", http.StatusRequestEntityTooLarge, http.StatusNotImplemented), a.setTenantQuota)
	del := a.operation("delete-tenant-quota", http.MethodDelete, quotasPath+"/{tenant}", tag, "Remove the quota of a tenant",
		"For the operator: the default counts again.", http.StatusNotFound, http.StatusNotImplemented)
	huma.Register(api, del, a.deleteTenantQuota)
}

// quotas returns what the routes need.
func (a *API) quotas() (*quota.Gate, error) {
	if a.cfg.Quotas == nil {
		return nil, holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: quotas")
	}
	return a.cfg.Quotas, nil
}

type quotaOut struct{ Body QuotaDocument }

func (a *API) getQuota(ctx context.Context, _ *struct{}) (*quotaOut, error) {
	g, err := a.quotas()
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return a.quotaDocument(ctx, g, tenantOf(ctx))
}

func (a *API) quotaDocument(ctx context.Context, g *quota.Gate, id string) (*quotaOut, error) {
	q, own, err := g.Limits(ctx, id)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	a.fresh(ctx)
	u, err := g.Use(ctx, id)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	now := time.Now()
	doc := QuotaDocument{Tenant: id, Limits: QuotaLimits(q), Own: own, Use: QuotaUse{
		Runs: u.Runs, Sessions: u.Sessions, StorageBytes: u.Storage,
		TokensDay: u.Day.Tokens, TokensMonth: u.Month.Tokens, CostDay: u.Day.Cost, CostMonth: u.Month.Cost,
		DayResetsAt: quota.NextDay(now), MonthResetsAt: quota.NextMonth(now),
	}}
	if !u.StorageAt.IsZero() {
		doc.Use.StorageMeasuredAt = &u.StorageAt
	}
	return &quotaOut{doc}, nil
}

// TenantPath is the part of inputs that names a tenant.
type TenantPath struct {
	Tenant string `path:"tenant" maxLength:"128" doc:"The tenant, as in HOLDFAST_API_KEYS." example:"acme"`
}

// tenantQuotas is quotas for a route of the operator that names a tenant.
func (a *API) tenantQuotas(in TenantPath) (*quota.Gate, error) {
	g, err := a.quotas()
	if err == nil {
		err = holdfast.ValidateID("tenant", in.Tenant)
	}
	return g, err
}

func (a *API) getTenantQuota(ctx context.Context, in *TenantPath) (*quotaOut, error) {
	g, err := a.tenantQuotas(*in)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return a.quotaDocument(ctx, g, in.Tenant)
}

func (a *API) setTenantQuota(ctx context.Context, in *struct {
	TenantPath
	Body QuotaLimits
},
) (*struct{ Body SetQuota }, error) {
	g, err := a.tenantQuotas(in.TenantPath)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	s, err := g.Set(ctx, in.Tenant, holdfast.Quota(in.Body))
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	caller, _ := tenant.From(ctx)
	a.logger.InfoContext(ctx, "the operator set a quota", "tenant", in.Tenant, "quota", s.Quota.String(), "key", caller.Key, "request", requestID(ctx))
	return &struct{ Body SetQuota }{SetQuota{s.Tenant, QuotaLimits(s.Quota), s.UpdatedAt}}, nil
}

func (a *API) deleteTenantQuota(ctx context.Context, in *TenantPath) (*struct{}, error) {
	g, err := a.tenantQuotas(*in)
	if err == nil {
		err = unavailable(g.Unset(ctx, in.Tenant))
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	caller, _ := tenant.From(ctx)
	a.logger.InfoContext(ctx, "the operator removed a quota", "tenant", in.Tenant, "key", caller.Key, "request", requestID(ctx))
	return nil, nil
}

func (a *API) listQuotas(ctx context.Context, in *struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"The most quotas of the page. Default 100."`
	Cursor string `query:"cursor" doc:"Member next of the page before."`
},
) (*struct{ Body QuotaPage }, error) {
	g, err := a.quotas()
	after := ""
	if err == nil {
		after, err = parseQuotaCursor(in.Cursor)
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	limit := cmp.Or(in.Limit, defaultPage)
	list, err := g.List(ctx, after, limit)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	page := QuotaPage{Quotas: make([]SetQuota, len(list)), Default: QuotaLimits(g.Default())}
	for i, s := range list {
		page.Quotas[i] = SetQuota{s.Tenant, QuotaLimits(s.Quota), s.UpdatedAt}
	}
	if len(list) == limit {
		page.Next = base64.RawURLEncoding.EncodeToString([]byte(quotaCursor + list[limit-1].Tenant))
	}
	return &struct{ Body QuotaPage }{page}, nil
}

// quotaCursor begins cursors of lists of quotas; the tenant follows.
const quotaCursor = "quota:"

func parseQuotaCursor(s string) (after string, err error) {
	if s == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	after, ok := strings.CutPrefix(string(raw), quotaCursor)
	if err != nil || !ok || holdfast.ValidateID("tenant", after) != nil {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "cursor: not one that a list of quotas gave out")
	}
	return after, nil
}

package client

import (
	"context"
	"iter"
	"net/url"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Quota is what a tenant may use, and uses.
type Quota struct {
	Tenant string `json:"tenant"`
	// Limits are those that count; Own says that the operator has set them for this
	// tenant.
	Limits holdfast.Quota `json:"limits"`
	Own    bool           `json:"own"`
	Use    QuotaUse       `json:"use"`
}

// QuotaUse is what a tenant uses.
type QuotaUse struct {
	// Runs are the open ones that were counted when they began.
	Runs         int64 `json:"runs"`
	Sessions     int64 `json:"sessions"`
	StorageBytes int64 `json:"storage_bytes"`
	// StorageMeasuredAt is zero if storage was not measured yet.
	StorageMeasuredAt time.Time `json:"storage_measured_at,omitzero"`
	TokensDay         int64     `json:"tokens_day"`
	TokensMonth       int64     `json:"tokens_month"`
	// Costs are in US dollars.
	CostDay       float64   `json:"cost_day"`
	CostMonth     float64   `json:"cost_month"`
	DayResetsAt   time.Time `json:"day_resets_at"`
	MonthResetsAt time.Time `json:"month_resets_at"`
}

// SetQuota is a quota that the operator has set for a tenant.
type SetQuota struct {
	Tenant    string         `json:"tenant"`
	Limits    holdfast.Quota `json:"limits"`
	UpdatedAt time.Time      `json:"updated_at"`
}

// Quota returns what the caller's tenant may use, and uses.
func (c *Client) Quota(ctx context.Context) (*Quota, error) {
	return c.quota(ctx, path("v1", "quota"))
}

// TenantQuota returns the quota of a tenant. It needs a key of the operator, as
// SetTenantQuota, DeleteTenantQuota and TenantQuotas do.
func (c *Client) TenantQuota(ctx context.Context, tenant string) (*Quota, error) {
	return c.quota(ctx, path("v1", "quotas", tenant))
}

func (c *Client) quota(ctx context.Context, at string) (*Quota, error) {
	var q Quota
	if err := c.do(ctx, "GET", at, nil, nil, &q); err != nil {
		return nil, err
	}
	return &q, nil
}

// SetTenantQuota replaces all limits of a tenant; those that are nil are none.
func (c *Client) SetTenantQuota(ctx context.Context, tenant string, limits holdfast.Quota) (*SetQuota, error) {
	var q SetQuota
	if err := c.do(ctx, "PUT", path("v1", "quotas", tenant), nil, limits, &q); err != nil {
		return nil, err
	}
	return &q, nil
}

// DeleteTenantQuota lets the default of the deployment count again for a tenant.
func (c *Client) DeleteTenantQuota(ctx context.Context, tenant string) error {
	return c.do(ctx, "DELETE", path("v1", "quotas", tenant), nil, nil, nil)
}

// TenantQuotas gives out the quotas that are set for single tenants, by tenant. An
// error is the last thing that it gives out.
func (c *Client) TenantQuotas(ctx context.Context) iter.Seq2[SetQuota, error] {
	query := url.Values{}
	return func(yield func(SetQuota, error) bool) {
		for {
			var p struct {
				Quotas []SetQuota `json:"quotas"`
				Next   string     `json:"next"`
			}
			if err := c.do(ctx, "GET", path("v1", "quotas"), query, nil, &p); err != nil {
				yield(SetQuota{}, err)
				return
			}
			for _, q := range p.Quotas {
				if !yield(q, nil) {
					return
				}
			}
			if p.Next == "" || p.Next == query.Get("cursor") {
				return
			}
			query.Set("cursor", p.Next)
		}
	}
}

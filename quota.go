package holdfast

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Quota is what a tenant may use. A limit that is nil is none; 0 lets nothing
// through. docs/quotas.md says how exact each limit is.
type Quota struct {
	// RequestsPerSecond is how many requests the API answers on average, Burst how many
	// at once after a pause; nil is as many as in a second, at least one.
	RequestsPerSecond *float64 `json:"requests_per_second,omitempty"`
	Burst             *int64   `json:"burst,omitempty"`
	// Runs is how many runs may be open at once: queued, running or waiting.
	Runs *int64 `json:"runs,omitempty"`
	// Sessions is how many sessions there may be.
	Sessions *int64 `json:"sessions,omitempty"`
	// StorageBytes is what the archive may keep: events, compressed, and agent files.
	StorageBytes *int64 `json:"storage_bytes,omitempty"`
	// Tokens, in and out, and costs in US dollars, of a day and a calendar month in UTC.
	TokensPerDay   *int64   `json:"tokens_per_day,omitempty"`
	TokensPerMonth *int64   `json:"tokens_per_month,omitempty"`
	CostPerDay     *float64 `json:"cost_per_day,omitempty"`
	CostPerMonth   *float64 `json:"cost_per_month,omitempty"`
}

// Names of limits, as in JSON, in [ParseQuota] and in refusals.
const (
	QuotaRequests       = "requests_per_second"
	QuotaBurst          = "burst"
	QuotaRuns           = "runs"
	QuotaSessions       = "sessions"
	QuotaStorage        = "storage_bytes"
	QuotaTokensPerDay   = "tokens_per_day"
	QuotaTokensPerMonth = "tokens_per_month"
	QuotaCostPerDay     = "cost_per_day"
	QuotaCostPerMonth   = "cost_per_month"
)

// Bounds of limits: whole numbers are those that JSON numbers keep exactly
// (RFC 8259 section 6).
const (
	maxWhole = 1<<53 - 1
	maxCost  = 1e12
	maxRate  = 1e6
	minRate  = 1e-3
)

// quotaField is a limit: whole or frac is where it is.
type quotaField struct {
	name     string
	whole    **int64
	frac     **float64
	min, max float64
}

func (q *Quota) fields() []quotaField {
	return []quotaField{
		{QuotaRequests, nil, &q.RequestsPerSecond, minRate, maxRate},
		{QuotaBurst, &q.Burst, nil, 1, maxRate},
		{QuotaRuns, &q.Runs, nil, 0, maxWhole},
		{QuotaSessions, &q.Sessions, nil, 0, maxWhole},
		{QuotaStorage, &q.StorageBytes, nil, 0, maxWhole},
		{QuotaTokensPerDay, &q.TokensPerDay, nil, 0, maxWhole},
		{QuotaTokensPerMonth, &q.TokensPerMonth, nil, 0, maxWhole},
		{QuotaCostPerDay, nil, &q.CostPerDay, 0, maxCost},
		{QuotaCostPerMonth, nil, &q.CostPerMonth, 0, maxCost},
	}
}

// Validate returns an error with CodeInvalid for a limit that cannot be: a negative
// one, one that is no number, a burst without a rate.
func (q Quota) Validate() error {
	for _, f := range q.fields() {
		var v float64
		switch {
		case f.whole != nil && *f.whole != nil:
			v = float64(**f.whole)
		case f.frac != nil && *f.frac != nil:
			v = **f.frac
		default:
			continue
		}
		if math.IsNaN(v) || v < f.min || v > f.max {
			return Errorf(CodeInvalid, "%s: want a number from %s to %s", f.name, number(f.min), number(f.max))
		}
	}
	if q.Burst != nil && q.RequestsPerSecond == nil {
		return Errorf(CodeInvalid, "%s: goes with %s", QuotaBurst, QuotaRequests)
	}
	return nil
}

// IsZero reports whether there is no limit at all.
func (q Quota) IsZero() bool { return q == Quota{} }

// String is the form that [ParseQuota] reads.
func (q Quota) String() string {
	var parts []string
	for _, f := range q.fields() {
		switch {
		case f.whole != nil && *f.whole != nil:
			parts = append(parts, f.name+"="+strconv.FormatInt(**f.whole, 10))
		case f.frac != nil && *f.frac != nil:
			parts = append(parts, f.name+"="+number(**f.frac))
		}
	}
	return strings.Join(parts, ",")
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// ParseQuota reads limits as NAME=VALUE, several separated by commas, with the names
// of the JSON members: "runs=5,tokens_per_month=1000000". Whole numbers may end with
// KiB, MiB, GiB or TiB. "" is no limit. Errors have CodeInvalid.
func ParseQuota(text string) (Quota, error) {
	var q Quota
	fields := q.fields()
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if err := setQuota(fields, name, value); err != nil {
			return Quota{}, err
		}
	}
	return q, q.Validate()
}

func setQuota(fields []quotaField, name, value string) error {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
		switch {
		case f.name != name:
			continue
		case f.whole != nil && *f.whole != nil || f.frac != nil && *f.frac != nil:
			return Errorf(CodeInvalid, "%s: given twice", name)
		case f.whole != nil:
			n, err := wholeNumber(value)
			if err != nil {
				return WrapError(CodeInvalid, err, fmt.Sprintf("%s: %q is no whole number, such as 8388608 or 8MiB", name, value))
			}
			*f.whole = &n
		default:
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return WrapError(CodeInvalid, err, fmt.Sprintf("%s: %q is no number", name, value))
			}
			*f.frac = &v
		}
		return nil
	}
	return Errorf(CodeInvalid, "%q is no limit; there are: %s", name, strings.Join(names, ", "))
}

func wholeNumber(s string) (int64, error) {
	factor := int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			s, factor = strings.TrimSpace(digits), 1<<(10*(i+1))
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, err
	}
	if n > maxWhole/factor || n < -maxWhole/factor {
		return 0, strconv.ErrRange
	}
	return n * factor, nil
}

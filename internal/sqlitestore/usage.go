package sqlitestore

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
)

var _ events.UsageStore = (*Store)(nil)

// Usage implements [events.UsageStore].
func (s *Store) Usage(ctx context.Context, q events.UsageQuery) ([]events.UsageRow, error) {
	var args []any
	arg := func(v any) string {
		args = append(args, v)
		return "?"
	}
	from, err := q.SQL(arg, func(t time.Time) any { return t.UnixMicro() })
	if err != nil {
		return nil, err
	}
	query := "SELECT "
	for _, c := range q.By {
		query += c + ", "
	}
	query += "coalesce(sum(calls), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), " +
		"coalesce(sum(cached_tokens), 0), coalesce(sum(reasoning), 0), coalesce(sum(cost), 0.0)" + from
	doing := "read the usage of " + q.Tenant
	rows, err := s.r.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []events.UsageRow
	for rows.Next() {
		var r events.UsageRow
		var into []any
		var day int64
		for _, c := range q.By {
			if c == "day" {
				into = append(into, &day)
			} else {
				into = append(into, r.Text(c))
			}
		}
		if err := rows.Scan(append(into, &r.Calls, &r.InputTokens, &r.OutputTokens, &r.CachedInputTokens, &r.ReasoningTokens, &r.Cost)...); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		if day != 0 {
			r.Day = time.UnixMicro(day).UTC()
		}
		list = append(list, r)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

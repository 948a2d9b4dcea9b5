package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-run/holdfast/internal/events"
)

var _ events.UsageStore = (*Store)(nil)

// Usage implements [events.UsageStore].
func (s *Store) Usage(ctx context.Context, q events.UsageQuery) (list []events.UsageRow, err error) {
	var args []any
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	from, err := q.SQL(arg, func(t time.Time) any { return t })
	if err != nil {
		return nil, err
	}
	query := "SELECT "
	for _, c := range q.By {
		query += c + ", "
	}
	// A sum of bigint is numeric.
	query += "coalesce(sum(calls), 0)::bigint, coalesce(sum(input_tokens), 0)::bigint, coalesce(sum(output_tokens), 0)::bigint, " +
		"coalesce(sum(cached_tokens), 0)::bigint, coalesce(sum(reasoning), 0)::bigint, coalesce(sum(cost), 0)" + from
	err = s.send(ctx, ofTenant(q.Tenant), "read the usage of "+q.Tenant, func(b *pgx.Batch) {
		b.Queue(query, args...).Query(func(rows pgx.Rows) error {
			list = nil
			for rows.Next() {
				var r events.UsageRow
				var into []any
				for _, c := range q.By {
					if c == "day" {
						into = append(into, &r.Day)
					} else {
						into = append(into, r.Text(c))
					}
				}
				if err := rows.Scan(append(into, &r.Calls, &r.InputTokens, &r.OutputTokens, &r.CachedInputTokens, &r.ReasoningTokens, &r.Cost)...); err != nil {
					return err
				}
				r.Day = r.Day.UTC()
				list = append(list, r)
			}
			return rows.Err()
		})
	})
	return list, err
}

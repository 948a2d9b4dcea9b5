package events

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// UsageColumns are what rows of usage can be told apart by, in their order.
var UsageColumns = []string{"day", "session", "agent", "agent_name", "model"}

// UsageQuery asks what model calls of a tenant took.
type UsageQuery struct {
	Tenant string
	// From and To are the first and the last day that count, in UTC; zero for no
	// bound.
	From, To time.Time
	// Match has the values that columns must have; the column day is not one of them.
	Match map[string]string
	// By are the columns that rows are told apart by; none is one row, the sum.
	By []string
	// After are the values of By in the last row of the page before, a day as
	// 2006-01-02; none for the first page.
	After []string
	// Limit is the most rows; 0 is 1,000.
	Limit int
}

// UsageRow is a row of usage. Columns that it is not told apart by are empty.
type UsageRow struct {
	Day                              time.Time
	Session, Agent, AgentName, Model string
	UsageSum
}

// Columns returns the values of columns, a day as 2006-01-02.
func (r *UsageRow) Columns(by []string) []string {
	values := make([]string, len(by))
	for i, c := range by {
		switch c {
		case "day":
			values[i] = r.Day.Format(time.DateOnly)
		default:
			values[i] = *r.Text(c)
		}
	}
	return values
}

// Text returns where a row has the value of a column of text.
func (r *UsageRow) Text(column string) *string {
	switch column {
	case "session":
		return &r.Session
	case "agent":
		return &r.Agent
	case "agent_name":
		return &r.AgentName
	case "model":
		return &r.Model
	}
	panic("events: " + column + " is no column of usage")
}

// UsageStore answers what model calls took. The rows are a projection of the log,
// written with it; they stay when a session is deleted. Tenants do not see each
// other's.
type UsageStore interface {
	// Usage returns rows, ordered by the columns of q.By. Fewer than the limit means
	// that there are no more. Columns that do not exist are CodeInvalid.
	Usage(ctx context.Context, q UsageQuery) ([]UsageRow, error)
}

// Rows is the limit.
func (q *UsageQuery) Rows() int {
	if q.Limit <= 0 {
		return 1000
	}
	return q.Limit
}

// SQL makes the statement of a query, without SELECT and its columns: everything
// from FROM on. arg notes a value and returns its placeholder; day is how a day is
// stored. Names of columns are checked, values only go through arg.
func (q *UsageQuery) SQL(arg func(any) string, day func(time.Time) any) (string, error) {
	var b strings.Builder
	b.WriteString(" FROM usage WHERE tenant = " + arg(q.Tenant))
	if !q.From.IsZero() {
		b.WriteString(" AND day >= " + arg(day(q.From)))
	}
	if !q.To.IsZero() {
		b.WriteString(" AND day <= " + arg(day(q.To)))
	}
	for _, c := range UsageColumns[1:] {
		if v, ok := q.Match[c]; ok {
			b.WriteString(" AND " + c + " = " + arg(withoutNUL(v)))
		}
	}
	for c := range q.Match {
		if c == "day" || !slices.Contains(UsageColumns, c) {
			return "", noColumn(c)
		}
	}
	seen := map[string]bool{}
	for _, c := range q.By {
		if !slices.Contains(UsageColumns, c) || seen[c] {
			return "", noColumn(c)
		}
		seen[c] = true
	}
	columns := strings.Join(q.By, ", ")
	if len(q.After) > 0 {
		if len(q.After) != len(q.By) {
			return "", holdfast.Errorf(holdfast.CodeInvalid, "the page before had other columns")
		}
		marks := make([]string, len(q.By))
		for i, c := range q.By {
			if c != "day" {
				marks[i] = arg(withoutNUL(q.After[i]))
				continue
			}
			at, err := time.Parse(time.DateOnly, q.After[i])
			if err != nil {
				return "", holdfast.WrapError(holdfast.CodeInvalid, err, fmt.Sprintf("%q is no day", q.After[i]))
			}
			marks[i] = arg(day(at))
		}
		b.WriteString(" AND (" + columns + ") > (" + strings.Join(marks, ", ") + ")")
	}
	if len(q.By) > 0 {
		b.WriteString(" GROUP BY " + columns + " ORDER BY " + columns)
	}
	b.WriteString(" LIMIT " + arg(q.Rows()))
	return b.String(), nil
}

func noColumn(c string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "%q is no column of usage, or named twice; there are: %s", c, strings.Join(UsageColumns, ", "))
}

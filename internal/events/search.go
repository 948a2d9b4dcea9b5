package events

import (
	"maps"
	"slices"
	"strings"
)

// Filter selects among the sessions of a tenant; the zero value selects all.
type Filter struct {
	// Text must be in the title, the id or a value of the metadata. Upper and lower
	// case are the same: those of all letters on Postgres, of ASCII on SQLite.
	Text string
	// Status and Agent are exact; "" is any.
	Status, Agent string
	// Metadata has values that the session's must have.
	Metadata map[string]string
}

// Selects reports whether the filter leaves anything out.
func (f *Filter) Selects() bool {
	return f.Text != "" || f.Status != "" || f.Agent != "" || len(f.Metadata) > 0
}

// SQL is the filter as conditions of a statement, each with AND in front. arg
// notes a value and returns its placeholder. like compares an expression to a
// pattern regardless of case, each has the members of the metadata as rows with
// the columns key and value.
func (f *Filter) SQL(arg func(any) string, like, each string) string {
	var b strings.Builder
	if f.Text != "" {
		pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(withoutNUL(f.Text)) + "%"
		match := func(what string) string { return what + " " + like + " " + arg(pattern) + ` ESCAPE '\'` }
		b.WriteString(" AND (" + match("title") + " OR " + match("id") + " OR EXISTS (SELECT 1 FROM " + each + " AS m WHERE " + match("m.value") + "))")
	}
	if f.Status != "" {
		b.WriteString(" AND status = " + arg(withoutNUL(f.Status)))
	}
	if f.Agent != "" {
		b.WriteString(" AND agent = " + arg(withoutNUL(f.Agent)))
	}
	for _, k := range slices.Sorted(maps.Keys(f.Metadata)) {
		b.WriteString(" AND EXISTS (SELECT 1 FROM " + each + " AS m WHERE m.key = " + arg(withoutNUL(k)) + " AND m.value = " + arg(withoutNUL(f.Metadata[k])) + ")")
	}
	return b.String()
}

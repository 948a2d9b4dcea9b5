package config

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const prefix = "HOLDFAST_"

// field is a setting as its tags describe it.
type field struct {
	index         int
	env, def, doc string
}

func fields() []field {
	t := reflect.TypeFor[Config]()
	all := make([]field, t.NumField())
	for i := range all {
		tag := t.Field(i).Tag
		all[i] = field{index: i, env: tag.Get("env"), def: tag.Get("default"), doc: tag.Get("doc")}
	}
	return all
}

func (c *Config) value(f field) reflect.Value { return reflect.ValueOf(c).Elem().Field(f.index) }

// read fills the fields from the environment and returns an error for each
// variable that cannot be read or that nobody reads.
func (c *Config) read(environ []string) []error {
	values := map[string]string{}
	var order []string // of the first appearance, so that errors come in a stable order
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if _, seen := values[name]; !seen {
			order = append(order, name)
		}
		values[name] = value
	}
	known := map[string]field{}
	for _, f := range fields() {
		known[f.env] = f
	}
	var errs []error
	for _, name := range order {
		value := values[name]
		f, ok := known[name]
		switch {
		case !ok && !isServiceLink(name, value):
			errs = append(errs, unknown(name))
		case !ok || value == "":
		default:
			if err := set(c.value(f), value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errs
}

// set parses text into v.
func set(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *slog.Level:
		if p.UnmarshalText([]byte(text)) != nil {
			return fmt.Errorf("%q must be debug, info, warn or error", text)
		}
		return nil
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q must be a duration such as 30s or 5m", text)
		}
		*p = d
		return nil
	case *URL:
		*p = URL(strings.TrimSpace(text))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q must be a whole number", text)
		}
		v.SetInt(int64(n))
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("must be true or false")
		}
		v.SetBool(b)
	default:
		return fmt.Errorf("a setting of type %s cannot be read", v.Type())
	}
	return nil
}

// serviceLink is how Kubernetes names the variables that it puts into every pod
// for every service of the namespace: with a service called holdfast they have
// our prefix.
var serviceLink = regexp.MustCompile(`^HOLDFAST(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

func isServiceLink(name, value string) bool {
	if strings.HasSuffix(name, "_PORT") && (strings.HasPrefix(value, "tcp://") || strings.HasPrefix(value, "udp://")) {
		return true
	}
	return serviceLink.MatchString(name)
}

func unknown(name string) error {
	best, least := "", len(name[len(prefix):])/3
	for _, f := range fields() {
		if d := distance(name[len(prefix):], f.env[len(prefix):]); d <= least {
			best, least = f.env, d-1
		}
	}
	if best == "" {
		return fmt.Errorf("%s: there is no such setting", name)
	}
	return fmt.Errorf("%s: there is no such setting; did you mean %s?", name, best)
}

// distance is the number of characters to insert, remove or replace to make b
// of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// Markdown is the reference of all settings as a table, the content of the
// marked section of docs/operations.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| Variable | Default | Meaning |\n|---|---|---|\n")
	for _, f := range fields() {
		def := ""
		if f.def != "" {
			def = "`" + f.def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.env, def, strings.ReplaceAll(f.doc, "|", `\|`))
	}
	return b.String()
}

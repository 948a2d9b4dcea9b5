package httpapi_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// row is a request and what it must be answered with: a status, and a text that
// the answer has; of a refusal that is its code.
type row struct {
	method, path, body string
	status             int
	has                string
}

// rows makes the requests in their order and returns what was done, for complete.
func (w *world) rows(list ...row) (done []string) {
	w.t.Helper()
	for _, c := range list {
		if c.body == bigBody {
			c.body = `"` + strings.Repeat("x", contractMaxBody) + `"`
		}
		st, body := w.call(c.method, c.path, c.body, "Content-Type", "application/json")
		if st >= 400 && !strings.Contains(c.has, `"`) {
			c.has = `"code":"` + c.has + `"`
		}
		if st != c.status || !strings.Contains(body, c.has) {
			w.t.Errorf("%s %s %.80s: %d %.300s; want %d and %s", c.method, c.path, c.body, st, body, c.status, c.has)
		}
		done = append(done, fmt.Sprintf("%s %s %d", c.method, c.path, c.status))
	}
	return done
}

// classes are the kinds of answers of which a route must be seen to give one each:
// those that the description names, and success in any case.
var classes = []string{"2..", "400", "404", "409", "410", "413"}

// cannot says why an answer that the description names has no row.
var cannot = map[string]string{
	"POST /v1/agui/{name} 409":                 "only where a command is refused; a thread that waits gets RUN_ERROR, and a run is enqueued",
	"POST /v1/schedules/{schedule}/pause 409":  "it takes five changes by others, each between a read and a write",
	"POST /v1/schedules/{schedule}/resume 409": "it takes five changes by others, each between a read and a write",
	"PUT /v1/schedules/{schedule} 409":         "it takes five changes by others, each between a read and a write",
}

// covered says which test has the rows of the routes under a path; the longest
// one that fits counts.
var covered = map[string]string{
	"/v1/agui":      "TestAGUIRoutes",
	"/v1/sessions":  "TestV1Contract",
	"/v1/schedules": "TestScheduleRoutes",
}

// operations are the routes of the description under a path, with the statuses
// that it names.
func (w *world) operations(under string) map[string][]string {
	w.t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]any
		}
	}
	w.mustCall("GET", "/openapi.json", "", &doc)
	found := map[string][]string{}
	for path, item := range doc.Paths {
		if path != under && !strings.HasPrefix(path, under+"/") && !strings.HasPrefix(path, under+".") && under != "" {
			continue
		}
		for method, op := range item {
			var says []string
			for st := range op.Responses {
				says = append(says, st)
			}
			found[strings.ToUpper(method)+" "+path] = says
		}
	}
	return found
}

// complete checks that of each route under a path every class of answer was seen.
func (w *world) complete(under string, done []string) {
	w.t.Helper()
	inPath := regexp.MustCompile(`\\\{\w+\\\}`)
	for route, says := range w.operations(under) {
		_, path, _ := strings.Cut(route, " ")
		if len(path) > len(under) && coveredBy(path) != under {
			continue
		}
		pattern := "^" + inPath.ReplaceAllString(regexp.QuoteMeta(route), `[^/? ]+`) + `(\?\S*)? %s$`
		for _, class := range classes {
			key := route + " " + class
			want := regexp.MustCompile(fmt.Sprintf(pattern, class))
			seen := slices.ContainsFunc(done, want.MatchString)
			named := class == "2.." || slices.Contains(says, class)
			switch _, excused := cannot[key]; {
			case excused && seen:
				w.t.Errorf("%s: it is said that this cannot be, and there is a row", key)
			case named && !seen && !excused:
				w.t.Errorf("%s: no row with status %s", route, class)
			case seen && !named:
				w.t.Errorf("%s is answered with %s, and the description does not say so", route, class)
			}
		}
	}
}

// coveredBy is the path of covered under which a route is.
func coveredBy(path string) string {
	best := ""
	for under := range covered {
		if (path == under || strings.HasPrefix(path, under+"/") || strings.HasPrefix(path, under+".")) && len(under) > len(best) {
			best = under
		}
	}
	return best
}

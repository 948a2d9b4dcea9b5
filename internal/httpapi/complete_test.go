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

// headerOf splits the header from the method of a row: METHOD#NAME=VALUE, or
// METHOD#KEY for the Idempotency-Key.
func headerOf(m string) (method string, header []string) {
	method, rest, has := strings.Cut(m, "#")
	if !has {
		return method, nil
	}
	name, value, has := strings.Cut(rest, "=")
	if !has {
		name, value = "Idempotency-Key", rest
	}
	return method, []string{name, value}
}

// rows makes the requests in their order and returns what was done, for complete.
func (w *world) rows(list ...row) (done []string) {
	w.t.Helper()
	for _, c := range list {
		if c.body == bigBody {
			c.body = `"` + strings.Repeat("x", contractMaxBody) + `"`
		}
		method, header := headerOf(c.method)
		st, body := w.call(method, c.path, c.body, append([]string{"Content-Type", contentType(c.body)}, header...)...)
		if st >= 400 && !strings.Contains(c.has, `"`) {
			c.has = `"code":"` + c.has + `"`
		}
		if st != c.status || !strings.Contains(body, c.has) {
			w.t.Errorf("%s %s %.80s: %d %.300s; want %d and %s", c.method, c.path, c.body, st, body, c.status, c.has)
		}
		done = append(done, fmt.Sprintf("%s %s %d", method, c.path, c.status))
	}
	return done
}

// everywhere says which test has seen the statuses that any route may have.
var everywhere = map[string]string{
	"202": "TestEveryCommandCanBePending", "401": "TestEveryRouteIsHardToBreak", "415": "TestEveryRouteIsHardToBreak",
	"403": "TestQuotasAreForTheirReaders, TestQuotasAtEveryDoor", "429": "TestQuotasAtEveryDoor",
	"500": "TestPanic: the middleware answers it", "503": "TestEveryRouteBearsAnOutage",
}

// cannot says why a status that the description names has no row.
var cannot = map[string]string{
	"POST /v1/agui/{name} 409":                 "only where a command is refused; a thread that waits gets RUN_ERROR, and a run is enqueued",
	"POST /v1/schedules/{schedule}/pause 409":  "it takes five changes by others, each between a read and a write",
	"POST /v1/schedules/{schedule}/resume 409": "it takes five changes by others, each between a read and a write",
	"PUT /v1/schedules/{schedule} 409":         "it takes five changes by others, each between a read and a write",
	"GET /v1/search 504":                       "TestSearchIsCutOff of the stores: it takes a search of five seconds",
	"POST /v1/agents 409":                      "it takes a hundred files whose names are those that the model chose",
	"DELETE /v1/connections/{connection} 409":  "it takes a renewal between a read and a write",
	"POST /v1/sessions/{id}/messages 429":      "it takes as many scheduled runs as a session may have: the worker's limit",
	"POST /v1/webhooks/{webhook}/secret 409":   "it takes another change between a read and a write",
	"POST /v1/webhooks/{webhook}/secret 422":   "the overlap is no part of what a key makes",
	"POST /v1/sessions/import 429":             "TestImportsAreLimited",
	"POST /v1/sessions/import 408":             "TestTricklingBodies",
	"POST /v1/responses/{id}/cancel 409":       "only if the run ends between a read and the command",
}

// offered reports whether TestWhatIsNotOffered has a row for a route's 501.
func offered(route string) bool {
	return strings.Contains(route, "/v1/agui") || strings.Contains(route, "/v1/responses") || strings.Contains(route, "/v1/chat") || route == "POST /v1/conversations"
}

// covered says which test has the rows of the routes under a path; the longest
// one that fits counts.
var covered = map[string]string{
	"/v1/agui":          "TestAGUIRoutes",
	"/v1/sessions":      "TestV1Contract",
	"/v1/schedules":     "TestScheduleRoutes",
	"/v1/agents":        "TestAgentRoutes",
	"/v1/secrets":       "TestVaultRoutes",
	"/v1/oauth-clients": "TestVaultRoutes",
	"/v1/connections":   "TestVaultRoutes",
	"/v1/webhooks":      "TestWebhookRows",
	"/v1/usage":         "TestUsageRoutes",
	"/v1/quota":         "TestQuotaRoutes",
	"/v1/quotas":        "TestQuotaRoutes",
	"/v1/search":        "TestSearchRoutes",
	"/v1/responses":     "TestOpenAIRoutes",
	"/v1/chat":          "TestOpenAIRoutes",
	"/v1/models":        "TestOpenAIRoutes",
	"/v1/conversations": "TestOpenAIRoutes",
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

// complete checks that of each route under a path every status that the description
// names was seen, and no other.
func (w *world) complete(under string, done []string) {
	w.t.Helper()
	inPath := regexp.MustCompile(`\\\{\w+\\\}`)
	for route, says := range w.operations(under) {
		_, path, _ := strings.Cut(route, " ")
		if len(path) > len(under) && coveredBy(path) != under {
			continue
		}
		pattern := "^" + inPath.ReplaceAllString(regexp.QuoteMeta(route), `[^/? ]+`) + `(\?\S*)? %s$`
		seen := map[string]bool{}
		for _, d := range done {
			if regexp.MustCompile(strings.Replace(pattern, "%s", `\d+`, 1)).MatchString(d) {
				seen[d[len(d)-3:]] = true
			}
		}
		for st := range seen {
			if !slices.Contains(says, st) {
				w.t.Errorf("%s is answered with %s, and the description does not say so", route, st)
			}
		}
		for _, st := range says {
			key := route + " " + st
			switch {
			case cannot[key] != "" && seen[st]:
				w.t.Errorf("%s: it is said that this cannot be, and there is a row", key)
			case !seen[st] && cannot[key] == "" && everywhere[st] == "" && (st != "501" || offered(route)):
				w.t.Errorf("%s: no row with status %s", route, st)
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

package builtin

import (
	"net/url"
	"strings"
)

// robots are the rules of a robots.txt for one crawler (RFC 9309). No rules
// allow all.
type robots struct {
	rules []robotsRule
}

type robotsRule struct {
	allow   bool
	pattern string // "*" is any text, a last "$" the end of the path
}

// parseRobots returns the rules of all groups that name the crawler or, if none
// does, of those for "*".
func parseRobots(body, token string) *robots {
	var own, any robots
	ownGroup := false
	matchesOwn, matchesAny, inAgents := false, false, false
	for line := range strings.Lines(strings.TrimPrefix(body, "\uFEFF")) {
		line, _, _ = strings.Cut(line, "#")
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch key {
		case "user-agent":
			if !inAgents { // a new group begins
				matchesOwn, matchesAny = false, false
			}
			inAgents = true
			name, _, _ := strings.Cut(strings.ToLower(value), "/")
			if name == "*" {
				matchesAny = true
			} else if name == token {
				matchesOwn, ownGroup = true, true
			}
		case "allow", "disallow":
			inAgents = false
			if value == "" {
				continue // an empty rule says nothing
			}
			r := robotsRule{allow: key == "allow", pattern: value}
			if matchesOwn {
				own.rules = append(own.rules, r)
			}
			if matchesAny {
				any.rules = append(any.rules, r)
			}
		}
	}
	if ownGroup {
		return &own
	}
	return &any
}

// allow reports whether a URL may be fetched: the longest rule that matches
// decides, and of two that are as long the one that allows.
func (r *robots) allow(u *url.URL) bool {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if path == "/robots.txt" {
		return true
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	best, allowed := -1, true
	for _, rule := range r.rules {
		if n := len(rule.pattern); matchesRobots(rule.pattern, path) && (n > best || n == best && rule.allow) {
			best, allowed = n, rule.allow
		}
	}
	return allowed
}

// matchesRobots takes time in proportion to the lengths of both: a pattern
// comes from strangers.
func matchesRobots(pattern, path string) bool {
	pattern, anchored := strings.CutSuffix(pattern, "$")
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(path, parts[0])
	if !ok {
		return false
	}
	for i, part := range parts[1:] {
		if anchored && i == len(parts)-2 {
			return strings.HasSuffix(rest, part)
		}
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return !anchored || rest == ""
}

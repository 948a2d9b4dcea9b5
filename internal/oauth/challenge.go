package oauth

import (
	"net/http"
	"slices"
	"strings"
)

// Challenge is one challenge of a WWW-Authenticate header (RFC 9110 section
// 11.6.1).
type Challenge struct {
	// Scheme is in lower case.
	Scheme string
	// Token68 is what some schemes have instead of parameters.
	Token68 string
	// Params have names in lower case and unquoted values. Of a name that comes
	// twice the first counts.
	Params map[string]string
}

// Limits of what is read of challenges: a server may send a lot of nothing.
const (
	maxChallenges      = 16
	maxChallengeBytes  = 16 << 10
	maxChallengeParams = 32
)

// ParseChallenges reads all challenges of all values of WWW-Authenticate, in
// order. What cannot be read is left out, what comes after it in the same value
// too.
func ParseChallenges(values []string) []Challenge {
	var all []Challenge
	for _, v := range values {
		if len(v) > maxChallengeBytes {
			continue
		}
		p := challengeParser{rest: v}
		all = append(all, p.list()...)
		if len(all) > maxChallenges {
			return all[:maxChallenges]
		}
	}
	return all
}

// challengeParser reads one header value. The difficulty of the grammar is that
// a comma separates parameters and also challenges: a name followed by "=" goes
// on, a name followed by anything else begins a challenge.
type challengeParser struct{ rest string }

func (p *challengeParser) list() (out []Challenge) {
	for {
		p.skip(" \t,")
		scheme := p.token()
		if scheme == "" {
			return out
		}
		c := Challenge{Scheme: strings.ToLower(scheme), Params: map[string]string{}}
		spaced := p.skip(" \t")
		if spaced {
			c.Token68 = p.token68()
		}
		if spaced && c.Token68 == "" && !p.params(&c) {
			return append(out, c)
		}
		if out = append(out, c); p.rest != "" && p.rest[0] != ',' {
			return out
		}
	}
}

// params reads parameters until another challenge begins. False is that what
// follows cannot be read. A comma that is missing between two parameters is
// passed over: some servers forget it, and it cannot mean anything else.
func (p *challengeParser) params(c *Challenge) bool {
	for {
		before := p.rest
		p.skip(" \t,")
		name := strings.ToLower(p.token())
		p.skip(" \t")
		if name == "" || !strings.HasPrefix(p.rest, "=") {
			// No parameter: the comma before it ended this challenge.
			p.rest = before
			return name != "" && strings.HasPrefix(strings.TrimLeft(before, " \t"), ",") || p.rest == ""
		}
		p.rest = p.rest[1:]
		p.skip(" \t")
		value, ok := p.value()
		if !ok {
			return false
		}
		if _, twice := c.Params[name]; !twice && len(c.Params) < maxChallengeParams {
			c.Params[name] = value
		}
		spaced := p.skip(" \t")
		if p.rest == "" {
			return true
		}
		if p.rest[0] != ',' && !spaced {
			return false
		}
	}
}

func (p *challengeParser) skip(set string) bool {
	n := len(p.rest)
	p.rest = strings.TrimLeft(p.rest, set)
	return len(p.rest) < n
}

func (p *challengeParser) token() string {
	i := 0
	for i < len(p.rest) && isTokenChar(p.rest[i]) {
		i++
	}
	t := p.rest[:i]
	p.rest = p.rest[i:]
	return t
}

func isTokenChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// token68 reads credentials such as those of Negotiate, if that is what is there:
// up to a comma or the end, with "=" only as padding.
func (p *challengeParser) token68() string {
	i := 0
	for i < len(p.rest) && (isTokenChar(p.rest[i]) || p.rest[i] == '/') {
		i++
	}
	end := i
	for end < len(p.rest) && p.rest[end] == '=' {
		end++
	}
	after := strings.TrimLeft(p.rest[end:], " \t")
	if i == 0 || after != "" && after[0] != ',' {
		return ""
	}
	if end == i+1 && parameterFollows(after) {
		return "" // a parameter without value, as some servers write it, among others
	}
	t := p.rest[:end]
	p.rest = after
	return t
}

// parameterFollows reports whether what comes after a comma is a parameter and so
// belongs to the challenge before it.
func parameterFollows(rest string) bool {
	next := challengeParser{rest: rest}
	next.skip(" \t,")
	name := next.token()
	next.skip(" \t")
	value, equals := strings.CutPrefix(next.rest, "=")
	return name != "" && equals && !strings.HasPrefix(value, "=")
}

func (p *challengeParser) value() (string, bool) {
	if p.rest == "" || p.rest[0] == ',' {
		return "", true
	}
	if !strings.HasPrefix(p.rest, `"`) {
		// A bare value may have more than token characters at some servers, such as
		// a URL; it ends at a comma or a space.
		end := strings.IndexAny(p.rest, ", \t")
		if end < 0 {
			end = len(p.rest)
		}
		v := p.rest[:end]
		p.rest = p.rest[end:]
		return v, !strings.Contains(v, `"`)
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// tokenChallenge picks the challenge of a token scheme: the one that says most
// about where and for what to get a token. bound says that only tokens that are
// bound to a key are taken (RFC 9449 section 7.1).
func tokenChallenge(h http.Header) (best Challenge, bound bool) {
	score, bearer := -1, false
	for _, c := range ParseChallenges(h.Values("WWW-Authenticate")) {
		if c.Scheme != "bearer" && c.Scheme != "dpop" {
			continue
		}
		bearer = bearer || c.Scheme == "bearer"
		s := 0
		if c.Params["resource_metadata"] != "" {
			s += 4
		}
		if c.Params["error"] != "" {
			s += 2
		}
		if c.Params["scope"] != "" {
			s++
		}
		if s > score {
			best, score = c, s
		}
	}
	return best, score >= 0 && !bearer
}

// parseScopes splits a scope value and leaves out what is none (RFC 6749 section
// 3.3) or comes twice.
func parseScopes(s string) []string {
	return cleanScopes(strings.Fields(s))
}

const maxScopes = 256

func cleanScopes(in []string) []string {
	var out []string
	for _, s := range in {
		if s == "" || len(s) > 512 || len(out) == maxScopes || slices.Contains(out, s) || !isScope(s) {
			continue
		}
		out = append(out, s)
	}
	return out
}

func isScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// union returns all scopes of both, those of a first.
func union(a, b []string) []string { return cleanScopes(append(slices.Clone(a), b...)) }

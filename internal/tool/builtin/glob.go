package builtin

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

// globPattern turns a glob into a regular expression for whole paths with
// slashes: "*" and "?" stay within a part, "**" goes over parts, [...] is a set,
// {a,b} is one of several. RE2 takes time in proportion to the path, so that
// nobody can write a slow pattern.
func globPattern(glob string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`^`)
	braces := 0
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			switch {
			case strings.HasPrefix(glob[i:], "**/"):
				b.WriteString(`(?:[^/]*/)*`)
				i += 2
			case strings.HasPrefix(glob[i:], "**"):
				b.WriteString(`.*`)
				i++
			default:
				b.WriteString(`[^/]*`)
			}
		case '?':
			b.WriteString(`[^/]`)
		case '[':
			set, _, ok := strings.Cut(glob[i+1:], "]")
			if !ok || set == "" || set == "!" || set == "^" {
				return nil, fmt.Errorf("the pattern %q has a set that does not end", glob)
			}
			i += len(set) + 1
			not := ""
			if set[0] == '!' || set[0] == '^' {
				not, set = "^", set[1:]
			}
			b.WriteString("[" + not + strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`, `&`, `\&`).Replace(set) + "]")
		case '{':
			braces++
			b.WriteString(`(?:`)
		case '}':
			if braces == 0 {
				b.WriteString(`\}`)
				continue
			}
			braces--
			b.WriteString(`)`)
		case ',':
			if braces > 0 {
				b.WriteString(`|`)
			} else {
				b.WriteString(`,`)
			}
		case '\\':
			if i++; i < len(glob) {
				b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
			}
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	b.WriteString(`$`)
	re, err := regexp.Compile(`(?s)` + b.String())
	if err != nil {
		return nil, fmt.Errorf("the pattern %q cannot be used", glob)
	}
	return re, nil
}

// globs are patterns of which one has to match. One without a slash is compared
// with the last part of a path, others with the whole.
type globs []globRule

type globRule struct {
	re    *regexp.Regexp
	whole bool
}

func newGlobs(patterns ...string) (globs, error) {
	var g globs
	for _, p := range patterns {
		p = strings.TrimPrefix(p, "./")
		re, err := globPattern(strings.TrimSuffix(p, "/"))
		if err != nil {
			return nil, err
		}
		g = append(g, globRule{re, strings.Contains(strings.TrimSuffix(p, "/"), "/")})
	}
	return g, nil
}

func (g globs) match(name string) bool {
	for _, r := range g {
		if r.whole && r.re.MatchString(name) || !r.whole && r.re.MatchString(path.Base(name)) {
			return true
		}
	}
	return false
}

// maxIgnoreFile is the most bytes of a .gitignore that are read.
const maxIgnoreFile = 1 << 20

// ignores knows what git would not look at: .git itself, and what the .gitignore
// files of a tree name (gitignore(5)). Global and repository-private excludes
// are not read.
type ignores struct {
	root  *os.Root
	rules map[string][]ignoreRule // by directory
}

type ignoreRule struct {
	re      *regexp.Regexp
	negated bool
	onlyDir bool
	whole   bool // compared with the path below the file's directory, else with the last part
}

func newIgnores(root *os.Root) *ignores {
	return &ignores{root: root, rules: make(map[string][]ignoreRule)}
}

// skip reports whether name, relative to the root, is ignored; parents are not
// looked at: whoever walks a tree asks for each directory on the way.
func (g *ignores) skip(name string, isDir bool) bool {
	if path.Base(name) == ".git" {
		return true
	}
	if name == "." {
		return false
	}
	// The file nearest to the name decides, and in it the last rule.
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		below := name
		if dir != "." {
			below = strings.TrimPrefix(name, dir+"/")
		}
		rules := g.in(dir)
		for i := len(rules) - 1; i >= 0; i-- {
			r := rules[i]
			if r.onlyDir && !isDir {
				continue
			}
			if r.whole && r.re.MatchString(below) || !r.whole && r.re.MatchString(path.Base(name)) {
				return !r.negated
			}
		}
		if dir == "." {
			return false
		}
	}
}

func (g *ignores) in(dir string) []ignoreRule {
	if rules, ok := g.rules[dir]; ok {
		return rules
	}
	var rules []ignoreRule
	body, err := readLimited(g.root, path.Join(dir, ".gitignore"), maxIgnoreFile)
	if err == nil { // most directories have none
		rules = parseIgnores(string(body))
	}
	g.rules[dir] = rules
	return rules
}

func parseIgnores(body string) []ignoreRule {
	var rules []ignoreRule
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasSuffix(line, `\ `) {
			line = strings.TrimRight(line, " ")
		}
		if line == "" || line[0] == '#' {
			continue
		}
		var r ignoreRule
		line, r.negated = strings.CutPrefix(line, "!")
		line, r.onlyDir = strings.CutSuffix(line, "/")
		r.whole = strings.Contains(line, "/")
		line = strings.TrimPrefix(line, "/")
		re, err := globPattern(line)
		if err != nil || line == "" {
			continue // git skips what it cannot read too
		}
		r.re = re
		rules = append(rules, r)
	}
	return rules
}

// fileKind names the kind of a file for listings.
func fileKind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeSymlink != 0:
		return "link"
	case mode.IsRegular():
		return "file"
	}
	return "special"
}

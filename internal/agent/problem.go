package agent

import (
	"fmt"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// Problem is one thing that is wrong with an agent file.
type Problem struct {
	// Line and Column count from 1; 0 if the problem is not at one place.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Key is the path of what is wrong, such as agents.root.toolsets[0].type.
	Key string `json:"key"`
	// Message says what is wrong and what to do.
	Message string `json:"message"`
	// NotOffered is set if the file is right and this deployment does not offer
	// what it asks for.
	NotOffered bool `json:"not_offered,omitempty"`
}

// FileError is why a file was refused: all its problems, in the order of the
// file. In its chain is a [holdfast.Error] whose code is CodeNotOffered if every
// problem is of that kind, and CodeInvalid otherwise; its message is that of the
// FileError and may be shown to the file's owner.
type FileError struct {
	File     string
	Problems []Problem
}

// maxShown is how many problems the text of a FileError holds.
const maxShown = 20

// Error returns one line for each problem, as file:line:column: message.
func (e *FileError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == maxShown {
			fmt.Fprintf(&b, "\n%s: and %d more", e.File, len(e.Problems)-maxShown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
		b.WriteString(p.Message)
	}
	return b.String()
}

// Unwrap returns the error with the code.
func (e *FileError) Unwrap() error {
	code := holdfast.CodeNotOffered
	for _, p := range e.Problems {
		if !p.NotOffered {
			code = holdfast.CodeInvalid
		}
	}
	return &holdfast.Error{Code: code, Message: e.Error()}
}

// sortProblems puts problems in the order of the file.
func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// nearest returns the candidate that word is most likely a slip of, "" if none
// is near.
func nearest(word string, candidates []string) string {
	const limit = 64 // no key is longer, and the cost grows with the square
	if len(word) == 0 || len(word) > limit {
		return ""
	}
	best, bestDist := "", 1+max(1, len(word)/3)
	plain := func(s string) string {
		return strings.ToLower(strings.Map(func(r rune) rune {
			if r == '_' || r == '-' || r == ' ' {
				return -1
			}
			return r
		}, s))
	}
	for _, c := range candidates {
		if len(c) > limit {
			continue
		}
		d := distance(word, c)
		if plain(word) == plain(c) {
			d = 0
		}
		if d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, substitutions and swaps of
// neighbours (Damerau's, restricted) that turn a into b.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	rows := make([][]int, len(s)+1)
	for i := range rows {
		rows[i] = make([]int, len(t)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(s); i++ {
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(s)][len(t)]
}

// didYouMean returns a clause that names the nearest candidate or, if there is
// none and they are few, all of them.
func didYouMean(word string, candidates []string) string {
	if n := nearest(word, candidates); n != "" {
		return fmt.Sprintf("; did you mean `%s`?", n)
	}
	if len(candidates) > 0 && len(candidates) <= 16 {
		return "; known: " + strings.Join(candidates, ", ")
	}
	return ""
}

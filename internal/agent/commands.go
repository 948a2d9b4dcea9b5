package agent

import (
	"regexp"
	"strconv"
	"strings"
)

// argument is what stands for what the user typed behind the name of a command.
var argument = regexp.MustCompile(`\$\{args(?:\.join\((?:"([^"]*)"|'([^']*)')\)|\.length|\[(\d{1,3})\])?\}|\$([1-9])\b`)

// computed is what cagent runs when a command is used: a script or a tool.
var computed = regexp.MustCompile(`\$\{\s*[A-Za-z_][A-Za-z0-9_.]*\([^}]*\}|!\w+\(`)

// Find returns the command that a message of the user begins with, /name, and what
// comes behind it. It returns nil for any other message.
func (l CommandList) Find(message string) (c *Command, rest string) {
	name, ok := strings.CutPrefix(message, "/")
	if !ok {
		return nil, ""
	}
	if i := strings.IndexAny(name, " \t\n"); i >= 0 {
		name, rest = name[:i], strings.TrimSpace(name[i:])
	}
	for _, c := range l {
		if c.Name == name {
			return c, rest
		}
	}
	return nil, ""
}

// Fill is an instruction with what the user typed behind the command's name put in:
// ${args} and ${args.join(" ")} are all of it, ${args[0]} and $1 the first word,
// ${args.length} the number of words. Quotes hold words together. $1 stays where
// there is no such word. Where nothing stands for it, it comes behind.
func Fill(instruction, typed string) string {
	words := shellWords(typed)
	used := false
	out := argument.ReplaceAllStringFunc(instruction, func(m string) string {
		sub := argument.FindStringSubmatch(m)
		switch {
		case sub[4] != "":
			n, err := strconv.Atoi(sub[4])
			if err != nil || n > len(words) {
				return m
			}
			used = true
			return words[n-1]
		case sub[3] != "":
			used = true
			if n, err := strconv.Atoi(sub[3]); err == nil && n < len(words) {
				return words[n]
			}
			return ""
		case strings.HasPrefix(m, "${args.length"):
			used = true
			return strconv.Itoa(len(words))
		case strings.HasPrefix(m, "${args.join"):
			used = true
			return strings.Join(words, sub[1]+sub[2])
		}
		used = true
		return strings.Join(words, " ")
	})
	if !used && typed != "" {
		if out == "" {
			return typed
		}
		out += " " + typed
	}
	return out
}

// shellWords are the words of a line; quotes hold words together and go.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	begun := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'' && word.Len() == 0: // not an apostrophe
			quote, begun = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if begun || word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
		}
	}
	if begun || word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}

// refusedIn is what a command computes that is not offered, "" for nothing.
func refusedIn(instruction string) string {
	for _, m := range computed.FindAllString(instruction, -1) {
		if !argument.MatchString(m) {
			return m
		}
	}
	return ""
}

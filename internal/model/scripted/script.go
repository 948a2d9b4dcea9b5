package scripted

import (
	"regexp"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// script is a loaded script. It is never changed after loading.
type script struct {
	title        *text // nil: the first words of the user's message
	summary      *text // nil: a fixed sentence
	contextLimit int64 // estimated tokens, 0: none
	turns        []turn
}

// turn is a condition and the answer that it selects.
type turn struct {
	when when

	wait  time.Duration // before the first chunk
	delay time.Duration // before each further word

	reason   *text
	say      *text
	sayWords int
	calls    []call

	usage       *usage
	finish      string // "" is chosen by what the turn does
	singleChunk bool

	// At most one of these ends the answer early, after so many words of say.
	breakAfter int
	fail       *failure
	cut        bool
	stall      bool
}

// when is the condition of a turn. Its zero value fits every message of a user.
type when struct {
	equals   string // lower case, "" is not given
	contains string // lower case, "" is not given
	matches  *regexp.Regexp
	// afterTool is the tool whose result must be the last thing in the
	// conversation, "*" for any, "" for none.
	afterTool string
	output    *regexp.Regexp
	turn      int // answers since the last user message, -1: not given
}

// call is a tool call of an answer. Exactly one of args and argsText is set, or
// none for {}.
type call struct {
	name     string
	args     *value
	argsText *text
}

// usage replaces the counted tokens; -1 is a number that was not given.
type usage struct {
	input, output, cached, cacheWrite, reasoning int64
}

// failure is the error that ends an answer.
type failure struct {
	code    holdfast.Code
	message string
}

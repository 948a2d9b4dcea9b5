package httpapi

import (
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// answerFold collects what the outermost agent says in a part: protocols in which
// an agent answers once get its last message.
type answerFold struct {
	sink *partSink
	// heard, if not nil, is told each delta of a message, "" for the end of one;
	// void says that the message broke off and is said again.
	heard func(delta string, void bool) error
	// did, if not nil, is told that a tool is about to run.
	did func(c holdfast.ToolCall) error

	last, now strings.Builder
}

// newAnswerFold returns the fold of a part.
func newAnswerFold(p *part, session string) *answerFold {
	f := &answerFold{}
	f.sink = &partSink{part: p, session: session, tell: f.tell}
	return f
}

// progressText is how many characters of a message progress tells.
const progressText = 200

// progress has say told what goes on, in words for people: what the agent says on
// its way to the answer, and the tools that it is about to call.
func (f *answerFold) progress(say func(message string) error) {
	var now strings.Builder
	said := "" // whether it was the answer shows when something follows
	tell := func() error {
		text := said
		if said = ""; text == "" {
			return nil
		}
		if short := []rune(text); len(short) > progressText {
			text = string(short[:progressText]) + "…"
		}
		return say(text)
	}
	f.heard = func(delta string, void bool) error {
		if delta != "" {
			now.WriteString(delta)
			return tell()
		}
		if !void {
			said = now.String()
		}
		now.Reset()
		return nil
	}
	f.did = func(c holdfast.ToolCall) error {
		if err := tell(); err != nil {
			return err
		}
		return say("calls the tool " + c.Function.Name)
	}
}

// text returns the last message, or what there is of it.
func (f *answerFold) text() string {
	if f.now.Len() > 0 {
		return f.now.String()
	}
	return f.last.String()
}

func (f *answerFold) tell(t told, _ *item) error {
	if !t.outer {
		return nil
	}
	switch ev := t.event.(type) {
	case *holdfast.AgentChoiceEvent:
		f.now.WriteString(ev.Content)
		return f.hear(ev.Content, false)
	case *holdfast.ModelCallFinishedEvent:
		if ev.Purpose != "" || f.now.Len() == 0 {
			return nil
		}
		f.last.Reset()
		f.last.WriteString(f.now.String())
		f.now.Reset()
		return f.hear("", false)
	case *holdfast.ModelCallVoidedEvent:
		if f.now.Len() == 0 {
			return nil
		}
		f.now.Reset()
		return f.hear("", true)
	case *holdfast.ToolCallEvent:
		if f.did != nil {
			return f.did(ev.ToolCall)
		}
	}
	return nil
}

func (f *answerFold) hear(delta string, void bool) error {
	if f.heard == nil {
		return nil
	}
	return f.heard(delta, void)
}

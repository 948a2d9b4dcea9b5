package runtime

import (
	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// maxMoreIterations bounds what one resume may grant.
const maxMoreIterations = 1000

// acceptResume lets a run that used up its iterations go on.
func (s *State) acceptResume(c events.Command, b events.ResumeBody) ([]holdfast.Event, string, error) {
	switch {
	case b.Iterations < 0 || b.Iterations > maxMoreIterations:
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "iterations: %d is not between 1 and %d", b.Iterations, maxMoreIterations)
	case s.Run == nil:
		return nil, "", holdfast.Errorf(holdfast.CodeConflict, "nothing waits to go on: the session has no active run")
	case b.Run != "" && b.Run != s.Run.ID:
		return nil, "", holdfast.Errorf(holdfast.CodeConflict, "run %s is not the active run", b.Run)
	case !s.Run.AtLimit || s.Run.Canceled:
		return nil, "", holdfast.Errorf(holdfast.CodeConflict, "run %s does not wait at its limit of iterations", s.Run.ID)
	}
	if b.Iterations == 0 {
		b.Iterations = moreIterations
	}
	return []holdfast.Event{&holdfast.RunContinuedEvent{Run: s.Run.ID, Iterations: b.Iterations, Command: c.ID}}, s.Run.ID, nil
}

// acceptCompact notes that the conversation is to be summarized: at once if the
// session is idle, else at the next safe point. The acceptance itself is the note.
func (s *State) acceptCompact() ([]holdfast.Event, string, error) {
	if s.Run != nil || len(s.Queue) > 0 {
		return nil, "", nil
	}
	if s.LastAgent == "" || len(s.Conversation) <= s.Summarized {
		return nil, "", holdfast.Errorf(holdfast.CodeConflict, "there is nothing to summarize: the model sees no message that is not in the summary already")
	}
	return nil, "", nil
}

package holdfast

import "time"

// TypeRunScheduled is the wire name of [RunScheduledEvent].
const TypeRunScheduled = "run_scheduled"

// RunScheduledEvent (run_scheduled) says that input was accepted and will be queued as a run when its time
// has come. The timer_set in the same frame brings that about; a run_canceled of Run before then takes it back.
type RunScheduledEvent struct {
	AgentContext
	Run     string `json:"run"`
	Command string `json:"command"`
	// Timer is the timer that queues the run, At the time for which it is set.
	Timer string    `json:"timer"`
	At    time.Time `json:"at"`
	// Agent, AgentInFile, Mode and Messages are those of the run: see [RunQueuedEvent]. The
	// agent file is looked up when the time has come.
	Agent       string    `json:"agent,omitempty"`
	AgentInFile string    `json:"agent_in_file,omitempty"`
	Mode        string    `json:"mode,omitempty"`
	Messages    []Message `json:"messages"`
}

// EventType returns "run_scheduled".
func (*RunScheduledEvent) EventType() string { return TypeRunScheduled }

func (e *RunScheduledEvent) payload() any { type p RunScheduledEvent; return (*p)(e) }

// MarshalJSON returns the wire form.
func (e *RunScheduledEvent) MarshalJSON() ([]byte, error) { return MarshalEvent(e) }

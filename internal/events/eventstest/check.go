package eventstest

import (
	"encoding/json"
	"fmt"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Check is an independent judge of one session's log: it sees the events that
// somebody read, in order, and nothing else. It knows the rules, not the code.
type Check struct {
	// Content counts the events by the content that [Check.Key] names.
	Content map[string]int

	seq, epoch uint64
	worker     string            // who claimed the epoch
	workers    map[uint64]string // epoch → worker
	last       string            // type of the last event
}

// NewCheck judges a log from its first event.
func NewCheck() *Check {
	return &Check{Content: map[string]int{}, workers: map[uint64]string{}}
}

// Seq returns the number of the last event.
func (c *Check) Seq() uint64 { return c.seq }

// Key is the content of an event that a test wrote: its agent_choice text.
func (c *Check) Key(e *events.Envelope) (string, error) {
	if e.Type != holdfast.TypeAgentChoice {
		return "", nil
	}
	var p struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		return "", fmt.Errorf("seq %d: %w", e.Seq, err)
	}
	return p.Content, nil
}

// Event judges the next event.
func (c *Check) Event(e events.Envelope) error {
	if e.Seq != c.seq+1 {
		return fmt.Errorf("seq %d after %d", e.Seq, c.seq)
	}
	if e.Epoch < c.epoch {
		return fmt.Errorf("seq %d: epoch %d after %d", e.Seq, e.Epoch, c.epoch)
	}
	if (e.Seq == 1) != (e.Type == holdfast.TypeSessionCreated) {
		return fmt.Errorf("seq %d is %s", e.Seq, e.Type)
	}
	claimed := e.Type == holdfast.TypeSessionClaimed
	if e.Epoch != c.epoch && !claimed {
		return fmt.Errorf("seq %d: epoch %d begins with %s", e.Seq, e.Epoch, e.Type)
	}
	if claimed {
		if e.Epoch != c.epoch+1 {
			return fmt.Errorf("seq %d: epoch %d is claimed after %d", e.Seq, e.Epoch, c.epoch)
		}
		var p struct {
			Worker string `json:"worker"`
		}
		if err := json.Unmarshal(e.Payload, &p); err != nil || p.Worker == "" {
			return fmt.Errorf("seq %d: a claim without a worker: %s", e.Seq, e.Payload)
		}
		if w, ok := c.workers[e.Epoch]; ok {
			return fmt.Errorf("seq %d: epoch %d is claimed by %s and by %s", e.Seq, e.Epoch, w, p.Worker)
		}
		c.workers[e.Epoch], c.worker = p.Worker, p.Worker
	}
	key, err := c.Key(&e)
	if err != nil {
		return err
	}
	if key != "" {
		c.Content[key]++
		if n := c.Content[key]; n > 1 {
			return fmt.Errorf("seq %d: %q is there %d times", e.Seq, key, n)
		}
	}
	c.seq, c.epoch, c.last = e.Seq, e.Epoch, e.Type
	return nil
}

// Worker returns who wrote an epoch.
func (c *Check) Worker(epoch uint64) string { return c.workers[epoch] }

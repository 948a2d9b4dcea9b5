package runtime

import (
	"context"
	"strings"
	"time"
	"unicode"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/model"
)

const (
	maxTitle     = 80 // characters
	titleTimeout = 30 * time.Second
	titlePrompt  = "Write a title of at most eight words for a conversation that begins with the user's message below. Answer with the title alone, without quotation marks."
)

// titleCall is the model call that finds a title, beside the first turn.
type titleCall struct {
	stop  context.CancelFunc
	done  chan struct{} // closed when what follows is set
	text  string
	usage *model.Usage
	call  string
	model string
	info  ModelInfo
	agent string
}

// startTitle asks for a title while the first turn goes on. Only the loop's
// goroutine calls it.
func (d *drive) startTitle(ctx context.Context, team *agent.Team, m model.Model, info ModelInfo) {
	if d.title != nil {
		return
	}
	var first string
	wanted := false
	d.locked(func() {
		first = d.s.firstWords()
		wanted = d.s.Title == "" && strings.TrimSpace(first) != ""
	})
	if !wanted {
		return
	}
	tctx, cancel := context.WithTimeout(ctx, titleTimeout)
	t := &titleCall{done: make(chan struct{}), call: holdfast.NewID(), model: m.Name(), info: info, agent: team.Root().Name}
	finished := make(chan struct{})
	t.stop = func() {
		cancel()
		<-finished
	}
	d.title = t
	go func() {
		defer close(finished)
		defer close(t.done)
		defer cancel()
		defer d.e.survive("find a title", d.w.Ref())
		var b strings.Builder
		req := model.Request{
			Purpose:        model.PurposeTitle,
			IdempotencyKey: t.call,
			Messages: []holdfast.Message{
				{Role: holdfast.RoleSystem, Content: titlePrompt},
				{Role: holdfast.RoleUser, Content: clip(first, 2000)},
			},
		}
		err := m.Stream(tctx, req, func(c model.Chunk) error {
			b.WriteString(c.Text)
			if c.Usage != nil {
				t.usage = c.Usage
			}
			return nil
		})
		if err != nil {
			d.e.log.Debug("no title from the model", "session", d.w.Ref().String(), "error", err)
			return
		}
		t.text = cleanTitle(b.String())
	}()
}

// firstWords is what the user said first.
func (s *State) firstWords() string {
	for i := range s.Conversation {
		if s.Conversation[i].Role == holdfast.RoleUser {
			return s.Conversation[i].Content
		}
	}
	return ""
}

// finishTitle adds the title if it comes in time; if the model has none, the
// beginning of the user's first message has to do.
func (d *drive) finishTitle(ctx context.Context) error {
	var fallback, name string
	d.locked(func() { fallback, name = cleanTitle(d.s.firstWords()), d.s.Run.AgentInFile })
	text := fallback
	var evs []holdfast.Event
	if d.title == nil {
		// An owner before this one made the turn: it took what it knew with it.
		d.lateTitle(ctx)
	}
	if t := d.title; t != nil {
		timer := time.NewTimer(d.e.cfg.TitleWait)
		defer timer.Stop()
		select {
		case <-t.done:
			if t.text != "" {
				text = t.text
			}
			if t.usage != nil {
				var u holdfast.Usage
				d.locked(func() { u = d.usage(t.usage, t.info) })
				u.ContextLength = 0 // not of the conversation
				evs = append(evs, &holdfast.ModelCallFinishedEvent{
					AgentContext: holdfast.AgentContext{AgentName: t.agent}, Call: t.call, Model: t.model,
					Purpose: string(model.PurposeTitle), Usage: &u,
				})
			}
		case <-timer.C:
		case <-d.w.Lost():
			return d.w.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if text != "" {
		evs = append(evs, &holdfast.SessionTitleEvent{AgentContext: holdfast.AgentContext{AgentName: name}, Title: text})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(ctx, evs...)
}

// lateTitle asks for a title after the turn. Without a model there is none.
func (d *drive) lateTitle(ctx context.Context) {
	team, a, err := d.lockedTeam()
	if err != nil {
		return
	}
	m, info, err := d.e.model(ctx, d.s.Ref.Tenant, team, a.Models[0])
	if err != nil {
		return
	}
	d.startTitle(ctx, team, m, info)
}

// cleanTitle makes one short line of a model's answer.
func cleanTitle(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	s = strings.Trim(s, "\"'“”‘’`* ")
	return clip(s, maxTitle)
}

// clip cuts s to at most n characters.
func clip(s string, n int) string {
	count := 0
	for i := range s {
		if count == n {
			return strings.TrimSpace(s[:i]) + "…"
		}
		count++
	}
	return s
}

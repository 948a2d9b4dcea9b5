package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// chat is a conversation on a terminal. One goroutine, that of loop, owns it;
// requests run beside it and hand in what is to be done with their answers.
type chat struct {
	client    *client.Client
	out       io.Writer
	style     style
	size      func() (columns, rows int)
	where     string // the server, for people
	back      string // the command that goes on with it, but for the session; "" if nothing outlives the chat
	session   string
	agent     string // agent file
	agentName string
	approved  bool
	// approvedAll says that calls are approved in this session: what is asked all the
	// same is asked each time.
	approvedAll bool
	learned     string        // the agent file whose commands custom has
	custom      []namedPrompt // of the agent file

	screen screen
	editor editor
	keys   keyReader
	resize <-chan os.Signal // tells that the terminal has another size
	// suspend stops the process until the user goes on with it; nil where there is no
	// such thing.
	suspend func() error
	halt    bool // the user wants that
	links   chan bool
	done    chan func()

	after    uint64 // the newest event that was shown
	finished []string
	md       markdown
	partial  string   // the line that the model writes, without its newline
	flushed  int      // how many rows of it are in the text already
	wrapped  int      // the columns for which they were broken
	table    []string // rows of a table that is not over yet
	speaker  string

	running   bool
	run       string
	began     time.Time
	thinking  strings.Builder
	thought   time.Time
	writing   string // the tool call that the model writes
	tools     []*chatTool
	pending   []*holdfast.ToolCallConfirmationEvent
	limit     *holdfast.MaxIterationsReachedEvent
	auth      *holdfast.AuthorizationRequiredEvent
	forms     []*form  // questions that wait, the oldest first
	queue     []string // what was sent and is not in the log yet
	title     string
	tokens    int64
	cost      float64
	notice    string
	away      bool
	frame     int
	leaving   bool
	over      bool
	cancelRun context.CancelFunc // ends the following of the session
	entries   chan chatEntry
}

type chatEntry struct {
	session string
	client.Entry
	err error
}

// chatTool is a tool call, for the line that it is folded into.
type chatTool struct {
	call    holdfast.ToolCall
	began   time.Time
	output  string
	failed  bool
	settled bool
}

// connection is told what becomes of the connection, by whoever follows the
// session.
func (ch *chat) connection(n client.Connection) {
	select {
	case ch.links <- n.Up:
	case <-time.After(time.Second): // nobody looks any more
	}
}

// open finds or makes the session and shows what was said in it.
func (ch *chat) open(ctx context.Context) error {
	ch.links, ch.done, ch.entries = make(chan bool, 4), make(chan func(), 16), make(chan chatEntry)
	ch.screen = screen{w: ch.out, size: ch.size}
	if ch.session == "" {
		return ch.begin(ctx)
	}
	id, err := session(ctx, ch.client, ch.session)
	if err != nil {
		return err
	}
	doc, err := ch.client.GetSession(ctx, id)
	if err != nil {
		return err
	}
	ch.adopt(doc)
	for _, m := range doc.Messages {
		switch m.Message.Role {
		case holdfast.RoleUser:
			ch.said(m.Message.Content)
			ch.editor.remember(m.Message.Content)
		case holdfast.RoleAssistant:
			ch.speak(m.AgentName)
			ch.write(m.Message.Content)
			ch.endText()
			for _, tc := range m.Message.ToolCalls {
				if !slices.ContainsFunc(doc.Pending, func(p client.PendingCall) bool { return p.ToolCall.ID == tc.ID }) {
					ch.tools = append(ch.tools, &chatTool{call: tc})
				}
			}
		case holdfast.RoleTool:
			ch.toolDone(m.Message.ToolCallID, m.Message.Content, m.Message.IsError)
		}
	}
	for _, p := range doc.Pending {
		ev := &holdfast.ToolCallConfirmationEvent{ToolCall: p.ToolCall, Reason: p.Reason, ExpiresAt: p.ExpiresAt}
		ch.pending = append(ch.pending, ev)
	}
	for _, q := range doc.Questions {
		ch.addForm(newForm(q.ID, q.Message, q.URL, q.ServerURL, q.Schema))
	}
	return nil
}

// begin makes a new session.
func (ch *chat) begin(ctx context.Context) error {
	if ch.agent == "" {
		list, err := ch.client.GetAgents(ctx)
		if err != nil {
			return err
		}
		if len(list) != 1 {
			var names []string
			for _, a := range list {
				names = append(names, a.Name)
			}
			return &exitError{exitUsage, fmt.Errorf("name one of the server's agents: holdfast chat AGENT\nthere are: %s", strings.Join(names, ", "))}
		}
		ch.agent = list[0].Name
	}
	doc, err := ch.client.CreateSession(ctx, client.NewSession{Agent: ch.agent, ToolsApproved: ch.approved})
	if err != nil {
		return err
	}
	ch.adopt(doc)
	rt, err := client.NewRemoteRuntime(ch.client, client.WithRemoteAgentFilename(ch.agent), client.WithRemoteCurrentAgent(ch.agentName))
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(rt.CurrentAgent().WelcomeMessage()); text != "" {
		ch.write(text)
		ch.endText()
	}
	return nil
}

// adopt makes a session the one that is shown.
func (ch *chat) adopt(doc *client.Document) {
	ch.session, ch.after, ch.title = doc.ID, doc.Seq, doc.Title
	ch.agent = cmp.Or(ch.agent, doc.Agent)
	ch.run, ch.running, ch.began = doc.Run, doc.Run != "", time.Now()
	ch.approvedAll = doc.ToolsApproved
	ch.cost, ch.tokens = doc.Cost, doc.InputTokens+doc.OutputTokens
	ch.forms, ch.pending, ch.limit, ch.auth, ch.tools, ch.queue, ch.speaker = nil, nil, nil, nil, nil, nil, ""
	ch.partial, ch.flushed, ch.table, ch.md = "", 0, nil, markdown{}
	ch.paragraph(fmt.Sprintf("holdfast · %s · %s · session %s · /help", strings.TrimSuffix(ch.agent, ".yaml"), ch.where, doc.ID), lookDim, "")
}

// follow reads the session until it is told to stop.
func (ch *chat) follow(ctx context.Context) {
	ctx, ch.cancelRun = context.WithCancel(ctx)
	id, after := ch.session, ch.after
	go func() {
		for e, err := range ch.client.Events(ctx, id, after) {
			select {
			case ch.entries <- chatEntry{id, e, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// loop runs the chat until the user leaves.
func (ch *chat) loop(ctx context.Context, keys <-chan []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch.follow(ctx)
	ch.approveAll(ctx) // what waited before
	ch.learn(ctx)
	tick := time.NewTicker(120 * time.Millisecond)
	defer tick.Stop()
	ch.repaint()
	for !ch.over {
		select {
		case <-ctx.Done():
			ch.screen.leave()
			return &exitError{exitCanceled, nil}
		case data, ok := <-keys:
			if !ok {
				ch.over = true
				break
			}
			for _, k := range ch.keys.feed(data) {
				ch.press(ctx, k)
			}
			if err := ch.paused(); err != nil {
				return err
			}
		case e := <-ch.entries:
			err := ch.take(e)
			if err == nil {
				err = ch.more() // what comes together is painted together
			}
			if err != nil {
				ch.repaint() // what came before it is shown
				ch.screen.leave()
				return err
			}
			ch.approveAll(ctx)
		case <-ch.resize:
		case up := <-ch.links:
			ch.away = !up // why is a matter of networks; the user sees that it is being mended
		case fn := <-ch.done:
			fn()
		case <-tick.C:
			if columns, _ := ch.size(); !ch.running && !ch.away && columns == ch.screen.columns {
				continue
			}
			ch.frame++
		}
		ch.repaint()
		if ch.screen.err != nil {
			return ch.screen.err
		}
	}
	ch.screen.leave()
	return nil
}

// more takes the events that have come already. An error ends the chat, as that of
// an event that comes alone does: nothing follows it.
func (ch *chat) more() error {
	for {
		select {
		case e := <-ch.entries:
			if err := ch.take(e); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// paused stops the process if the user wants that. The screen is left, and painted
// anew when he is back.
func (ch *chat) paused() error {
	if !ch.halt {
		return nil
	}
	ch.halt = false
	ch.screen.leave()
	return ch.suspend()
}

// approveAll answers what is asked, if the user wants that.
func (ch *chat) approveAll(ctx context.Context) {
	for ch.approved && len(ch.pending) > 0 && ch.pending[0].Reason == "" {
		ch.decide(ctx, ch.pending[0], client.Decision{Decision: client.ResumeTypeApprove})
	}
}

// beside makes a request without holding up the screen. then is called by the loop.
func (ch *chat) beside(ctx context.Context, request func(context.Context) error, then func(error)) {
	done := ch.done
	go func() {
		err := request(ctx)
		select {
		case done <- func() { then(err) }:
		case <-ctx.Done():
		}
	}()
}

// orFail shows what went wrong.
func (ch *chat) orFail(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		ch.fail(err)
	}
}

func (ch *chat) fail(err error) {
	code, err := explain(err)
	if code == exitAway { // the chat connects again by itself
		first, _, _ := strings.Cut(err.Error(), "\n")
		err = errors.New(first)
	}
	ch.endText()
	for line := range strings.SplitSeq(clean(err.Error()), "\n") {
		ch.paragraph("✗ "+line, "31", "")
	}
}

// add puts lines into the text.
func (ch *chat) add(lines ...string) { ch.finished = append(ch.finished, lines...) }

// columns is how wide lines may be.
func (ch *chat) columns() int {
	w, _ := ch.size()
	return max(20, w-1) // a full line would wrap on some terminals
}

// fold cuts a line that has looks of its own to the width of the terminal.
func (ch *chat) fold(s string) string { return cut(s, ch.columns(), ch.style.on) }

// paragraph puts a text into the text, line by line.
func (ch *chat) paragraph(text, look, indent string) {
	for line := range strings.SplitSeq(clean(text), "\n") {
		ch.add(wrap([]span{{indent + line, look}}, ch.columns(), indent, ch.style.on)...)
	}
}

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// TestChatEndsWithABurst: an error that comes at once with other events ends the chat,
// after what came before it was shown.
func TestChatEndsWithABurst(t *testing.T) {
	screen := newScreenRecorder(60)
	ch := &chat{client: newTestClient(t), out: screen, agent: "demo", where: "test", size: func() (int, int) { return 60, 24 }}
	if err := ch.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("the last word")
	ch.entries = make(chan chatEntry, 3)
	warning := client.Entry{Event: &holdfast.WarningEvent{Message: "it comes before"}}
	ch.entries <- chatEntry{ch.session, warning, nil}
	ch.entries <- chatEntry{ch.session, warning, nil}
	ch.entries <- chatEntry{ch.session, client.Entry{}, gone}
	done := make(chan error, 1)
	go func() { done <- ch.loop(t.Context(), make(chan []byte)) }()
	select {
	case err := <-done:
		if !errors.Is(err, gone) {
			t.Errorf("the chat ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the chat stays open")
	}
	if text := screen.text(); strings.Count(text, "it comes before") != 2 {
		t.Errorf("it shows:\n%s", text)
	}
}

// TestChatScrollsToTheCursor: of a paste that is longer than the screen is high the
// part is shown in which the cursor stands.
func TestChatScrollsToTheCursor(t *testing.T) {
	c := startChat(t, "demo", 60)
	var lines []string
	for _, n := range []string{"one", "two", "three"} {
		for range 20 {
			lines = append(lines, "row "+n)
		}
	}
	lines[0] = "the very first row"
	c.typed(pasteBegin + strings.Join(lines, "\r") + pasteEnd)
	c.await(t, "row three")
	c.typed(strings.Repeat("\x1b[A", len(lines)-1))
	c.await(t, "> the very first row")
	c.typed("!")
	c.await(t, "the ver!y first row")
	c.typed("\x03") // empties the line
	c.leave()
}

// TestChatInANarrowTerminal: no key is left out, nor is what commands do.
func TestChatInANarrowTerminal(t *testing.T) {
	c := startChat(t, "demo", 40)
	c.typed("remember the tea\r")
	c.await(t, "wants to run", "[y] yes", "[a] all in this session", "[n] no", "[v] view")
	c.typed("/help\r")
	c.await(t, "stop the run (Esc", "does, too)", "fg goes on")
	c.typed("a")
	c.await(t, "The tool said")
	c.typed("remember the bread\r")
	// The demo's file has it asked each time, whatever was approved.
	text := c.await(t, "has it asked each", "[y] yes", "[n] no")
	if strings.Contains(text, "[a]") {
		t.Errorf("it offers what changes nothing:\n%s", text)
	}
	c.typed("y")
	c.awaitTimes(t, "The tool said", 2)
	c.leave()
}

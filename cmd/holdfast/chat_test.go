package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// screenRecorder is a terminal: it has what a user would see, the lines that have
// scrolled away included. columns 0 is no limit.
type screenRecorder struct {
	columns int

	mu       sync.Mutex // guards what follows
	lines    [][]rune
	row, col int
	more     chan struct{}
	problem  string
}

func newScreenRecorder(columns int) *screenRecorder {
	return &screenRecorder{columns: columns, more: make(chan struct{}), lines: [][]rune{nil}}
}

func (s *screenRecorder) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := string(p); text != ""; {
		if text[0] == 0x1b {
			n := escapeLen(text)
			s.control(text[:n])
			text = text[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		text = text[n:]
		switch r {
		case '\r':
			s.col = 0
		case '\n':
			s.row++
			if s.columns == 0 {
				s.col = 0
			}
			for s.row >= len(s.lines) {
				s.lines = append(s.lines, nil)
			}
		default:
			line := s.lines[s.row]
			for len(line) <= s.col {
				line = append(line, ' ')
			}
			line[s.col] = r
			s.lines[s.row] = line
			s.col += runeWidth(r)
			if s.columns > 0 && s.col >= s.columns {
				s.problem = fmt.Sprintf("line %d is wider than the terminal: %q", s.row, string(line))
			}
		}
	}
	close(s.more)
	s.more = make(chan struct{})
	return len(p), nil
}

func (s *screenRecorder) control(seq string) {
	if len(seq) < 3 {
		s.problem = fmt.Sprintf("a control sequence: %q", seq)
		return
	}
	n, err := strconv.Atoi(seq[2 : len(seq)-1])
	if err != nil {
		n = 1
	}
	switch seq[len(seq)-1] {
	case 'A':
		s.row = max(0, s.row-n)
	case 'C':
		s.col += n
	case 'J':
		s.lines = append(s.lines[:s.row:s.row], s.lines[s.row][:min(s.col, len(s.lines[s.row]))])
	case 'm', 'h', 'l':
	default:
		s.problem = fmt.Sprintf("a control sequence that this terminal does not know: %q", seq)
	}
}

func (s *screenRecorder) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.render()
}

func (s *screenRecorder) render() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return b.String()
}

// await waits until the terminal shows all of these.
func (s *screenRecorder) await(t testing.TB, texts ...string) string {
	t.Helper()
	return s.awaitTimes(t, texts[0], 1, texts[1:]...)
}

// awaitTimes is await for a text that is to be there n times.
func (s *screenRecorder) awaitTimes(t testing.TB, repeated string, n int, texts ...string) string {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		s.mu.Lock()
		now, more, problem := s.render(), s.more, s.problem
		s.mu.Unlock()
		if problem != "" {
			t.Fatalf("%s\n%s", problem, now)
		}
		missing := ""
		if strings.Count(now, repeated) < n {
			missing = repeated
		}
		for _, text := range texts {
			if !strings.Contains(now, text) {
				missing = text
			}
		}
		if missing == "" {
			return now
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("it does not show %q:\n%s", missing, now)
		}
	}
}

// chatting is a chat on a recorded terminal.
type chatting struct {
	*screenRecorder
	t    *testing.T
	keys chan []byte
	done chan error
	chat *chat
}

func startChat(t *testing.T, agent string, columns int) *chatting {
	t.Helper()
	c := &chatting{screenRecorder: newScreenRecorder(columns), t: t, keys: make(chan []byte), done: make(chan error, 1)}
	c.chat = &chat{
		client: newTestClient(t), out: c, style: style{true}, agent: agent, where: "test",
		size: func() (int, int) { return columns, 24 },
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if err := c.chat.open(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.chat.loop(ctx, c.keys) }()
	return c
}

func (c *chatting) typed(text string) { c.keys <- []byte(text) }

func (c *chatting) leave() {
	c.t.Helper()
	c.typed("\x04")
	if err := <-c.done; err != nil {
		c.t.Error(err)
	}
	if c.problem != "" {
		c.t.Error(c.problem)
	}
}

// TestChat has a conversation with tools, an approval and a refusal.
func TestChat(t *testing.T) {
	c := startChat(t, "demo", 60)
	c.await(t, "holdfast · demo", "Say anything.")
	c.typed("plan something\r")
	c.await(t, "> plan something", "✓ create_todos(", "→ Created", "(3 lines)", "it is still there.", "∴ thought for")
	c.typed("/tools\r")
	c.await(t, `"Tell somebody"`, "→ Created todo [todo_3]")
	c.typed("remember the milk\r")
	c.await(t, "? add_memory(", "wants to run", "[y] yes", "[n] no")
	c.typed("x") // no answer: it is written
	c.await(t, "> x")
	c.typed("\x7f")
	c.typed("y")
	c.await(t, "✓ add_memory(", "The tool said: Remembered")
	c.typed("remember the bread\r")
	c.await(t, "wants to run")
	c.typed("n")
	c.await(t, "✗ add_memory(", "The user rejected")
	c.typed("/new\r")
	c.awaitTimes(t, "/help", 2)
	c.typed("/session\r")
	c.await(t, "0 tokens · $0.0000")
	c.typed("/nonsense\r")
	c.await(t, "there is no command /nonsense")
	c.typed("/he\t\r")
	c.await(t, "leave (Ctrl-D does, too)")
	c.leave()
	if text := c.text(); strings.Count(text, "> plan something") != 1 || strings.Contains(text, "wants to run") {
		t.Errorf("what stays in the terminal:\n%s", text)
	}
}

// TestChatCancel stops a run with the escape key and goes on; what is said
// meanwhile waits and is not lost.
func TestChatCancel(t *testing.T) {
	c := startChat(t, "slow", 70)
	c.typed("talk\r")
	c.await(t, "It begins.", "Esc stops it")
	c.typed("short please\r")
	c.await(t, "short please  (sent)")
	c.typed("\x1b")
	c.await(t, "(the run ended: canceled)", "That was short.")
	c.leave()
}

// TestChatGoesOn opens a session that another chat began, with a question that is
// open, and forks it.
func TestChatGoesOn(t *testing.T) {
	first := startChat(t, "demo", 80)
	first.typed("remember the tea\r")
	first.await(t, "wants to run")
	first.leave()
	second := &chatting{screenRecorder: newScreenRecorder(80), t: t, keys: make(chan []byte), done: make(chan error, 1)}
	second.chat = &chat{client: newTestClient(t), out: second, session: first.chat.session, where: "test", size: func() (int, int) { return 80, 24 }}
	if err := second.chat.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { second.done <- second.chat.loop(t.Context(), second.keys) }()
	second.await(t, "> remember the tea", "wants to run")
	second.typed("a")
	second.await(t, "✓ add_memory(", "The tool said")
	second.typed("/fork\r")
	second.awaitTimes(t, "/help", 2)
	second.leave()
}

const markdownAgent = `version: "2"
agents:
  root:
    model: script
    description: Writes Markdown.
    instruction: Write Markdown.
models:
  script:
    provider: scripted
    model: markdown
    provider_opts:
      script:
        turns:
          - single_chunk: true
            say: "# A heading\n\nSome **bold** and a \x1b[2Jbad\x1b[0m trick, and a line that is much longer than the terminal is wide, so that it is broken.\n\n- one ` + "`code`" + `\n- [ ] two\n\n` + "```go\\nfunc main() {}\\n```" + `\n> quoted\n\n| a | b |\n|---|---|\n| one | two |\n\nEnd."
`

// TestChatMarkdown: what a model writes is rendered, and its control sequences do
// nothing.
func TestChatMarkdown(t *testing.T) {
	c := startChat(t, "markdown", 40)
	c.typed("go\r")
	text := c.await(t, "End.", "A heading", "• one code", "☐ two", "  func main() {}", "│ quoted", "a   │ b", "────┼────", "one │ two")
	for _, no := range []string{"**", "# A", "\x1b"} {
		if strings.Contains(text, no) {
			t.Errorf("it shows %q:\n%s", no, text)
		}
	}
	c.leave()
}

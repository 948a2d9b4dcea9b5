package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command, v *bool) {
	c.Flags().BoolVar(v, "json", false, "print JSON")
}

// printJSON prints a value as one document.
func printJSON(c *cobra.Command, v any) error {
	enc := json.NewEncoder(jsonTo(c.OutOrStdout()))
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// jsonTo is w for JSON. On a terminal, what would do something to that is written
// as JSON writes it: "\u009b".
func jsonTo(w io.Writer) io.Writer {
	if !terminal(w) {
		return w
	}
	return &jsonWriter{w: w}
}

// jsonWriter escapes what clean would take away.
type jsonWriter struct {
	w    io.Writer
	rest []byte // the beginning of a character
}

func (j *jsonWriter) Write(p []byte) (int, error) {
	data := append(j.rest, p...)
	var b bytes.Buffer
	for len(data) > 0 && utf8.FullRune(data) {
		r, n := utf8.DecodeRune(data)
		if r >= 0x7f && clean(string(r)) == "" {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.Write(data[:n])
		}
		data = data[n:]
	}
	j.rest = bytes.Clone(data)
	if _, err := j.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// exactArgs is cobra's check with our exit code.
func exactArgs(n int) cobra.PositionalArgs { return rangeArgs(n, n) }

func rangeArgs(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		what := "too many arguments"
		switch {
		case len(args) < least:
			what = "an argument is missing"
		case len(args) <= most:
			return nil
		}
		return &exitError{exitUsage, fmt.Errorf("%s\nusage: %s\nsee: %s --help", what, c.UseLine(), c.CommandPath())}
	}
}

// noSubcommand refuses words that are no subcommand.
func noSubcommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	hint := ""
	if like := c.SuggestionsFor(args[0]); len(like) > 0 {
		hint = "\ndid you mean: " + c.CommandPath() + " " + strings.Join(like, ", ")
	}
	return &exitError{exitUsage, fmt.Errorf("unknown command %q%s\nsee: %s --help", args[0], hint, c.CommandPath())}
}

// showHelp is what a command does that has only subcommands.
func showHelp(c *cobra.Command, _ []string) error { return c.Help() }

// readAll reads a file, or standard input for "-".
func readAll(c *cobra.Command, name string) ([]byte, error) {
	var data []byte
	var err error
	if name == "-" {
		data, err = io.ReadAll(c.InOrStdin())
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", fileName(name), err)
	}
	return data, nil
}

// terminal reports whether w, what is written to or read from, is one.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// obeys reports whether w is a terminal that obeys control sequences.
func obeys(w io.Writer) bool {
	return terminal(w) && os.Getenv("TERM") != "dumb" && obeysSequences(w.(*os.File))
}

// style colours text if it goes to a terminal that wants colours
// (https://no-color.org).
type style struct{ on bool }

func styleFor(w io.Writer) style {
	return style{os.Getenv("NO_COLOR") == "" && obeys(w)}
}

func (s style) sgr(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(t string) string   { return s.sgr("1", t) }
func (s style) dim(t string) string    { return s.sgr("2", t) }
func (s style) red(t string) string    { return s.sgr("31", t) }
func (s style) green(t string) string  { return s.sgr("32", t) }
func (s style) yellow(t string) string { return s.sgr("33", t) }
func (s style) cyan(t string) string   { return s.sgr("36", t) }

// clean takes from a text what would do something to a terminal: models and tools
// are not trusted with its control sequences, nor with marks that turn the order
// of what is shown (Unicode Standard Annex 9).
func clean(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f:
			return -1
		}
		return r
	}, s)
}

// oneLine is a text as part of a line, at most so many characters long.
func oneLine(s string, most int) string {
	s = strings.Join(strings.Fields(clean(s)), " ")
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most-1]) + "…"
	}
	return s
}

// shellWord is a text as one word of a command line: the ids of tool calls are what
// a model's provider makes them, and the user copies them.
func shellWord(s string) string {
	s = clean(s)
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_.:@/-]+$`)

// table prints columns.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) error { return t.printAs(w, styleFor(w), terminalWidth(w)) }

// printAs is print for a terminal of so many columns, 0 for none.
func (t *table) printAs(w io.Writer, st style, columns int) error {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], textWidth(cell))
		}
	}
	last := len(widths) - 1
	if room := columns; room > 0 { // the last column gives way
		for _, used := range widths[:last] {
			room -= used + 2
		}
		widths[last] = min(widths[last], max(room, len(t.head[last])))
	}
	line := func(row []string, paint func(string) string) error {
		var b strings.Builder
		for i, cell := range row {
			if i == last {
				b.WriteString(cut(cell, widths[i], st.on))
				break
			}
			b.WriteString(cell + strings.Repeat(" ", widths[i]-textWidth(cell)+2))
		}
		_, err := fmt.Fprintln(w, paint(strings.TrimRight(b.String(), " ")))
		return err
	}
	if err := line(t.head, st.dim); err != nil {
		return fmt.Errorf("print a table: %w", err)
	}
	for _, row := range t.rows {
		if err := line(row, func(s string) string { return s }); err != nil {
			return fmt.Errorf("print a table: %w", err)
		}
	}
	return nil
}

// terminalWidth is how many columns w has, 0 if it is no terminal.
func terminalWidth(w io.Writer) int {
	columns, _ := terminalSize(w)
	return columns
}

// terminalSize is how many columns and rows w has, 0 if it is no terminal.
func terminalSize(w io.Writer) (columns, rows int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

// ago says how long ago something was.
func ago(t time.Time) string {
	switch d := time.Since(t); {
	case t.IsZero():
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return t.Local().Format("2006-01-02")
	}
}

// progress tells a person at a terminal that something takes its time, with the
// seconds so far. What it returns ends it.
func progress(w io.Writer, what string) func() {
	return progressOf(w, what, func() string { return "" })
}

// progressOf is progress that also says how far it is.
func progressOf(w io.Writer, what string, far func() string) func() {
	if !obeys(w) {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		began := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		fmt.Fprintf(w, "%s …", what)
		for {
			select {
			case <-quit:
				fmt.Fprint(w, "\r\x1b[K")
				return
			case <-tick.C:
				fmt.Fprintf(w, "\r\x1b[K%s … %s%ds", what, far(), int(time.Since(began).Seconds()))
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}

// counter counts what passes through it, for a person who waits.
type counter struct {
	n     atomic.Int64
	whole int64 // 0 if that is not known
}

func (c *counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// far says how far it is.
func (c *counter) far() string {
	n := c.n.Load()
	if c.whole > 0 {
		return fmt.Sprintf("%d %% of %s, ", min(100, 100*n/c.whole), size(c.whole))
	}
	return size(n) + ", "
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d KB", n/1000)
	}
	return fmt.Sprintf("%d MB", n/1_000_000)
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command, v *bool) {
	c.Flags().BoolVar(v, "json", false, "print JSON")
}

// printJSON prints a value as one document.
func printJSON(c *cobra.Command, v any) error {
	enc := json.NewEncoder(c.OutOrStdout())
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// exactArgs is cobra's check with our exit code.
func exactArgs(n int) cobra.PositionalArgs { return rangeArgs(n, n) }

func rangeArgs(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return &exitError{exitUsage, fmt.Errorf("%d arguments are too many or too few\nusage: %s\nsee: %s --help", len(args), c.UseLine(), c.CommandPath())}
		}
		return nil
	}
}

// noSubcommand refuses words that are no subcommand.
func noSubcommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &exitError{exitUsage, fmt.Errorf("unknown command %q\nsee: %s --help", args[0], c.CommandPath())}
	}
	return nil
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
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// style colours text if it goes to a terminal that wants colours
// (https://no-color.org).
type style struct{ on bool }

func styleFor(w io.Writer) style {
	return style{terminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
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

// table prints columns.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) error {
	st := styleFor(w)
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], textWidth(cell))
		}
	}
	line := func(row []string, paint func(string) string) error {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-textWidth(cell)+2))
			}
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
	if !terminal(w) {
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

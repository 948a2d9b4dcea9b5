package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/client"
)

// watchPause is between two looks.
const watchPause = 2 * time.Second

// watchSessions shows the newest sessions that a filter selects, as many as fit on the
// screen, again and again until it is interrupted. A server that is away does not end
// it.
func watchSessions(c *cobra.Command, cl *client.Client, f client.SessionFilter, most int) error {
	w := c.OutOrStdout()
	if !obeys(w) {
		return &exitError{exitUsage, errors.New("--watch needs a terminal; for programs: holdfast sessions ls --json")}
	}
	ctx := c.Context()
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	if _, err := io.WriteString(w, "\x1b[H\x1b[2J"); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	for first := true; ; first = false {
		_, rows := terminalSize(w)
		list, err := newest(ctx, cl, f, most, max(1, rows-3))
		if code, _ := exitOf(err); err != nil && ctx.Err() == nil && (first || code != exitAway) {
			return err
		}
		if ctx.Err() == nil {
			if err := showWatched(w, list, err); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			fmt.Fprintln(w) // behind the "^C" of the terminal
			return &exitError{exitCanceled, nil}
		}
	}
}

// exitOf is the exit code of an error, 0 for none.
func exitOf(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	return explain(err)
}

// newest returns the newest sessions that a filter selects, at most so many; most 0 is
// no limit of the user's.
func newest(ctx context.Context, cl *client.Client, f client.SessionFilter, most, fit int) (list []client.Session, err error) {
	if most <= 0 || most > fit {
		most = fit
	}
	for s, err := range cl.SearchSessions(ctx, f, most) {
		if err != nil {
			return nil, err
		}
		if list = append(list, s); len(list) == most {
			break
		}
	}
	return list, nil
}

// showWatched writes a screen: in one piece, and over the last one, so that nothing
// flickers.
func showWatched(w io.Writer, list []client.Session, away error) error {
	var b bytes.Buffer
	st, columns := styleFor(w), terminalWidth(w)
	head := time.Now().Format(time.TimeOnly) + "  every " + watchPause.String() + ", Ctrl-C ends it"
	if away != nil {
		_, away = explain(away)
		text, _, _ := strings.Cut(away.Error(), "\n")
		head = st.yellow("the server is away; asking again: " + clean(text))
	}
	most := max(20, columns-1)
	if columns == 0 {
		most = math.MaxInt
	}
	b.WriteString("\x1b[H" + cut(head, most, st.on) + "\x1b[K\r\n")
	if away == nil {
		var rows bytes.Buffer
		if err := sessionTable(list).printAs(&rows, st, columns); err != nil {
			return err
		}
		for line := range strings.Lines(rows.String()) { // a row that wraps would push the first ones out
			b.WriteString(cut(strings.TrimSuffix(line, "\n"), most, st.on) + "\x1b[K\r\n")
		}
		b.WriteString("\x1b[J")
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}

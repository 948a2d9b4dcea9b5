package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

func tailCommand() *cobra.Command {
	var t target
	var asJSON, live bool
	var after uint64
	var last int
	var types []string
	c := &cobra.Command{
		Use: "tail SESSION", Short: "Print the events of a session", Args: exactArgs(1), ValidArgsFunction: t.sessionIDs,
		Long: `Print the events of a session, one in a line, and with -f those to come: the
connection is made again when it is lost, and no event is left out or comes
twice. With --json each line is the event as it is in the log.`,
	}
	t.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print each event as a line of JSON")
	c.Flags().BoolVarP(&live, "follow", "f", false, "go on with the events to come, until Ctrl-C")
	c.Flags().Uint64Var(&after, "after", 0, "sequence number of the last event that is not wanted")
	c.Flags().IntVarP(&last, "number", "n", 0, "begin with this many of the newest events (default: all)")
	c.Flags().StringSliceVar(&types, "types", nil, "only events of these types, such as tool_call,error")
	c.MarkFlagsMutuallyExclusive("after", "number")
	_ = c.RegisterFlagCompletionFunc("types", cobra.FixedCompletions(holdfast.EventTypes(), cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, typ := range types {
			if !holdfast.KnownType(typ) { // a newer server may have it
				fmt.Fprintf(c.ErrOrStderr(), "holdfast: this version knows no events of type %q%s\n", typ, similarType(typ))
			}
		}
		cl, err := t.client(tellConnection(c.ErrOrStderr()))
		if err != nil {
			return err
		}
		id, err := existing(c.Context(), cl, args[0])
		if err != nil {
			return err
		}
		if last > 0 {
			doc, err := cl.GetSession(c.Context(), id)
			if err != nil {
				return err
			}
			after = doc.Seq - min(uint64(last), doc.Seq)
		}
		entries := cl.Log(c.Context(), id, after)
		if live {
			entries = cl.Events(c.Context(), id, after)
		}
		p := eventPrinter{w: c.OutOrStdout(), style: styleFor(c.OutOrStdout()), json: asJSON}
		for e, err := range entries {
			if err != nil {
				if c.Context().Err() != nil {
					return &exitError{exitCanceled, nil}
				}
				return err
			}
			if len(types) > 0 && !slices.Contains(types, e.Event.EventType()) {
				continue
			}
			if err := p.print(e); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

// similarType names the types of events that a word may have meant.
func similarType(word string) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(s))
	}
	var like []string
	for _, typ := range holdfast.EventTypes() {
		if w := plain(word); w != "" && strings.Contains(plain(typ), w) {
			like = append(like, typ)
		}
	}
	if len(like) == 0 || len(like) > 5 {
		return ""
	}
	return "; did you mean " + strings.Join(like, ", ") + "?"
}

// existing is session for those who read its events, who would wait for a server
// that is not there.
func existing(ctx context.Context, cl *client.Client, arg string) (string, error) {
	id, err := session(ctx, cl, arg)
	if err == nil && id == arg {
		_, err = cl.GetEvent(ctx, id, 1)
	}
	return id, err
}

// tellConnection has it said when a connection is lost, and when it is there again.
func tellConnection(w io.Writer) client.Option {
	lost := false
	return client.WithConnectionNotice(func(n client.Connection) {
		switch {
		case n.Up:
			fmt.Fprintln(w, "holdfast: the connection is there again")
		case !lost: // not for each attempt
			fmt.Fprintln(w, "holdfast: the connection is lost; connecting again")
		}
		lost = !n.Up
	})
}

func replayCommand() *cobra.Command {
	var t target
	var asJSON bool
	var after, until uint64
	var pace float64
	var most time.Duration
	c := &cobra.Command{
		Use: "replay SESSION", Short: "Watch a session again, at its own pace or another", Args: exactArgs(1), ValidArgsFunction: t.sessionIDs,
		Long: `Print what happened in a session as it happened: the answers, the tools, the
decisions, at the pace of the original (--pace 1), faster (--pace 10) or without
a pause (--pace 0).`,
	}
	t.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print each event as a line of JSON")
	c.Flags().Float64Var(&pace, "pace", 1, "how many times as fast as it was; 0 does not pause")
	c.Flags().DurationVar(&most, "max-pause", 3*time.Second, "the longest pause, 0 for no limit")
	c.Flags().Uint64Var(&after, "after", 0, "sequence number of the last event that is not wanted")
	c.Flags().Uint64Var(&until, "until", 0, "sequence number of the last event that is wanted (default: the newest)")
	c.RunE = func(c *cobra.Command, args []string) error {
		if pace < 0 || most < 0 {
			return &exitError{exitUsage, fmt.Errorf("--pace and --max-pause cannot be less than 0")}
		}
		cl, err := t.client(tellConnection(c.ErrOrStderr()))
		if err != nil {
			return err
		}
		id, err := existing(c.Context(), cl, args[0])
		if err != nil {
			return err
		}
		p := eventPrinter{w: c.OutOrStdout(), style: styleFor(c.OutOrStdout()), json: asJSON}
		r := &runner{out: c.OutOrStdout(), errOut: c.OutOrStdout(), style: p.style}
		for e, err := range cl.Replay(c.Context(), id, after, pace, most) {
			if err != nil {
				if c.Context().Err() != nil {
					return &exitError{exitCanceled, nil}
				}
				return err
			}
			if until > 0 && e.Seq > until {
				break
			}
			if asJSON {
				if err := p.print(e); err != nil {
					return err
				}
				continue
			}
			r.replay(e)
		}
		r.end()
		return nil
	}
	return c
}

// replay prints what a person wants to see of an event in the past.
func (r *runner) replay(e client.Entry) {
	switch ev := e.Event.(type) {
	case *holdfast.UserMessageEvent:
		r.end()
		fmt.Fprintf(r.out, "\n%s %s\n", r.style.bold(r.style.cyan(">")), r.style.bold(clean(ev.Message)))
	case *holdfast.ToolCallConfirmationEvent:
		r.note("%s %s", r.style.yellow("? "+clean(ev.ToolCall.Function.Name)), clean(compact(ev.ToolCall.Function.Arguments)))
	case *holdfast.ToolCallDecidedEvent:
		r.note("%s", r.style.yellow("decided: "+ev.Decision))
	case *holdfast.ErrorEvent:
		r.note("%s", r.style.red("error: "+clean(ev.Error)))
	case *holdfast.SessionTitleEvent:
		r.note("%s", r.style.dim("title: "+clean(ev.Title)))
	case *holdfast.RunFinishedEvent:
		r.end()
	default:
		r.show(ev)
	}
}

// eventPrinter prints events, one in a line.
type eventPrinter struct {
	w     io.Writer
	style style
	json  bool
}

func (p eventPrinter) print(e client.Entry) error {
	var err error
	if p.json {
		_, err = fmt.Fprintf(jsonTo(p.w), "%s\n", e.Raw)
	} else {
		_, err = fmt.Fprintf(p.w, "%s %s %s %s\n", p.style.dim(fmt.Sprintf("%6d", e.Seq)), p.style.dim(e.Time.Local().Format("15:04:05.000")),
			p.typeName(e.Event), clean(detail(e)))
	}
	if err != nil {
		return fmt.Errorf("print an event: %w", err)
	}
	return nil
}

func (p eventPrinter) typeName(e holdfast.Event) string {
	name := fmt.Sprintf("%-22s", clean(e.EventType()))
	switch e.(type) {
	case *holdfast.ErrorEvent:
		return p.style.red(name)
	case *holdfast.ToolCallConfirmationEvent, *holdfast.AuthorizationRequiredEvent, *holdfast.MaxIterationsReachedEvent, *holdfast.WarningEvent:
		return p.style.yellow(name)
	case *holdfast.ToolCallEvent, *holdfast.ToolCallResponseEvent:
		return p.style.cyan(name)
	}
	return name
}

// detail is what an event says, in a line: its members without those that every
// event has.
func detail(e client.Entry) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(e.Raw, &members) != nil {
		return ""
	}
	order := []string{"agent_name", "content", "message", "error", "tool_call", "response", "title", "summary", "status", "reason"}
	var names []string
	for name := range members {
		switch name {
		case "type", "seq", "time", "run", "session_id", "tool_call_id", "result":
			continue
		}
		names = append(names, name)
	}
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var b strings.Builder
	for _, name := range names {
		raw := members[name]
		text := string(raw)
		if s := ""; json.Unmarshal(raw, &s) == nil {
			text = s
			if rank(name) == len(order) || name == "content" || strings.ContainsAny(s, "\n\" ") {
				text = string(raw)
			}
		}
		if name == "tool_call" {
			var tc holdfast.ToolCall
			if json.Unmarshal(raw, &tc) == nil {
				text = tc.Function.Name + "(" + tc.Function.Arguments + ") " + tc.ID
			}
		}
		if rank(name) == len(order) || name == "reason" || name == "status" {
			text = name + "=" + text
		}
		b.WriteString(text)
		b.WriteByte(' ')
	}
	return oneLine(b.String(), 240)
}

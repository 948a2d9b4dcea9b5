package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

func sessionsCommand() *cobra.Command {
	c := &cobra.Command{Use: "sessions", Aliases: []string{"session"}, Short: "List, show and remove sessions", Args: noSubcommand, RunE: showHelp}
	c.AddCommand(sessionsList(), sessionsShow(), sessionsRemove())
	return c
}

func sessionsList() *cobra.Command {
	var t target
	var asJSON, watch bool
	var most int
	var f client.SessionFilter
	c := &cobra.Command{
		Use: "ls", Short: "List sessions, newest first", Args: exactArgs(0),
		Long: "List sessions, newest first: all, or those that everything that is given selects.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().IntVarP(&most, "number", "n", 50, "the most sessions to list, 0 for all")
	c.Flags().StringVarP(&f.Text, "search", "q", "", "text in the title, the id or a value of the metadata")
	c.Flags().StringVar(&f.Status, "status", "", "idle, queued, running or waiting")
	c.Flags().StringVar(&f.Agent, "agent", "", "agent file of the newest run")
	c.Flags().StringToStringVar(&f.Metadata, "metadata", nil, "KEY=VALUE that the metadata must have; may be given more than once")
	_ = c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"idle", "queued", "running", "waiting"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("agent", t.oneAgentFlag)
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show them again every two seconds, until Ctrl-C")
	c.MarkFlagsMutuallyExclusive("watch", "json")
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, _ []string) error {
		if watch {
			return watchSessions(c, cl, f, most)
		}
		page := 1000
		if most > 0 {
			page = min(most, page)
		}
		list := []client.Session{}
		for s, err := range cl.SearchSessions(c.Context(), f, page) {
			if err != nil {
				return err
			}
			if list = append(list, s); len(list) == most {
				break
			}
		}
		if asJSON {
			return printJSON(c, list)
		}
		if len(list) == 0 {
			if f.Text != "" || f.Status != "" || f.Agent != "" || len(f.Metadata) > 0 {
				fmt.Fprintln(c.ErrOrStderr(), "no session is like that")
				return nil
			}
			fmt.Fprintln(c.ErrOrStderr(), "no sessions yet; begin one: holdfast chat")
			return nil
		}
		return sessionTable(list).print(c.OutOrStdout())
	})
	return c
}

func sessionTable(list []client.Session) *table {
	tab := &table{head: []string{"ID", "STATUS", "AGENT", "MESSAGES", "UPDATED", "TITLE"}}
	for _, s := range list {
		tab.add(s.ID, status(s), clean(s.Agent), fmt.Sprint(s.NumMessages), ago(s.UpdatedAt), oneLine(s.Title, 60))
	}
	return tab
}

// status is what a session does, and what it waits for.
func status(s client.Session) string {
	if s.Status == "waiting" && s.Waiting != "" {
		return "waiting: " + s.Waiting
	}
	return s.Status
}

func sessionsShow() *cobra.Command {
	var t target
	var asJSON bool
	var at uint64
	c := &cobra.Command{
		Use: "show SESSION", Short: "Show a session with all that was said in it", Args: exactArgs(1), ValidArgsFunction: t.sessionIDs,
		Long: "Show a session as of its newest event, or of another one. SESSION is an id, or @last.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().Uint64Var(&at, "at", 0, "sequence number of the last event that counts (default: the newest)")
	c.RunE = t.onSession(func(c *cobra.Command, cl *client.Client, id string, _ []string) error {
		var doc *client.Document
		var err error
		if at > 0 {
			doc, err = cl.GetSessionAt(c.Context(), id, at)
		} else {
			doc, err = cl.GetSession(c.Context(), id)
		}
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, doc)
		}
		showDocument(c, doc)
		return nil
	})
	return c
}

func showDocument(c *cobra.Command, d *client.Document) {
	w := c.OutOrStdout()
	st := styleFor(w)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s %s\n", st.dim(fmt.Sprintf("%-9s", name)), value)
		}
	}
	row("session", d.ID)
	row("title", clean(d.Title))
	row("status", status(d.Session))
	row("agent", clean(d.Agent))
	row("created", d.CreatedAt.Local().Format(time.DateTime))
	row("updated", d.UpdatedAt.Local().Format(time.DateTime))
	row("events", fmt.Sprint(d.Seq))
	row("tokens", fmt.Sprintf("%d in, %d out, $%.4f", d.InputTokens, d.OutputTokens, d.Cost))
	if d.ForkOf != "" {
		row("fork of", fmt.Sprintf("%s at %d", d.ForkOf, d.ForkSeq))
	}
	for _, m := range d.Messages {
		who := string(m.Message.Role)
		if m.AgentName != "" {
			who = m.AgentName
		}
		fmt.Fprintf(w, "\n%s %s\n", st.bold(clean(who)), st.dim(fmt.Sprintf("#%d", m.Seq)))
		if m.Message.Role == holdfast.RoleTool {
			fmt.Fprintln(w, st.dim("  ← "+firstLine(clean(m.Message.Content))))
			continue
		}
		if text := strings.TrimSpace(clean(m.Message.Content)); text != "" {
			fmt.Fprintln(w, text)
		}
		for _, tc := range m.Message.ToolCalls {
			fmt.Fprintln(w, st.dim("  → "+clean(tc.Function.Name)+" "+compact(tc.Function.Arguments)))
		}
	}
	for _, q := range d.Questions {
		fmt.Fprintf(w, "\n%s %s\n  holdfast chat --session %s\n", st.yellow("asks you:"), oneLine(q.Message, 300), d.ID)
	}
	for _, p := range d.Pending {
		fmt.Fprintf(w, "\n%s %s %s\n  holdfast approve %s %s\n", st.yellow("waits for you:"), clean(p.ToolCall.Function.Name),
			compact(p.ToolCall.Function.Arguments), d.ID, shellWord(p.ToolCall.ID))
	}
}

func sessionsRemove() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "rm SESSION…", Short: "Delete sessions and their events", Args: rangeArgs(1, 1000), ValidArgsFunction: t.sessionIDs,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) (err error) {
		removed := []string{}
		if asJSON {
			defer func() { // what was deleted before an error is deleted
				if perr := printJSON(c, map[string]any{"deleted": removed}); err == nil {
					err = perr
				}
			}()
		}
		for _, arg := range args {
			id, err := session(c.Context(), cl, arg)
			if err != nil {
				return err
			}
			if err := cl.DeleteSession(c.Context(), id); err != nil {
				return err
			}
			removed = append(removed, id)
			if !asJSON {
				fmt.Fprintln(c.ErrOrStderr(), "deleted", id)
			}
		}
		return nil
	})
	return c
}

func forkCommand() *cobra.Command {
	var t target
	var asJSON bool
	var f client.NewFork
	c := &cobra.Command{
		Use: "fork SESSION", Short: "Continue a session another way, from an event in its past", Args: exactArgs(1), ValidArgsFunction: t.sessionIDs,
		Long: "Make a session that continues another one after an event and print its id. Nothing is\ncopied, and neither session sees what happens in the other.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().Uint64Var(&f.Seq, "at", 0, "the last event that both share (default: the newest)")
	c.Flags().StringVar(&f.ID, "id", "", "id of the new session (default: one of the server's choice)")
	c.Flags().StringVar(&f.Title, "title", "", "title of the new session (default: that of the forked one)")
	c.RunE = t.onSession(func(c *cobra.Command, cl *client.Client, id string, _ []string) error {
		doc, err := cl.ForkSession(c.Context(), id, f)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, doc.Session)
		}
		fmt.Fprintln(c.OutOrStdout(), doc.ID)
		return nil
	})
	return c
}

func cancelCommand() *cobra.Command {
	var t target
	var asJSON bool
	var reason string
	c := &cobra.Command{
		Use: "cancel SESSION [RUN]", Short: "Stop the run that is under way", Args: rangeArgs(1, 2), ValidArgsFunction: t.sessionIDs,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&reason, "reason", "", "why, for the log")
	c.RunE = t.onSession(func(c *cobra.Command, cl *client.Client, id string, args []string) error {
		run := ""
		if len(args) == 2 {
			run = args[1]
		}
		s, err := cl.CancelBecause(c.Context(), id, run, reason)
		if err != nil {
			return err
		}
		return settled(c, asJSON, s, "canceled")
	})
	return c
}

// settled says what became of a request.
func settled(c *cobra.Command, asJSON bool, s client.Settled, done string) error {
	if asJSON {
		return printJSON(c, s)
	}
	if s.Status == "pending" {
		done = "stored; it takes effect when a worker comes to it"
	}
	fmt.Fprintln(c.ErrOrStderr(), done)
	return nil
}

func approveCommand() *cobra.Command {
	var args string
	var all bool
	c, decide := decisionCommand("approve SESSION [CALL]", "Let a tool call run that waits for a decision")
	c.Flags().StringVar(&args, "arguments", "", "arguments that replace those of the model: a JSON object")
	c.Flags().BoolVar(&all, "session", false, "approve also what the session's tools are called for from now on")
	decide(func() client.Decision {
		d := client.Decision{Decision: client.ResumeTypeApprove, Arguments: args}
		if all {
			d.Decision = client.ResumeTypeApproveSession
		}
		return d
	}, "approved")
	return c
}

func rejectCommand() *cobra.Command {
	var reason string
	c, decide := decisionCommand("reject SESSION [CALL]", "Refuse a tool call that waits for a decision")
	c.Flags().StringVar(&reason, "reason", "", "what the model reads")
	decide(func() client.Decision {
		return client.Decision{Decision: client.ResumeTypeReject, Reason: reason}
	}, "rejected")
	return c
}

func decisionCommand(use, short string) (*cobra.Command, func(func() client.Decision, string)) {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: use, Short: short, Args: rangeArgs(1, 2), ValidArgsFunction: t.pendingCalls,
		Long: short + ". If exactly one call of the session waits, CALL\nmay be left out.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	return c, func(decision func() client.Decision, done string) {
		c.RunE = t.onSession(func(c *cobra.Command, cl *client.Client, id string, args []string) error {
			var call string
			var err error
			if len(args) == 2 {
				call = args[1]
			} else if call, err = onlyPending(c.Context(), cl, id); err != nil {
				return err
			}
			s, err := cl.Decide(c.Context(), id, call, decision())
			if err != nil {
				return whichCalls(c.Context(), cl, id, call, err)
			}
			return settled(c, asJSON, s, done)
		})
	}
}

// whichCalls adds to the refusal of a decision which calls wait, if the one that was
// named does not.
func whichCalls(ctx context.Context, cl *client.Client, id, call string, refusal error) error {
	if code := holdfast.CodeOf(refusal); code != holdfast.CodeConflict && code != holdfast.CodeNotFound {
		return refusal
	}
	doc, err := cl.GetSession(ctx, id)
	if err != nil || slices.ContainsFunc(doc.Pending, func(p client.PendingCall) bool { return p.ToolCall.ID == call }) {
		return refusal
	}
	var b strings.Builder
	fmt.Fprintf(&b, "tool call %s does not wait for a decision", oneLine(call, 80))
	if len(doc.Pending) == 0 {
		b.WriteString("; none of this session does")
	}
	for _, p := range doc.Pending {
		fmt.Fprintf(&b, "\nthis one does: %s  %s", shellWord(p.ToolCall.ID), toolLine(p.ToolCall, 60))
	}
	return &exitError{exitNotFound, errors.New(b.String())}
}

// pendingCalls completes a session, and then one of its calls that wait.
func (t *target) pendingCalls(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return t.sessionIDs(c, args, prefix)
	}
	cl, err := t.client(client.WithTimeout(completionTimeout))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	id, err := session(c.Context(), cl, args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	doc, err := cl.GetSession(c.Context(), id)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, p := range doc.Pending {
		out = append(out, clean(p.ToolCall.ID)+"\t"+toolLine(p.ToolCall, 60))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// onlyPending returns the one call that waits.
func onlyPending(ctx context.Context, cl *client.Client, id string) (string, error) {
	doc, err := cl.GetSession(ctx, id)
	if err != nil {
		return "", err
	}
	switch len(doc.Pending) {
	case 0:
		return "", &exitError{exitNotFound, errors.New("no tool call of this session waits for a decision")}
	case 1:
		return doc.Pending[0].ToolCall.ID, nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d tool calls wait; name one:", len(doc.Pending))
	for _, p := range doc.Pending {
		fmt.Fprintf(&b, "\n  %s  %s %s", shellWord(p.ToolCall.ID), clean(p.ToolCall.Function.Name), compact(p.ToolCall.Function.Arguments))
	}
	return "", &exitError{exitUsage, errors.New(b.String())}
}

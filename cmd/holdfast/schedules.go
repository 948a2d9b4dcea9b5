package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/client"
)

func schedulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "schedules", Aliases: []string{"schedule"}, Short: "Say something to an agent again and again", Args: noSubcommand, RunE: showHelp,
	}
	c.AddCommand(schedulesList(), schedulesShow(), schedulesAdd(), schedulesRemove(),
		schedulesTurn("pause", "Let a schedule rest", "paused", (*client.Client).PauseSchedule),
		schedulesTurn("resume", "Let a schedule fire again, at its next time", "resumed", (*client.Client).ResumeSchedule))
	return c
}

func schedulesList() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{Use: "ls", Short: "List schedules, newest first", Args: exactArgs(0)}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, _ []string) error {
		list := []client.Schedule{}
		for s, err := range cl.Schedules(c.Context()) {
			if err != nil {
				return err
			}
			list = append(list, s)
		}
		if asJSON {
			return printJSON(c, list)
		}
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), `no schedules yet; make one: holdfast schedules add "MESSAGE" --agent NAME --cron "30 7 * * 1-5"`)
			return nil
		}
		tab := table{head: []string{"ID", "WHEN", "AGENT", "NEXT", "LAST", "FIRED", "MESSAGE"}}
		for _, s := range list {
			last := "-"
			if s.Last != nil {
				last = s.Last.Outcome + " " + ago(s.Last.At)
			}
			tab.add(s.ID, oneLine(when(&s), 40), clean(s.Agent), nextAt(&s), last, fmt.Sprint(s.Fired), oneLine(saidEachTime(&s), 40))
		}
		return tab.print(c.OutOrStdout())
	})
	return c
}

// when says when a schedule fires.
func when(s *client.Schedule) string {
	if s.Every != "" {
		return "every " + s.Every
	}
	return strings.TrimSpace(s.Cron + " " + s.Timezone)
}

func nextAt(s *client.Schedule) string {
	switch {
	case s.Paused:
		return "paused"
	case s.NextAt.IsZero():
		return "never"
	}
	return s.NextAt.Local().Format("2006-01-02 15:04 MST")
}

func saidEachTime(s *client.Schedule) string {
	var texts []string
	for _, m := range s.Messages {
		texts = append(texts, m.Content)
	}
	return strings.Join(texts, " / ")
}

func schedulesShow() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{Use: "show SCHEDULE", Short: "Show a schedule and what came of it", Args: exactArgs(1), ValidArgsFunction: t.scheduleIDs}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		s, err := cl.GetSchedule(c.Context(), args[0])
		if err != nil {
			return explainSchedule(err)
		}
		if asJSON {
			return printJSON(c, s)
		}
		w := c.OutOrStdout()
		st := styleFor(w)
		row := func(name, value string) {
			if value != "" {
				fmt.Fprintf(w, "%s %s\n", st.dim(fmt.Sprintf("%-9s", name)), clean(value))
			}
		}
		row("schedule", s.ID)
		row("when", when(s))
		row("next", nextAt(s))
		row("reason", s.Reason)
		row("agent", strings.TrimSpace(s.Agent+" "+s.AgentName))
		row("session", cmp.Or(s.Session, "a new one each time"))
		row("overlap", s.Overlap)
		row("missed", s.Missed)
		row("fired", fmt.Sprint(s.Fired))
		if l := s.Last; l != nil {
			row("last", strings.TrimSpace(fmt.Sprintf("%s, %s %s", l.Began.Local().Format(time.DateTime), l.Outcome, l.Detail)))
			row("", l.Session)
		}
		for _, m := range s.Messages {
			fmt.Fprintf(w, "\n%s\n", clean(m.Content))
		}
		if s.Session == "" && s.Fired > 0 {
			fmt.Fprintln(c.ErrOrStderr(), st.dim("its sessions: holdfast sessions ls --metadata schedule="+s.ID))
		}
		return nil
	})
	return c
}

func schedulesAdd() *cobra.Command {
	var t target
	var asJSON bool
	var n client.NewSchedule
	var starts string
	c := &cobra.Command{
		Use: "add MESSAGE", Short: "Make a schedule", Args: exactArgs(1),
		Long: `Say a message to an agent again and again: at the times of a cron expression, or
after each interval; in a new session each time, or in one that exists.

  holdfast schedules add "write the report" --agent reporter --cron "30 7 * * 1-5" --timezone Europe/Berlin
  holdfast schedules add "look for news" --session SESSION --every 36h`,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	f := c.Flags()
	f.StringVar(&n.ID, "id", "", "id of the schedule (default: a new one)")
	f.StringVar(&n.Cron, "cron", "", "when, as in crontab(5): minute, hour, day of the month, month, day of the week")
	f.StringVar(&n.Timezone, "timezone", "", "time zone of --cron, such as Europe/Berlin (default: UTC)")
	f.StringVar(&n.Every, "every", "", "or: after each duration, such as 36h")
	f.StringVar(&starts, "starts-at", "", "not before this time, such as 2026-12-24T18:00:00Z (default: now)")
	f.StringVar(&n.Agent, "agent", "", "agent file (default: that of --session)")
	f.StringVar(&n.AgentName, "agent-name", "", "agent of the file to start with (default: its root)")
	f.StringVar(&n.Session, "session", "", "session in which it is said (default: a new one each time)")
	f.StringVar(&n.Title, "title", "", "title of the new sessions")
	f.StringVar(&n.User, "user", "", "on whose behalf the new sessions act")
	f.BoolVar(&n.ToolsApproved, "yes", false, "tools of the new sessions run without asking")
	f.StringToStringVar(&n.Metadata, "metadata", nil, "KEY=VALUE for the new sessions; may be given more than once")
	f.StringVar(&n.Overlap, "overlap", "", "if the run before is not over: skip (the default) or enqueue")
	f.StringVar(&n.Missed, "missed", "", "if nothing could fire in time: catch_up (the default) or skip")
	f.BoolVar(&n.Paused, "paused", false, "let it rest until holdfast schedules resume")
	c.MarkFlagsMutuallyExclusive("cron", "every")
	c.MarkFlagsOneRequired("cron", "every")
	c.MarkFlagsOneRequired("agent", "session")
	_ = c.RegisterFlagCompletionFunc("session", t.sessionIDs)
	_ = c.RegisterFlagCompletionFunc("agent", t.oneAgentFlag)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		var err error
		if starts != "" {
			if n.StartsAt, err = time.Parse(time.RFC3339, starts); err != nil {
				return &exitError{exitUsage, fmt.Errorf("--starts-at %q: want a time such as 2026-12-24T18:00:00Z", starts)}
			}
		}
		if n.Session != "" {
			if n.Session, err = session(c.Context(), cl, n.Session); err != nil {
				return err
			}
		}
		n.Messages = []client.Message{{Content: args[0]}}
		s, err := cl.CreateSchedule(c.Context(), n)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, s)
		}
		fmt.Fprintln(c.OutOrStdout(), s.ID)
		fmt.Fprintf(c.ErrOrStderr(), "next: %s\n", nextAt(s))
		return nil
	})
	return c
}

// schedulesTurn is a command that turns schedules on or off.
func schedulesTurn(name, short, done string, turn func(*client.Client, context.Context, string) (*client.Schedule, error)) *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{Use: name + " SCHEDULE", Short: short, Args: exactArgs(1), ValidArgsFunction: t.scheduleIDs}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		s, err := turn(cl, c.Context(), args[0])
		if err != nil {
			return explainSchedule(err)
		}
		if asJSON {
			return printJSON(c, s)
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s %s; next: %s\n", done, s.ID, nextAt(s))
		return nil
	})
	return c
}

func schedulesRemove() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "rm SCHEDULE…", Short: "Delete schedules; what they have started stays", Args: rangeArgs(1, 1000), ValidArgsFunction: t.scheduleIDs,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		for _, id := range args {
			if err := cl.DeleteSchedule(c.Context(), id); err != nil {
				return explainSchedule(err)
			}
			if !asJSON {
				fmt.Fprintln(c.ErrOrStderr(), "deleted", id)
			}
		}
		if asJSON {
			return printJSON(c, map[string]any{"deleted": args})
		}
		return nil
	})
	return c
}

// explainSchedule says where schedules are listed if there is none of that name.
func explainSchedule(err error) error {
	if exit, _ := explain(err); exit == exitNotFound {
		if answer := (*client.Error)(nil); errors.As(err, &answer) {
			err = errors.New(answer.Message)
		}
		return &exitError{exit, fmt.Errorf("%w\nsee what there is: holdfast schedules ls", err)}
	}
	return err
}

// scheduleIDs completes ids of schedules.
func (t *target) scheduleIDs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.HasSuffix(c.Use, "…") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cl, err := t.client(client.WithTimeout(completionTimeout))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var ids []string
	for s, err := range cl.Schedules(c.Context()) {
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		ids = append(ids, s.ID+"\t"+oneLine(saidEachTime(&s), 60))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

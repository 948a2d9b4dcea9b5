package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/client"
)

func usageCommand() *cobra.Command {
	var t target
	var asJSON bool
	var q client.UsageQuery
	var from, to string
	c := &cobra.Command{
		Use: "usage", Short: "Show what model calls took", Args: exactArgs(0),
		Long: `Show tokens and costs of model calls: of all, or of those of a time, a session, an
agent or a model. --by says what rows are told apart by.`,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&from, "from", "", "first day, in UTC, such as 2026-11-01 (default: the first of all)")
	c.Flags().StringVar(&to, "to", "", "last day (default: today)")
	c.Flags().StringVar(&q.Session, "session", "", "only this session")
	c.Flags().StringVar(&q.Agent, "agent", "", "only this agent file")
	c.Flags().StringVar(&q.Model, "model", "", "only this model, as provider/model")
	c.Flags().StringSliceVar(&q.By, "by", []string{"day", "model"}, "day, session, agent, agent_name, model; \"\" for the sum")
	_ = c.RegisterFlagCompletionFunc("session", t.sessionIDs)
	_ = c.RegisterFlagCompletionFunc("agent", t.oneAgentFlag)
	_ = c.RegisterFlagCompletionFunc("by", cobra.FixedCompletions([]string{"day", "session", "agent", "agent_name", "model"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, _ []string) error {
		for _, d := range []struct {
			flag, text string
			into       *time.Time
		}{{"--from", from, &q.From}, {"--to", to, &q.To}} {
			var err error
			if d.text == "" {
				continue
			}
			if *d.into, err = time.Parse(time.DateOnly, d.text); err != nil {
				return &exitError{exitUsage, fmt.Errorf("%s %q: want a day such as 2026-11-22", d.flag, d.text)}
			}
		}
		cl, err := t.client()
		if err != nil {
			return err
		}
		id := q.Session
		if id != "" {
			if q.Session, err = session(c.Context(), cl, id); err != nil {
				return err
			}
		}
		list := []client.Usage{}
		for u, err := range cl.Usage(c.Context(), q) {
			if err != nil {
				return err
			}
			list = append(list, u)
		}
		if asJSON {
			return printJSON(c, list)
		}
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "no model calls yet, or none like that")
			return nil
		}
		tab := table{}
		for _, column := range q.By {
			tab.head = append(tab.head, strings.ToUpper(column))
		}
		tab.head = append(tab.head, "CALLS", "INPUT", "CACHED", "OUTPUT", "REASONING", "COST")
		for _, u := range list {
			var cells []string
			for _, column := range q.By {
				cells = append(cells, clean(map[string]string{
					"day": u.Day, "session": u.Session, "agent": u.Agent, "agent_name": u.AgentName, "model": u.Model,
				}[column]))
			}
			tab.add(append(cells, fmt.Sprint(u.Calls), fmt.Sprint(u.InputTokens), fmt.Sprint(u.CachedInputTokens),
				fmt.Sprint(u.OutputTokens), fmt.Sprint(u.ReasoningTokens), fmt.Sprintf("$%.4f", u.Cost))...)
		}
		return tab.print(c.OutOrStdout())
	}
	return c
}

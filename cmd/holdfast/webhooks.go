package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/client"
)

// webhookEvents are what a webhook can be told.
var webhookEvents = []string{"run.finished", "session.needs_human"}

func webhooksCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "webhooks", Aliases: []string{"webhook"}, Short: "Have a URL told when runs end or need a human", Args: noSubcommand, RunE: showHelp,
	}
	c.AddCommand(webhooksList(), webhooksAdd(), webhooksDeliveries(), webhooksEnable(), webhooksRemove())
	return c
}

func webhooksList() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{Use: "ls", Short: "List webhooks", Args: exactArgs(0)}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, _ []string) error {
		list, err := cl.Webhooks(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printList(c, list)
		}
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "no webhooks yet; make one: holdfast webhooks add URL")
			return nil
		}
		tab := table{head: []string{"ID", "EVENTS", "STATE", "URL"}}
		for _, w := range list {
			state := "works"
			switch {
			case w.Disabled != "":
				state = "off: " + oneLine(w.Disabled, 40)
			case !w.FailingSince.IsZero():
				state = "fails since " + ago(w.FailingSince)
			}
			tab.add(w.ID, strings.Join(w.Events, ","), state, clean(w.URL))
		}
		return tab.print(c.OutOrStdout())
	})
	return c
}

func webhooksAdd() *cobra.Command {
	var t target
	var asJSON bool
	var n client.NewWebhook
	c := &cobra.Command{
		Use: "add URL", Short: "Have a URL told, and print what is signed with", Args: exactArgs(1),
		Long: `Have a URL told when a run ends and when a session needs a human. Printed are the
id and the secret that deliveries are signed with (Standard Webhooks): it is shown
this once.`,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringSliceVar(&n.Events, "events", nil, strings.Join(webhookEvents, ", ")+" (default: both)")
	c.Flags().StringVar(&n.ID, "id", "", "id of the webhook (default: one of the server's choice)")
	c.Flags().StringVar(&n.Description, "description", "", "what it is for")
	_ = c.RegisterFlagCompletionFunc("events", cobra.FixedCompletions(webhookEvents, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		n.URL = args[0]
		w, err := cl.CreateWebhook(c.Context(), n)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, w)
		}
		fmt.Fprintln(c.ErrOrStderr(), "keep the secret: it is not shown again")
		_, err = fmt.Fprintf(c.OutOrStdout(), "id     %s\nsecret %s\n", w.ID, w.Secret)
		return err
	})
	return c
}

func webhooksDeliveries() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "deliveries WEBHOOK", Short: "Show what was sent to a webhook, and what came of it", Args: exactArgs(1), ValidArgsFunction: t.webhookIDs,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		list, err := cl.Deliveries(c.Context(), args[0])
		if err != nil {
			return explainNamed(err, "holdfast webhooks ls")
		}
		if asJSON {
			return printList(c, list)
		}
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "nothing was sent to it yet")
			return nil
		}
		tab := table{head: []string{"TIME", "EVENT", "SESSION", "STATE", "ATTEMPTS", "ANSWER"}}
		for _, d := range list {
			answer := clean(d.Problem)
			if answer == "" && d.Status != 0 {
				answer = fmt.Sprint(d.Status)
			}
			tab.add(ago(d.Time), d.Type, d.Session, d.State, fmt.Sprint(d.Attempts), oneLine(answer, 80))
		}
		return tab.print(c.OutOrStdout())
	})
	return c
}

func webhooksEnable() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "enable WEBHOOK", Short: "Send again to a webhook that was switched off after a long failure", Args: exactArgs(1), ValidArgsFunction: t.webhookIDs,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		if err := cl.EnableWebhook(c.Context(), args[0]); err != nil {
			return explainNamed(err, "holdfast webhooks ls")
		}
		if asJSON {
			return printJSON(c, map[string]any{"enabled": args})
		}
		fmt.Fprintln(c.ErrOrStderr(), "enabled", args[0])
		return nil
	})
	return c
}

func webhooksRemove() *cobra.Command {
	var t target
	return removal(&t, "rm WEBHOOK…", "Send nothing to a webhook any more, and forget it", t.webhookIDs, "holdfast webhooks ls", (*client.Client).DeleteWebhook)
}

// webhookIDs completes ids of webhooks.
func (t *target) webhookIDs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.complete(c, args, func(cl *client.Client) (out []string, err error) {
		list, err := cl.Webhooks(c.Context())
		for _, w := range list {
			out = append(out, w.ID+"\t"+oneLine(w.URL, 60))
		}
		return out, err
	})
}

// explainNamed is explain for what is not found and is listed by a command of its own.
func explainNamed(err error, list string) error {
	var answer *client.Error
	if !errors.As(err, &answer) || answer.Code == "" {
		return err
	}
	if code, _ := explainAnswer(answer, err); code == exitNotFound {
		return &exitError{exitNotFound, fmt.Errorf("%s\nsee what there is: %s", answer.Message, list)}
	}
	return err
}

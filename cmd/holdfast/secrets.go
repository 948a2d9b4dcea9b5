package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holdfast-run/holdfast/client"
)

func secretsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "secrets", Aliases: []string{"secret"}, Short: "Keys that agent files name, kept by the server", Args: noSubcommand, RunE: showHelp,
		Long: "Keys that agent files name, as ${env.NAME} or token_key: NAME, kept sealed by the\nserver. No command and no request gives a value back.",
	}
	c.AddCommand(secretsList(), secretsPut(), secretsRemove())
	return c
}

func secretsList() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{Use: "ls", Short: "List secrets, without their values", Args: exactArgs(0)}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, _ []string) error {
		list, err := cl.Secrets(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printList(c, list)
		}
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "no secrets yet; store one: holdfast secrets put NAME")
			return nil
		}
		tab := table{head: []string{"NAME", "STORED", "CREATED"}}
		for _, s := range list {
			tab.add(clean(s.Name), ago(s.UpdatedAt), ago(s.CreatedAt))
		}
		return tab.print(c.OutOrStdout())
	})
	return c
}

func secretsPut() *cobra.Command {
	var t target
	var asJSON bool
	var file string
	c := &cobra.Command{
		Use: "put NAME", Short: "Store a secret, or replace its value", Args: exactArgs(1), ValidArgsFunction: t.secretNames,
		Long: `Store a secret, or replace its value. The value is asked for, or read from a file
or, with --file -, from standard input, without the newline at its end: on the
command line others would see it.`,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&file, "file", "", "file with the value, - for standard input (default: it is asked for)")
	_ = c.MarkFlagFilename("file")
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		value, err := secretValue(c, args[0], file)
		if err != nil {
			return err
		}
		if err := cl.PutSecret(c.Context(), args[0], value); err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, map[string]any{"stored": args})
		}
		fmt.Fprintln(c.ErrOrStderr(), "stored", args[0])
		return nil
	})
	return c
}

// secretValue reads a value: from a file, or from the terminal without showing it,
// or from what standard input is instead.
func secretValue(c *cobra.Command, name, file string) (string, error) {
	var data []byte
	var err error
	in, isFile := c.InOrStdin().(*os.File)
	if file == "" && isFile && terminal(in) {
		data, err = hidden(c.Context(), in, c.ErrOrStderr(), "value of "+clean(name)+": ")
	} else {
		data, err = readAll(c, cmp.Or(file, "-"))
	}
	if err != nil {
		return "", err
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return "", &exitError{exitUsage, errors.New("the value is empty")}
	}
	return value, nil
}

// hidden reads a line from a terminal that does not show it.
func hidden(ctx context.Context, in *os.File, out io.Writer, prompt string) ([]byte, error) {
	before, err := term.GetState(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("ask for a value: %w", err)
	}
	type read struct {
		data []byte
		err  error
	}
	got := make(chan read, 1)
	fmt.Fprint(out, prompt)
	defer fmt.Fprintln(out) // the newline that was typed is not shown either
	go func() {             // it ends with the process: a terminal's read cannot be interrupted
		data, err := term.ReadPassword(int(in.Fd()))
		got <- read{data, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, fmt.Errorf("read a value: %w", r.err)
		}
		return r.data, nil
	case <-ctx.Done():
		_ = term.Restore(int(in.Fd()), before) // else it shows nothing any more
		return nil, &exitError{exitCanceled, errors.New("interrupted")}
	}
}

func secretsRemove() *cobra.Command {
	var t target
	return removal(&t, "rm NAME…", "Delete secrets", t.secretNames, "holdfast secrets ls", (*client.Client).DeleteSecret)
}

// secretNames completes names of secrets.
func (t *target) secretNames(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.complete(c, args, func(cl *client.Client) (out []string, err error) {
		list, err := cl.Secrets(c.Context())
		for _, s := range list {
			out = append(out, s.Name)
		}
		return out, err
	})
}

func connectionsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "connections", Aliases: []string{"connection"}, Short: "What users have authorized agents to use", Args: noSubcommand, RunE: showHelp,
	}
	c.AddCommand(connectionsList(), connectionsRemove())
	return c
}

func connectionsList() *cobra.Command {
	var t target
	var asJSON bool
	var user string
	c := &cobra.Command{Use: "ls", Short: "List authorizations, of all users or of one", Args: exactArgs(0)}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&user, "user", "", "only those of this user")
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, _ []string) error {
		list, err := cl.Connections(c.Context(), user)
		if err != nil {
			return err
		}
		if asJSON {
			return printList(c, list)
		}
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "no server of tools was authorized yet")
			return nil
		}
		tab := table{head: []string{"ID", "USER", "TOOLSET", "SINCE", "TOKEN ENDS", "SERVER"}}
		for _, g := range list {
			ends := "-"
			if !g.ExpiresAt.IsZero() {
				ends = g.ExpiresAt.Local().Format(time.DateTime)
			}
			tab.add(g.ID, clean(g.User), clean(g.Toolset), ago(g.CreatedAt), ends, clean(g.ServerURL))
		}
		return tab.print(c.OutOrStdout())
	})
	return c
}

func connectionsRemove() *cobra.Command {
	var t target
	return removal(&t, "rm CONNECTION…", "Revoke authorizations: who needs them is asked again", func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return t.complete(c, args, func(cl *client.Client) (out []string, err error) {
			list, err := cl.Connections(c.Context(), "")
			for _, g := range list {
				out = append(out, g.ID+"\t"+oneLine(g.User+" "+g.ServerURL, 60))
			}
			return out, err
		})
	}, "holdfast connections ls", (*client.Client).Disconnect)
}

// removal is a command that deletes what it is given, one after the other. list is
// the command that says what there is.
func removal(t *target, use, short string, names cobra.CompletionFunc, list string, remove func(*client.Client, context.Context, string) error) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: use, Short: short, Args: rangeArgs(1, 1000), ValidArgsFunction: names}
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
		for _, name := range args {
			if err := remove(cl, c.Context(), name); err != nil {
				return explainNamed(err, list)
			}
			removed = append(removed, name)
			if !asJSON {
				fmt.Fprintln(c.ErrOrStderr(), "deleted", name)
			}
		}
		return nil
	})
	return c
}

// complete completes with what a server knows, in the time that a press of the tab key
// may take.
func (t *target) complete(c *cobra.Command, args []string, names func(*client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.HasSuffix(c.Use, "…") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cl, err := t.client(client.WithTimeout(completionTimeout))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	out, err := names(cl)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// printList prints a list as JSON: an empty one is [].
func printList[T any](c *cobra.Command, list []T) error {
	if list == nil {
		list = []T{}
	}
	return printJSON(c, list)
}

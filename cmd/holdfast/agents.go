package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
)

func agentCommand() *cobra.Command {
	c := &cobra.Command{Use: "agent", Aliases: []string{"agents"}, Short: "List, check, push and pull agent files", Args: noSubcommand, RunE: showHelp}
	c.AddCommand(agentList(), agentShow(), agentNew(), agentPut(), agentRemove(), agentCheck(), agentSchema(), agentPush(), agentPull())
	return c
}

func agentList() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{Use: "ls", Short: "List the agent files of the server", Args: exactArgs(0)}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, _ []string) error {
		list, err := cl.GetAgents(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			if list == nil {
				list = []client.Agent{}
			}
			return printJSON(c, list)
		}
		tab := table{head: []string{"NAME", "AGENTS", "DESCRIPTION"}}
		st := styleFor(c.OutOrStdout())
		for _, a := range list {
			number, about := "one", oneLine(a.Description, 80)
			if a.Multi {
				number = "several"
			}
			if a.Problem != "" {
				number, about = "-", st.red(oneLine("cannot be used: "+a.Problem, 120))
			}
			tab.add(clean(a.Name), number, about)
		}
		return tab.print(c.OutOrStdout())
	})
	return c
}

func agentShow() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{Use: "show NAME", Short: "Print an agent file of the server; NAME@3 is its third version", Args: exactArgs(1), ValidArgsFunction: t.oneAgent}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		f, err := cl.GetAgentFile(c.Context(), args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, f)
		}
		source := f.Source
		if terminal(c.OutOrStdout()) {
			source = clean(source)
		}
		_, err = fmt.Fprint(c.OutOrStdout(), source)
		return err
	})
	return c
}

func agentPut() *cobra.Command {
	var t target
	var asJSON bool
	var name string
	c := &cobra.Command{
		Use: "put FILE", Short: "Store an agent file on the server, as a new version", Args: exactArgs(1), ValidArgsFunction: yamlFiles,
		Long: "Store an agent file on the server. Sessions that have begun keep the version that\nthey began with.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&name, "name", "", "name on the server (default: that of the file)")
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		source, err := readAll(c, args[0])
		if err != nil {
			return err
		}
		if name == "" {
			name = filepath.Base(args[0])
		}
		f, err := cl.PutAgentFile(c.Context(), name, source)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, f)
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s is stored, version %d\n", clean(f.Name), f.Version)
		for _, p := range f.Problems {
			fmt.Fprintf(c.ErrOrStderr(), "%d:%d %s: %s\n", p.Line, p.Column, clean(p.Key), clean(p.Message))
		}
		return nil
	})
	return c
}

func agentNew() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: `new "WHAT IT IS FOR"`, Short: "Have a model write an agent file, on the server", Args: exactArgs(1),
		Long: "Have a model of the server write an agent file for what you ask for, and print its\nname. - reads that from standard input. See it with holdfast agent show.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		prompt, err := promptOf(c, args, nil)
		if err != nil {
			return err
		}
		done := progress(c.ErrOrStderr(), "a model writes the agent")
		made, err := cl.CreateAgent(c.Context(), prompt)
		done()
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, made)
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), clean(made.Path))
		return err
	})
	return c
}

func agentRemove() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{Use: "rm NAME", Short: "Delete an agent file of the server", Args: exactArgs(1), ValidArgsFunction: t.oneAgent}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		if err := cl.DeleteAgent(c.Context(), args[0]); err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, map[string]any{"deleted": args})
		}
		fmt.Fprintln(c.ErrOrStderr(), "deleted", args[0])
		return nil
	})
	return c
}

func agentCheck() *cobra.Command {
	var hosted, asJSON bool
	c := &cobra.Command{
		Use: "check FILE…", Short: "Check agent files and say what is wrong, with line and column", Args: rangeArgs(1, 10_000), ValidArgsFunction: yamlFiles,
	}
	c.Flags().BoolVar(&hosted, "hosted", false, "as a hosted deployment without a sandbox would")
	jsonFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, files []string) error {
		type result struct {
			File    string `json:"file"`
			OK      bool   `json:"ok"`
			Problem string `json:"problem,omitempty"`
		}
		var results []result
		bad := 0
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err == nil {
				err = app.CheckAgent(filepath.Base(f), src, hosted)
			}
			r := result{File: f, OK: err == nil}
			if err != nil {
				bad++
				r.Problem = atPath(err.Error(), f)
			}
			results = append(results, r)
			switch {
			case asJSON:
			case err != nil:
				fmt.Fprintln(c.OutOrStdout(), r.Problem)
			default:
				fmt.Fprintf(c.OutOrStdout(), "%s: ok\n", f)
			}
		}
		if asJSON {
			if err := printJSON(c, results); err != nil {
				return err
			}
		}
		if bad > 0 {
			return &exitError{exitFailed, fmt.Errorf("%d of %d files cannot be used", bad, len(files))}
		}
		return nil
	}
	return c
}

// atPath has each line of a problem begin with the path of the file, as editors and
// compilers have it: "path:line:column: what".
func atPath(problem, file string) string {
	lines := strings.Split(problem, "\n")
	for i, l := range lines {
		if rest, ok := strings.CutPrefix(l, filepath.Base(file)+":"); ok {
			lines[i] = file + ":" + rest
		} else if i == 0 && !strings.Contains(l, file) {
			lines[i] = file + ": " + l
		}
	}
	return strings.Join(lines, "\n")
}

// fromRegistry says who could not reach the registry.
func fromRegistry(err error) error {
	var answer *client.Error
	if !errors.As(err, &answer) || answer.Code != holdfast.CodeUnavailable {
		return err
	}
	return &exitError{exitAway, fmt.Errorf("%s\nit is the server that speaks to the registry: see that the reference is right and that the server reaches it, with its credentials", answer.Message)}
}

func agentSchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON schema of agent files, for editors", Args: exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(app.AgentSchema())
			return err
		},
	}
}

func agentPush() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "push NAME REFERENCE", Short: "Put an agent file of the server into an OCI registry", Args: exactArgs(2), ValidArgsFunction: t.oneAgent,
		Long: "Put an agent file of the server into an OCI registry under a reference such as\nregistry.example.com/team/agent:v1 and print its digest. It is the server that\nspeaks to the registry, with its credentials.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		done := progress(c.ErrOrStderr(), "pushing "+args[0])
		p, err := cl.PushAgent(c.Context(), args[0], args[1])
		done()
		if err != nil {
			return fromRegistry(err)
		}
		if asJSON {
			return printJSON(c, p)
		}
		fmt.Fprintln(c.OutOrStdout(), p.Digest)
		return nil
	})
	return c
}

func agentPull() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "pull REFERENCE", Short: "Take an agent file from an OCI registry to the server", Args: exactArgs(1),
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		done := progress(c.ErrOrStderr(), "pulling "+args[0])
		p, err := cl.PullAgent(c.Context(), args[0])
		done()
		if err != nil {
			return fromRegistry(err)
		}
		if asJSON {
			return printJSON(c, p)
		}
		fmt.Fprintln(c.OutOrStdout(), clean(p.Name))
		return nil
	})
	return c
}

// oneAgent completes the name of an agent file of the server.
func (t *target) oneAgent(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.agentNames(c), cobra.ShellCompDirectiveNoFileComp
}

// oneAgentFlag is oneAgent for a flag.
func (t *target) oneAgentFlag(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.agentNames(c), cobra.ShellCompDirectiveNoFileComp
}

// yamlFiles completes names of files.
func yamlFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// agentNames completes names of agent files of the server.
func (t *target) agentNames(c *cobra.Command) []string {
	cl, err := t.client(client.WithTimeout(completionTimeout))
	if err != nil {
		return nil
	}
	list, err := cl.GetAgents(c.Context())
	if err != nil {
		return nil
	}
	var names []string
	for _, a := range list {
		names = append(names, a.Name+"\t"+oneLine(a.Description, 60))
	}
	return names
}

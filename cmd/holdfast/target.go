package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/client"
)

// defaultServer is where `holdfast dev` listens.
const defaultServer = "http://127.0.0.1:8080"

// Environment variables of the commands that speak to a server. They do not begin
// with HOLDFAST_: the server programs refuse variables of that prefix that they
// do not know, and both may share an environment.
const (
	envURL      = "HOLDFASTCTL_URL"
	envKey      = "HOLDFASTCTL_API_KEY"
	envContexts = "HOLDFASTCTL_CONTEXTS"
)

// completionTimeout bounds what a press of the tab key may take.
const completionTimeout = time.Second

// serverContext is a server that the user has given a name.
type serverContext struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	Key  string `json:"key,omitempty"`
}

// contextFile holds the servers that the user knows. It may hold keys: nobody but
// the user may read it.
type contextFile struct {
	Current  string          `json:"current"`
	Contexts []serverContext `json:"contexts"`
}

func contextPath() (string, error) {
	if p := os.Getenv(envContexts); p != "" {
		return p, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("look for the folder of settings: %w; set %s to a file", err, envContexts)
	}
	return filepath.Join(dir, "holdfast", "contexts.json"), nil
}

func readContexts() (contextFile, error) {
	var f contextFile
	p, err := contextPath()
	if err != nil {
		return f, nil // without a home there are none; who adds one is told
	}
	data, err := os.ReadFile(p)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("read the contexts: %w", err)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, &exitError{exitFailed, fmt.Errorf("the contexts in %s cannot be read: %w; mend or remove the file", p, err)}
	}
	return f, nil
}

// write replaces the file in one step, readable by its owner alone.
func (f contextFile) write() error {
	p, err := contextPath()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return fmt.Errorf("make the folder of the contexts: %w; set %s to a file elsewhere", err, envContexts)
	}
	tmp, err := os.CreateTemp(filepath.Dir(p), ".contexts-") // mode 0600
	if err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails when it has been renamed
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Chmod(0o600), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), p)
	}
	if err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	return nil
}

func (f contextFile) find(name string) (serverContext, bool) {
	i := slices.IndexFunc(f.Contexts, func(c serverContext) bool { return c.Name == name })
	if i < 0 {
		return serverContext{}, false
	}
	return f.Contexts[i], true
}

// target is the server that a command speaks to.
type target struct {
	remote  string // --remote
	context string // --context
}

// flags adds the flags that name a server.
func (t *target) flags(c *cobra.Command) {
	c.Flags().StringVar(&t.remote, "remote", "", "URL of the server, with a key as http://:KEY@host (default: the context in use, else "+defaultServer+")")
	c.Flags().StringVar(&t.context, "context", "", "name of the server, as `holdfast context add` gave it")
	c.MarkFlagsMutuallyExclusive("remote", "context")
	_ = c.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		f, err := readContexts()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return f.names(), cobra.ShellCompDirectiveNoFileComp
	})
}

func (f contextFile) names() []string {
	var names []string
	for _, c := range f.Contexts {
		names = append(names, c.Name)
	}
	return names
}

// server finds the server that is meant: flag over environment over the context
// in use. named says that the user named one in any of these ways.
func (t *target) server() (sc serverContext, named bool, err error) {
	if t.remote != "" {
		return serverContext{URL: t.remote, Key: os.Getenv(envKey)}, true, nil
	}
	if t.context == "" {
		if u := os.Getenv(envURL); u != "" {
			return serverContext{URL: u, Key: os.Getenv(envKey)}, true, nil
		}
	}
	f, err := readContexts()
	if err != nil {
		return sc, false, err
	}
	name := cmp.Or(t.context, f.Current)
	if name == "" {
		return serverContext{URL: defaultServer, Key: os.Getenv(envKey)}, false, nil
	}
	sc, ok := f.find(name)
	if !ok {
		return sc, false, &exitError{exitUsage, fmt.Errorf("there is no context %q\nsee: holdfast context ls", name)}
	}
	return sc, true, nil
}

// again is what a command line needs to mean the same server once more, without a
// key: "" where it is meant anyway.
func (t *target) again() string {
	switch {
	case t.remote != "":
		return " --remote " + serverContext{URL: t.remote}.shown()
	case t.context != "":
		return " --context " + t.context
	}
	return ""
}

// client returns a client of the server that is meant.
func (t *target) client(opts ...client.Option) (*client.Client, error) {
	sc, _, err := t.server()
	if err != nil {
		return nil, err
	}
	return sc.client(opts...)
}

// on is a command that speaks to the server that is meant.
func (t *target) on(run func(c *cobra.Command, cl *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		cl, err := t.client()
		if err != nil {
			return err
		}
		return run(c, cl, args)
	}
}

// onSession is on for a command whose first argument is a session.
func (t *target) onSession(run func(c *cobra.Command, cl *client.Client, id string, args []string) error) func(*cobra.Command, []string) error {
	return t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		id, err := session(c.Context(), cl, args[0])
		if err != nil {
			return err
		}
		return run(c, cl, id, args)
	})
}

func (sc serverContext) client(opts ...client.Option) (*client.Client, error) {
	if sc.Key != "" {
		opts = append(opts, client.WithAPIKey(sc.Key))
	}
	c, err := client.New(sc.URL, opts...)
	if err != nil {
		if !strings.Contains(sc.URL, "://") && hostAndPort.MatchString(sc.URL) {
			err = fmt.Errorf("%q is no URL\ndid you mean: http://%s", sc.URL, sc.URL)
		}
		return nil, &exitError{exitUsage, err}
	}
	return c, nil
}

// userPassword is the key that is in a URL, "" for none.
func userPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return ""
	}
	key, _ := u.User.Password()
	return key
}

var hostAndPort = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?(/.*)?$`)

// shown is the URL without a key.
func (sc serverContext) shown() string {
	u, err := url.Parse(sc.URL)
	if err != nil {
		return "a URL that cannot be read"
	}
	u.User = nil
	return u.String()
}

// session returns the id that an argument means: itself, or for "@last" that of
// the newest session.
func session(ctx context.Context, c *client.Client, arg string) (string, error) {
	if arg != "@last" {
		return arg, nil
	}
	for s, err := range c.Sessions(ctx, 1) {
		return s.ID, err
	}
	return "", &exitError{exitNotFound, errors.New("there is no session yet\nbegin one: holdfast chat")}
}

// sessionIDs completes ids of sessions, their titles beside them.
func (t *target) sessionIDs(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.HasSuffix(c.Use, "…") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cl, err := t.client(client.WithTimeout(completionTimeout))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	if len(args) == 0 {
		out = append(out, "@last\tthe newest session")
	}
	for s, err := range cl.Sessions(c.Context(), 100) {
		if err != nil || len(out) > 100 {
			break
		}
		if strings.HasPrefix(s.ID, prefix) {
			out = append(out, s.ID+"\t"+clean(s.Title))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func contextCommand() *cobra.Command {
	c := &cobra.Command{Use: "context", Short: "Name the servers that you use, with their keys", Args: noSubcommand, RunE: showHelp}
	c.AddCommand(contextAdd(), contextUse(), contextList(), contextRemove())
	return c
}

var contextName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func contextAdd() *cobra.Command {
	var key, keyFile string
	var asJSON bool
	c := &cobra.Command{
		Use: "add NAME URL", Short: "Remember a server; the first one is used from then on", Args: exactArgs(2),
		Long: `Remember a server under a name. The key, if it needs one, is read from a file or,
with --key-file -, from standard input: on the command line others would see it.
The contexts are in a file that only you can read.`,
	}
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&keyFile, "key-file", "", "file with the API key, - for standard input")
	_ = c.MarkFlagFilename("key-file")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !contextName.MatchString(args[0]) {
			return &exitError{exitUsage, fmt.Errorf("a context cannot be called %q: only letters, digits, '.', '-' and '_'", args[0])}
		}
		if keyFile != "" {
			data, err := readAll(c, keyFile)
			if err != nil {
				return err
			}
			if key = strings.TrimSpace(string(data)); key == "" {
				return &exitError{exitUsage, fmt.Errorf("%s holds no key", keyFile)}
			}
		}
		sc := serverContext{Name: args[0], URL: args[1], Key: key}
		if u, err := url.Parse(sc.URL); err == nil && u.User != nil {
			if sc.Key == "" {
				sc.Key = userPassword(sc.URL)
			}
			u.User = nil
			sc.URL = u.String()
		}
		if _, err := sc.client(); err != nil {
			return err
		}
		f, err := readContexts()
		if err != nil {
			return err
		}
		f.Contexts = append(slices.DeleteFunc(f.Contexts, func(o serverContext) bool { return o.Name == sc.Name }), sc)
		if f.Current == "" {
			f.Current = sc.Name
		}
		if err := f.write(); err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, f.row(sc))
		}
		fmt.Fprintf(c.ErrOrStderr(), "context %s is %s; in use: %s\n", sc.Name, sc.shown(), f.Current)
		return nil
	}
	return c
}

func contextUse() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "use NAME", Short: "Use a server from now on", Args: exactArgs(1),
		ValidArgsFunction: completeContexts,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := readContexts()
			if err != nil {
				return err
			}
			sc, ok := f.find(args[0])
			if !ok {
				return &exitError{exitUsage, fmt.Errorf("there is no context %q\nadd it: holdfast context add %s URL", args[0], args[0])}
			}
			f.Current = sc.Name
			if err := f.write(); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, f.row(sc))
			}
			fmt.Fprintf(c.ErrOrStderr(), "in use: %s, %s\n", sc.Name, sc.shown())
			return nil
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// contextRow is a context as programs see it: without its key.
type contextRow struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	HasKey  bool   `json:"has_key"`
	Current bool   `json:"current"`
}

func (f contextFile) row(sc serverContext) contextRow {
	return contextRow{sc.Name, sc.shown(), sc.Key != "", sc.Name == f.Current}
}

func contextList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "ls", Short: "List the servers", Args: exactArgs(0)}
	jsonFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		f, err := readContexts()
		if err != nil {
			return err
		}
		rows := make([]contextRow, len(f.Contexts))
		for i, sc := range f.Contexts {
			rows[i] = f.row(sc)
		}
		if asJSON {
			return printJSON(c, rows)
		}
		if len(rows) == 0 {
			fmt.Fprintf(c.ErrOrStderr(), "no contexts; commands speak to %s. Add one: holdfast context add NAME URL\n", defaultServer)
			return nil
		}
		t := table{head: []string{"", "NAME", "URL", "KEY"}}
		for _, r := range rows {
			mark, key := "", "no"
			if r.Current {
				mark = "*"
			}
			if r.HasKey {
				key = "yes"
			}
			t.add(mark, r.Name, r.URL, key)
		}
		return t.print(c.OutOrStdout())
	}
	return c
}

func contextRemove() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "rm NAME", Short: "Forget a server", Args: exactArgs(1),
		ValidArgsFunction: completeContexts,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := readContexts()
			if err != nil {
				return err
			}
			n := len(f.Contexts)
			f.Contexts = slices.DeleteFunc(f.Contexts, func(o serverContext) bool { return o.Name == args[0] })
			if len(f.Contexts) == n {
				return &exitError{exitNotFound, fmt.Errorf("there is no context %q\nsee: holdfast context ls", args[0])}
			}
			if f.Current == args[0] {
				f.Current = ""
			}
			if err := f.write(); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, map[string]any{"deleted": args})
			}
			fmt.Fprintln(c.ErrOrStderr(), "deleted", args[0])
			return nil
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	f, err := readContexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return f.names(), cobra.ShellCompDirectiveNoFileComp
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/telemetry"
)

func chatCommand() *cobra.Command {
	var t target
	var data, id, agentName string
	var yes bool
	c := &cobra.Command{
		Use: "chat [AGENT]", Short: "Talk to an agent in the terminal", Args: rangeArgs(0, 1),
		Long: `Talk to an agent in the terminal. AGENT is an agent file, which then runs in this
process, or the name of an agent of the server that --remote, --context or the
context in use names. Without a server the built-in agent "demo" does.

The answer streams in; tool calls are folded into a line each (/tools shows them
whole); a call that needs an approval takes one key. When the connection is lost
the chat goes on where it was, and leaving a chat on a server does not stop its
run. /help lists the commands and keys.`,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return t.agentNames(c), cobra.ShellCompDirectiveDefault
		},
	}
	t.flags(c)
	c.Flags().StringVar(&id, "session", "", "go on with this session, or @last")
	_ = c.RegisterFlagCompletionFunc("session", t.sessionIDs)
	c.Flags().StringVar(&agentName, "agent", "", "agent of the file to start with (default: its root)")
	c.Flags().StringVar(&data, "data", "", "run in this process and keep sessions in this folder")
	_ = c.MarkFlagDirname("data")
	c.Flags().BoolVar(&yes, "yes", false, "approve every tool call")
	c.RunE = func(c *cobra.Command, args []string) error {
		in, err := chatTerminal(c.InOrStdin(), c.OutOrStdout())
		if err != nil {
			return &exitError{exitUsage, err}
		}
		ch := &chat{
			out: c.OutOrStdout(), style: styleFor(c.OutOrStdout()), session: id, agentName: agentName, approved: yes,
			size: func() (int, int) {
				w, h := terminalSize(c.OutOrStdout()) // on Windows the input has none
				if w <= 0 || h <= 0 {
					return 80, 24
				}
				return w, h
			},
		}
		if len(args) == 1 {
			ch.agent = args[0]
		}
		sc, named, err := t.server()
		if err != nil {
			return err
		}
		if named && data == "" && !isAgentFile(ch.agent) {
			if ch.client, err = sc.client(client.WithConnectionNotice(ch.connection)); err != nil {
				return err
			}
			ch.where, ch.back = sc.shown(), "holdfast chat"+t.again()
			return ch.onTerminal(c.Context(), in)
		}
		if data != "" {
			ch.back = strings.Join(append([]string{"holdfast chat"}, args...), " ") + " --data " + data
		}
		return embedded(c.Context(), "holdfast-chat", ch.agent, data, func(name, addr string) error {
			ch.agent, ch.where = name, "in this process"
			if ch.client, err = client.New("http://"+addr, client.WithConnectionNotice(ch.connection)); err != nil {
				return err
			}
			return ch.onTerminal(c.Context(), in)
		})
	}
	return c
}

// chatTerminal returns the terminal of a chat, or says why there can be none.
func chatTerminal(in io.Reader, out io.Writer) (*os.File, error) {
	f, isFile := in.(*os.File)
	switch {
	case isFile && isatty.IsCygwinTerminal(f.Fd()): // a pipe, for programs of Windows
		return nil, errors.New("this window is no console of Windows: start the chat with winpty holdfast chat, or in Windows Terminal")
	case !isFile || !terminal(in) || !terminal(out):
		return nil, errors.New("chat needs a terminal; without one use: holdfast run")
	case !obeys(out):
		return nil, errors.New("chat needs a terminal that can move its cursor (TERM=dumb says that this one cannot); here use: holdfast run")
	}
	return f, nil
}

// isAgentFile reports whether an argument names a file and not an agent of a
// server.
func isAgentFile(arg string) bool {
	if strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml") || isPath(arg) {
		info, err := os.Stat(arg)
		return err == nil && !info.IsDir() || isPath(arg)
	}
	return false
}

// isPath reports whether a name has a folder in it.
func isPath(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool { return r < 0x80 && os.IsPathSeparator(uint8(r)) })
}

// embedded runs everything in this process, with the agents in the folder of a
// file (or the built-in ones), while use does what it does. name is what the API
// calls the agent. data "" is a folder that is removed in the end.
func embedded(ctx context.Context, program, agent, data string, use func(name, addr string) error) error {
	if data == "" {
		tmp, err := os.MkdirTemp("", "holdfast-run-")
		if err != nil {
			return fmt.Errorf("make a folder for the data: %w", err)
		}
		defer os.RemoveAll(tmp)
		data = tmp
	}
	listen := "127.0.0.1:0"
	o := overrides{"HOLDFAST_DATA": &data, "HOLDFAST_LISTEN": &listen}
	if info, err := os.Stat(agent); agent != "" && err == nil && !info.IsDir() {
		folder := filepath.Dir(agent)
		o["HOLDFAST_AGENTS"] = &folder
		agent = filepath.Base(agent)
	} else if strings.Contains(agent, ".") || isPath(agent) {
		if err == nil {
			return &exitError{exitUsage, fmt.Errorf("%s is a folder: name a file in it", agent)}
		}
		return &exitError{exitUsage, fmt.Errorf("no agent file %s", agent)}
	}
	if agent == "" {
		agent = "demo"
	}
	cfg, err := o.load(withDefault(os.Environ(), "HOLDFAST_LOG_LEVEL", "error"))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	tel, err := telemetry.Start(ctx, telemetry.Config{Level: cfg.LogLevel, Format: cfg.LogFormat})
	if err != nil {
		return fmt.Errorf("start the log: %w", err)
	}
	addr := ""
	small()
	err = app.Run(context.WithoutCancel(ctx), cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
		Name: program, Version: version, Logger: tel.Logger(), DrainGrace: time.Second,
		Ready: func(a string) { addr = a },
		Use:   func(context.Context, *app.Program) error { return use(agent, addr) },
	})
	if e := (*exitError)(nil); err != nil && !errors.As(err, &e) {
		if answer := (*client.Error)(nil); errors.As(err, &answer) {
			err = errors.New(answer.Message)
			if answer.Status == http.StatusNotFound {
				err = fmt.Errorf("%w\n%s", err, elsewhere(agent))
			}
		}
		return &exitError{exitFailed, err} // there is no server here that one could be told to look at
	}
	return err
}

// elsewhere says where what is not found in this process may be.
func elsewhere(agent string) string {
	for _, name := range []string{agent + ".yaml", agent + ".yml"} {
		if info, err := os.Stat(name); agent != "" && err == nil && !info.IsDir() {
			return "there is a file here: name it as ./" + name
		}
	}
	return "this looked in this process; for what a server has, name it: --remote URL, or holdfast context add NAME URL"
}

// onTerminal runs the chat on a terminal and leaves that as it was.
func (ch *chat) onTerminal(ctx context.Context, in *os.File) error {
	if err := ch.open(ctx); err != nil {
		return err
	}
	var before *term.State
	raw := func() (err error) {
		was, err := term.MakeRaw(int(in.Fd()))
		if err != nil { // it is gone: before says how it was
			return fmt.Errorf("set up the terminal: %w", err)
		}
		before = was
		_, err = io.WriteString(ch.out, "\x1b[?2004h") // pastes come marked as such
		return err
	}
	restore := func() {
		_, _ = io.WriteString(ch.out, "\x1b[?2004l")
		if before != nil {
			_ = term.Restore(int(in.Fd()), before)
		}
	}
	if err := raw(); err != nil {
		return err
	}
	var unwatch func()
	ch.resize, unwatch = watchSize()
	defer unwatch()
	if canStop {
		ch.suspend = func() error {
			restore()
			stopHere()
			return raw()
		}
	}
	defer func() {
		restore()
		if ch.back != "" && ch.session != "" {
			fmt.Fprintln(ch.out, ch.style.dim("to go on: "+ch.back+" --session "+ch.session))
		}
	}()
	keys := make(chan []byte)
	go func() { // it ends with the process: a terminal's read cannot be interrupted
		defer close(keys)
		buf := make([]byte, 4096)
		for {
			n, err := in.Read(buf)
			if n > 0 {
				keys <- append([]byte(nil), buf[:n]...)
			}
			if err != nil {
				return
			}
		}
	}()
	return ch.loop(ctx, keys)
}

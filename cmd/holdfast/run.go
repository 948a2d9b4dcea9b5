package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

func runCommand() *cobra.Command {
	r := &runner{}
	var t target
	c := &cobra.Command{
		Use:   `run AGENT ["prompt"]`,
		Short: "Run an agent in the terminal",
		Long: `Run an agent in the terminal. With a prompt it makes one run and ends; without, it
reads a prompt from each line of standard input. The prompt - is all of standard
input, and --file puts files behind it. It streams the answer and asks before a tool
changes something.

AGENT is a file, which runs in this process, or the name of an agent of the server
that --remote, --context, ` + envURL + ` or the context in use names. Without a
server a name is that of a built-in agent ("demo"). With --detach the run is left
to the server (` + defaultServer + ` if none is named), and the id of its session
is printed.

Exit codes: 0 the run came to its end, 1 it failed, 2 the command line is wrong,
3 an approval, an answer or an authorization was needed and nobody could be asked,
4, 5 and 6 as other commands have them with a server, 130 interrupted.`,
		Args: rangeArgs(1, 2),
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return t.agentNames(c), cobra.ShellCompDirectiveDefault
		},
	}
	t.flags(c)
	data := c.Flags().String("data", "", "run in this process and keep sessions in this folder (default: a new one, removed at the end)")
	c.Flags().StringVar(&r.session, "session", "", "go on with this session, or @last")
	c.Flags().BoolVar(&r.detach, "detach", false, "do not wait: print the session's id; the run goes on on the server")
	_ = c.RegisterFlagCompletionFunc("session", t.sessionIDs)
	c.Flags().StringVar(&r.agentName, "agent", "", "agent of the file to start with (default: its root)")
	c.Flags().BoolVar(&r.json, "json", false, "print every event as a line of JSON")
	_ = c.MarkFlagDirname("data")
	c.Flags().BoolVar(&r.yes, "yes", false, "approve every tool call")
	var files []string
	c.Flags().StringArrayVar(&files, "file", nil, "text file to put behind the prompt, - for standard input; may be given more than once")
	_ = c.MarkFlagFilename("file")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		prompt := ""
		r.in, r.out, r.errOut = bufio.NewReader(os.Stdin), c.OutOrStdout(), c.ErrOrStderr()
		r.style = styleFor(r.errOut)
		r.tty = isatty.IsTerminal(os.Stdin.Fd())
		use := func(cl *client.Client, agent string) (err error) {
			r.client, r.agent = cl, agent
			if r.session != "" {
				if r.session, err = session(c.Context(), cl, r.session); err != nil {
					return err
				}
			}
			if prompt != "" {
				return r.once(c.Context(), prompt)
			}
			return r.chat(c.Context())
		}
		if prompt, err = promptOf(c, args[1:], files); err != nil {
			return err
		}
		sc, named, err := t.server()
		if err != nil {
			return err
		}
		if (named || r.detach) && *data == "" && !isAgentFile(args[0]) {
			cl, err := sc.client(client.WithConnectionNotice(r.connection))
			if err != nil {
				return err
			}
			return use(cl, args[0])
		}
		if t.remote != "" || t.context != "" || r.detach {
			return &exitError{exitUsage, errors.New("a file, and what --data keeps, runs in this process: to run on a server, name one of its agents (holdfast agent ls)")}
		}
		return embedded(c.Context(), "holdfast-run", args[0], *data, func(name, addr string) error {
			cl, err := client.New("http://" + addr)
			if err != nil {
				return err
			}
			return use(cl, name)
		})
	}
	return c
}

// runner is one use of `holdfast run`.
type runner struct {
	client    *client.Client
	session   string
	agent     string
	agentName string
	json      bool
	yes       bool
	detach    bool
	tty       bool
	in        *bufio.Reader
	out       io.Writer
	errOut    io.Writer

	style style
	lost  bool // the connection
	// approvedAll says that calls are approved in this session: what is asked all the
	// same is asked each time.
	approvedAll bool
	column      bool // the cursor stands behind text of the model
}

// once makes one run in a session of its own, or in the one that was named.
func (r *runner) once(ctx context.Context, prompt string) error {
	if r.session == "" {
		doc, err := r.client.CreateSession(ctx, client.NewSession{Agent: r.agent, ToolsApproved: r.yes})
		if err != nil {
			return err
		}
		r.session = doc.ID
	}
	settled, err := r.client.StartRun(ctx, r.session, client.NewRun{
		Agent: r.agent, AgentName: r.agentName, Messages: []client.Message{{Content: prompt}},
	})
	if err != nil {
		return err
	}
	if r.detach {
		if r.json {
			return json.NewEncoder(r.out).Encode(settled)
		}
		fmt.Fprintln(r.out, r.session)
		return nil
	}
	return r.follow(ctx, settled)
}

// chat makes a run of every line.
func (r *runner) chat(ctx context.Context) error {
	for {
		if r.tty && !r.json {
			fmt.Fprint(r.errOut, "> ")
		}
		line, err := r.line(ctx)
		if text := strings.TrimSpace(line); text != "" {
			if rerr := r.once(ctx, text); rerr != nil {
				if e := (*exitError)(nil); !r.tty || (errors.As(rerr, &e) && e.code == exitCanceled) {
					return rerr
				}
				_, rerr = explain(rerr)
				fmt.Fprintln(r.errOut, "holdfast:", clean(rerr.Error()))
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if r.tty && !r.json {
				fmt.Fprintln(r.errOut) // what comes next is no answer to the prompt
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// connection says what becomes of the connection to a server.
func (r *runner) connection(n client.Connection) {
	switch {
	case n.Up:
		r.note("(the connection is there again)")
	case !r.lost: // not for each attempt
		r.note("(the connection is lost; connecting again)")
	}
	r.lost = !n.Up
}

// line reads a line; an interrupt ends the waiting for it.
func (r *runner) line(ctx context.Context) (string, error) {
	type read struct {
		text string
		err  error
	}
	got := make(chan read, 1)
	go func() { // it ends with the process: a terminal's read cannot be interrupted
		text, err := r.in.ReadString('\n')
		got <- read{text, err}
	}()
	select {
	case l := <-got:
		return l.text, l.err
	case <-ctx.Done():
		if r.tty && !r.json {
			fmt.Fprintln(r.errOut) // behind the prompt, and behind the "^C" of the terminal
		}
		return "", &exitError{exitCanceled, errors.New("interrupted")}
	}
}

// follow shows a run until it is over.
func (r *runner) follow(ctx context.Context, s client.Settled) error {
	var failure error
	lastFailed := ""
	for entry, err := range r.client.Events(ctx, r.session, max(s.Seq, 1)-1) {
		if err != nil {
			if ctx.Err() != nil {
				return r.interrupt(s.Run)
			}
			return err
		}
		if entry.Run != "" && entry.Run != s.Run {
			continue
		}
		if r.json {
			line, err := holdfast.MarshalEvent(entry.Event)
			if err != nil {
				return err
			}
			fmt.Fprintf(jsonTo(r.out), "%s\n", line)
		}
		switch ev := entry.Event.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			if failed, err := r.orInterrupt(ctx, s.Run, r.decide(ctx, ev)); err != nil {
				return err
			} else if failed != nil {
				failure = failed
			}
		case *holdfast.ElicitationRequestEvent:
			if failed, err := r.orInterrupt(ctx, s.Run, r.input(ctx, ev)); err != nil {
				return err
			} else if failed != nil {
				failure = failed
			}
		case *holdfast.AuthorizationRequiredEvent:
			if failed, err := r.orInterrupt(ctx, s.Run, r.authorization(ctx, ev)); err != nil {
				return err
			} else if failed != nil {
				failure = failed
			}
		case *holdfast.MaxIterationsReachedEvent:
			if err := r.client.ResumeSession(ctx, r.session, client.ResumeTypeReject); err != nil {
				return err
			}
			failure = fmt.Errorf("the run reached its limit of %d model calls", ev.MaxIterations)
		case *holdfast.ErrorEvent:
			r.failed(lastFailed)
			lastFailed = ev.Error
		case *holdfast.RunFinishedEvent:
			r.end()
			switch {
			case failure != nil:
				return failure
			case ev.Reason == "canceled":
				return &exitError{exitCanceled, errors.New("the run was canceled")}
			case ev.Reason != "stop":
				return &exitError{exitFailed, fmt.Errorf("the run failed: %s", lastFailed)}
			}
			r.failed(lastFailed)
			return nil
		default:
			if !r.json {
				r.show(ev)
			}
		}
	}
	if ctx.Err() != nil {
		return r.interrupt(s.Run)
	}
	return errors.New("the stream ended before the run did")
}

// failed shows an error that the run survived.
func (r *runner) failed(text string) {
	if text != "" && !r.json {
		r.note("%s", r.style.red("error: "+clean(text)))
	}
}

// orInterrupt sorts the error of an answer: that nobody could be asked fails the
// run in the end, an interrupt cancels it, everything else ends the following.
func (r *runner) orInterrupt(ctx context.Context, run string, err error) (failed, end error) {
	if err != nil && ctx.Err() != nil {
		return nil, r.interrupt(run)
	}
	if e := (*exitError)(nil); errors.As(err, &e) && e.code == exitRejected {
		return err, nil
	}
	return nil, err
}

// authorization shows where the user authorizes. The run goes on by itself when he
// has.
func (r *runner) authorization(ctx context.Context, ev *holdfast.AuthorizationRequiredEvent) error {
	if ev.Confirmation != "pending" {
		r.note("%s", r.style.dim(clean(ev.ServerURL)+": authorization "+clean(ev.Confirmation)))
		return nil
	}
	if !r.tty {
		_, err := r.client.DecideAuthorization(ctx, r.session, ev.FlowID, false)
		if err != nil && holdfast.CodeOf(err) != holdfast.CodeConflict {
			return err
		}
		return &exitError{exitRejected, fmt.Errorf("%s wants an authorization and nobody can be asked", ev.ServerURL)}
	}
	r.note("%s", r.style.yellow(clean(ev.ServerURL)+" wants your authorization"))
	r.note("open this link in a browser; the run goes on by itself: %s", clean(ev.AuthorizationURL))
	return nil
}

// interrupt cancels the run on the first Ctrl-C: a second one is never needed.
func (r *runner) interrupt(run string) error {
	r.end()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := r.client.Cancel(ctx, r.session, run)
	if err != nil && holdfast.CodeOf(err) != holdfast.CodeConflict {
		return &exitError{exitCanceled, fmt.Errorf("interrupted; the run could not be canceled: %w", err)}
	}
	return &exitError{exitCanceled, errors.New("interrupted")}
}

// decide asks the person at the terminal.
func (r *runner) decide(ctx context.Context, ev *holdfast.ToolCallConfirmationEvent) error {
	decision := client.ResumeTypeApprove
	var failure error
	switch {
	case r.yes:
	case !r.tty:
		decision = client.ResumeTypeReject
		failure = &exitError{exitRejected, fmt.Errorf("tool %s needs an approval and nobody can be asked; --yes approves every call", ev.ToolCall.Function.Name)}
	default:
		what := ""
		if ev.Reason != "" {
			what = " (it was interrupted, and whether it had its effect is not known)"
		}
		r.note("tool %s wants to run%s with %s", clean(ev.ToolCall.Function.Name), what, compact(ev.ToolCall.Function.Arguments))
		offer := "approve? [y]es, [a]ll of this session, [n]o: "
		if r.approvedAll {
			offer = "approve? It is asked each time. [y]es, [n]o: "
		}
		for asked := false; !asked; {
			fmt.Fprint(r.errOut, offer)
			answer, err := r.line(ctx)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			asked = true
			switch strings.ToLower(strings.TrimSpace(answer)) {
			case "y", "yes":
			case "a", "all":
				if !r.approvedAll {
					decision = client.ResumeTypeApproveSession
				}
				r.approvedAll = true
			case "n", "no":
				decision = client.ResumeTypeReject
			default:
				if errors.Is(err, io.EOF) {
					decision = client.ResumeTypeReject
					break
				}
				asked = false
			}
		}
	}
	if _, err := r.client.Decide(ctx, r.session, ev.ToolCall.ID, client.Decision{Decision: decision}); err != nil {
		return err
	}
	return failure
}

// show prints what a person wants to see of an event.
func (r *runner) show(ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.AgentChoiceEvent:
		fmt.Fprint(r.out, clean(ev.Content))
		r.column = ev.Content != "" && !strings.HasSuffix(ev.Content, "\n")
	case *holdfast.ModelCallVoidedEvent:
		r.note("(the text above is void: the model is asked again)")
	case *holdfast.ToolCallEvent:
		r.note("%s", r.style.dim("→ "+clean(ev.ToolCall.Function.Name)+" "+compact(ev.ToolCall.Function.Arguments)))
	case *holdfast.ToolCallResponseEvent:
		mark := "←"
		if ev.Result.IsError {
			mark = "✗"
		}
		r.note("%s", r.style.dim(mark+" "+firstLine(ev.Response)))
	case *holdfast.StreamStartedEvent:
		r.end()
	case *holdfast.WarningEvent:
		r.note("%s", r.style.yellow("warning: "+clean(ev.Message)))
	}
}

// note prints a line beside the model's text.
func (r *runner) note(format string, args ...any) {
	r.end()
	fmt.Fprintf(r.errOut, "  "+format+"\n", args...)
}

// end ends the line that the model's text stands on.
func (r *runner) end() {
	if r.column && !r.json {
		fmt.Fprintln(r.out)
	}
	r.column = false
}

func compact(arguments string) string {
	var v any
	if json.Unmarshal([]byte(arguments), &v) != nil {
		return firstLine(arguments)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return firstLine(arguments)
	}
	return firstLine(string(b))
}

func firstLine(s string) string {
	line, _, more := strings.Cut(strings.TrimSpace(clean(s)), "\n")
	const most = 160
	if r := []rune(line); len(r) > most {
		line, more = string(r[:most]), true
	}
	if more {
		line += " …"
	}
	return line
}

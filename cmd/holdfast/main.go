// Command holdfast is the command line: `holdfast dev` runs everything in one
// process, `holdfast chat` and `holdfast run` run an agent in the terminal, and
// the other commands look at and steer the sessions of a server.
//
// Results go to standard output, everything else to standard error, and the exit
// code says how it went (docs/cli.md). What models and tools say reaches a
// terminal without control sequences.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// version is set by the build.
var version = "dev"

// Exit codes, beside 0.
const (
	exitFailed   = 1   // the run, or the command, failed
	exitUsage    = 2   // the command line cannot be understood
	exitRejected = 3   // a tool call was rejected because nobody could be asked
	exitNotFound = 4   // there is no such session, agent or call
	exitAway     = 5   // the server cannot be reached, or cannot answer now
	exitRefused  = 6   // the server wants a key, or another one, or forbids it
	exitCanceled = 130 // interrupted, as shells have it
)

// exitError is an error with the exit code that goes with it.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := interruptible(context.Background())
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// oneInterrupt is how long what comes after a first interrupt belongs to it: where the
// terminal and a wrapper (make, npm, timeout) both send it, it comes twice at once.
const oneInterrupt = 300 * time.Millisecond

// interruptible is a context that ends with the first Ctrl-C, or when the terminal is
// closed. A second Ctrl-C ends the process at once.
func interruptible(parent context.Context) (context.Context, func()) {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup wants it to go on
		signals = append(signals, syscall.SIGHUP) // the terminal has been closed
	}
	ctx, stop := signal.NotifyContext(parent, signals...)
	context.AfterFunc(ctx, func() {
		signal.Ignore(syscall.SIGHUP) // shells and the system both send it
		time.AfterFunc(oneInterrupt, stop)
	})
	return ctx, stop
}

// execute runs a command and returns its exit code.
func execute(ctx context.Context, args []string) int {
	return executeOn(ctx, args, os.Stdin, os.Stdout, os.Stderr)
}

func executeOn(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code, err := explain(err)
	if ctx.Err() != nil && code != exitCanceled {
		code, err = exitCanceled, errors.New("interrupted")
	}
	if text := clean(err.Error()); text != "" { // it may repeat what a model or a server says
		fmt.Fprintln(errOut, "holdfast: "+text)
	}
	return code
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "holdfast",
		Short:         "Durable sessions for teams of LLM agents",
		Version:       programVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noSubcommand,
		RunE:          showHelp,
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &exitError{exitUsage, fmt.Errorf("%w\nsee: %s --help", err, c.CommandPath())}
	})
	root.AddGroup(&cobra.Group{ID: "use", Title: "Run agents:"}, &cobra.Group{ID: "sessions", Title: "Look at sessions and steer them:"},
		&cobra.Group{ID: "operate", Title: "Operate:"})
	group := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("use", chatCommand(), runCommand(), devCommand(), agentCommand())
	group("sessions", sessionsCommand(), searchCommand(), tailCommand(), replayCommand(), forkCommand(), exportCommand(), importCommand(), approveCommand(), rejectCommand(), cancelCommand(), schedulesCommand(), webhooksCommand(), usageCommand(), quotaCommand())
	group("operate", contextCommand(), secretsCommand(), connectionsCommand(), doctorCommand(), verifyCommand(), migrateCommand(), vaultCommand(), healthcheckCommand(), versionCommand())
	otherWords(root)
	root.SetCompletionCommandGroupID("operate")
	root.SetHelpCommandGroupID("operate")
	return root
}

// suggestions are what users of other programs type and the command that they mean.
// It does not quite do the same, so it is only named.
var suggestions = map[string][]string{
	"holdfast run":         {"exec", "ask", "prompt"},
	"holdfast dev":         {"serve", "server", "api", "start", "up"},
	"holdfast agent":       {"new", "push", "pull", "apply"},
	"holdfast sessions":    {"ps", "ls", "list", "get", "rm", "delete", "history"},
	"holdfast tail":        {"events", "watch", "attach", "follow"},
	"holdfast context":     {"login", "auth", "config", "contexts"},
	"holdfast cancel":      {"stop", "kill"},
	"holdfast doctor":      {"status", "info", "check"},
	"holdfast schedules":   {"cron", "jobs"},
	"holdfast usage":       {"cost", "stats"},
	"holdfast connections": {"grants", "oauth"},
	"holdfast agent check": {"validate", "lint"},
	"holdfast agent put":   {"create", "apply", "add", "edit", "update"},
	"holdfast context add": {"create", "set", "new"},
	"holdfast context use": {"switch"},
	"holdfast secrets put": {"add", "set", "create"},
}

// otherWords lets commands be called what other programs call them.
func otherWords(c *cobra.Command) {
	for _, sub := range c.Commands() {
		switch sub.Name() {
		case "ls":
			sub.Aliases = append(sub.Aliases, "list")
		case "rm":
			sub.Aliases = append(sub.Aliases, "remove", "delete")
		case "show":
			sub.Aliases = append(sub.Aliases, "get")
		case "tail":
			sub.Aliases = append(sub.Aliases, "logs")
		}
		sub.SuggestFor = suggestions[sub.CommandPath()]
		otherWords(sub)
	}
}

// explain adds what to do next to an error, and says which exit code goes with
// it.
func explain(err error) (exit int, explained error) {
	if e := (*exitError)(nil); errors.As(err, &e) {
		return e.code, err
	}
	if strings.HasPrefix(err.Error(), "if any flags in the group") || strings.HasPrefix(err.Error(), "requires at least") || strings.HasPrefix(err.Error(), "at least one of the flags in the group") {
		return exitUsage, err // cobra has no type for them
	}
	var failed *url.Error
	var answer *client.Error
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &answer):
		return explainAnswer(answer, err)
	case errors.As(err, &failed):
		server := "the server"
		if u, perr := url.Parse(failed.URL); perr == nil && u.Host != "" {
			server = u.Scheme + "://" + u.Host
		}
		if errors.Is(failed.Err, context.DeadlineExceeded) {
			return exitAway, fmt.Errorf("%s does not answer in time\nsee how it is: holdfast healthcheck %s/readyz", server, server)
		}
		return exitAway, fmt.Errorf("%s cannot be reached: %w\nstart one: holdfast dev; or name another: --remote URL, holdfast context use NAME", server, failed.Err)
	case holdfast.CodeOf(err) == holdfast.CodeUnavailable:
		return exitAway, fmt.Errorf("%w\nthe connection to the server broke: try again", err)
	case errors.As(err, &syntax):
		return exitAway, fmt.Errorf("%w\n%s", err, noServerOfOurs)
	}
	return exitFailed, err
}

const noServerOfOurs = "this does not look like a Holdfast server: name another with --remote URL or holdfast context use NAME"

// explainAnswer is explain for what a server says. Which request it was is no
// matter of the user's.
func explainAnswer(answer *client.Error, err error) (exit int, explained error) {
	if answer.Code != "" {
		err = errors.New(answer.Message)
	}
	switch {
	case answer.Status == http.StatusUnauthorized:
		return exitRefused, fmt.Errorf("%w\nthe server wants a key, or another one: holdfast context add NAME URL --key-file FILE", err)
	case answer.Status == http.StatusForbidden:
		return exitRefused, err
	case answer.Status == http.StatusNotFound && answer.Code == "":
		return exitAway, fmt.Errorf("%w\n%s", err, noServerOfOurs)
	case answer.Status == http.StatusNotFound:
		return exitNotFound, fmt.Errorf("%w\nsee what there is: holdfast sessions ls, holdfast agent ls", err)
	case answer.Code == holdfast.CodeUnavailable, answer.Status == http.StatusBadGateway, answer.Status == http.StatusGatewayTimeout:
		return exitAway, fmt.Errorf("%w\nthe server is there but cannot answer now: try again", err)
	case answer.Status >= http.StatusInternalServerError && answer.Status != http.StatusNotImplemented && answer.RequestID != "":
		return exitFailed, fmt.Errorf("%w\nthe server's log says more, under the request %s", err, answer.RequestID)
	}
	return exitFailed, err
}

// programVersion is the version of the build or, of a program that `go install`
// made, that of its module.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: exactArgs(0)}
	jsonFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if asJSON {
			return printJSON(c, map[string]string{"version": programVersion()})
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), "holdfast", programVersion())
		return err
	}
	return c
}

package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// hookOutput is the most bytes of each output of a hook's command that are kept.
const hookOutput = 1 << 20

// guardedInput is guarded for a command that has an input of its own: the pipe whose
// end takes the command along is its file 3.
const guardedInput = `{ cat <&3; kill -KILL 0; } </dev/null >/dev/null 2>&1 & exec 3<&-; exec "$0" -c "$1"`

// HookCommand is a command that is told something on its standard input.
type HookCommand struct {
	Line string
	// Dir is where it runs, absolute; "" is that of the options.
	Dir   string
	Env   map[string]string
	Input []byte
	// Timeout must be set.
	Timeout time.Duration
}

// RunHook runs a command to its end: where, and with what environment, say the
// options of the shell. It and all that it started are gone when RunHook returns.
// The error says that it could not be started or did not end in time, or is the
// context's; an exit code is none.
func RunHook(ctx context.Context, o ShellOptions, c HookCommand) (tool.HookOutput, error) {
	h := newHost(o)
	defer h.cancel()
	if c.Dir == "" {
		c.Dir = o.Dir
	}
	if strings.ContainsRune(c.Line, 0) {
		return tool.HookOutput{}, errors.New("the command contains a NUL character")
	}
	cmd, err := h.command(command{line: c.Line, dir: c.Dir, env: c.Env})
	if err != nil {
		return tool.HookOutput{}, fmt.Errorf("the command cannot be started: %w", err)
	}
	if h.sandbox == nil {
		in, alive, err := os.Pipe()
		if err != nil {
			return tool.HookOutput{}, fmt.Errorf("the command cannot be started: %w", err)
		}
		defer func() {
			_ = alive.Close()
			_ = in.Close() // twice is harmless
		}()
		cmd.Args = []string{"/bin/sh", "-c", guardedInput, h.shell, c.Line}
		cmd.ExtraFiles = []*os.File{in}
	}
	var stdout, stderr capped
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Input), &stdout, &stderr
	cmd.WaitDelay = drainGrace // what it left running may hold its outputs open for ever
	tool.OwnGroup(cmd)
	if err := cmd.Start(); err != nil {
		return tool.HookOutput{}, fmt.Errorf("the command cannot be started: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	timeout := time.NewTimer(c.Timeout)
	defer timeout.Stop()
	var stopped error
	select {
	case err = <-exited:
	case <-ctx.Done():
		stopped = context.Cause(ctx)
	case <-timeout.C:
		stopped = fmt.Errorf("the command did not end within %v", c.Timeout)
	}
	if stopped != nil {
		tool.TerminateGroup(cmd.Process.Pid)
		grace := time.NewTimer(stopGrace)
		select {
		case <-exited:
		case <-grace.C:
			tool.KillGroup(cmd.Process.Pid)
			<-exited
		}
		grace.Stop()
	}
	tool.KillGroup(cmd.Process.Pid)
	tool.ReapGroup(cmd.Process.Pid)
	out := tool.HookOutput{Stdout: stdout.text(), Stderr: stderr.text()}
	var exit *exec.ExitError
	switch {
	case stopped != nil:
		return out, stopped
	case errors.As(err, &exit):
		out.ExitCode = exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return out, fmt.Errorf("the command failed: %w", err)
	}
	return out, nil
}

// capped keeps the beginning of what is written to it.
type capped struct{ b bytes.Buffer }

// Write implements io.Writer; it never fails, so that the command goes on.
func (c *capped) Write(p []byte) (int, error) {
	c.b.Write(p[:min(len(p), hookOutput-c.b.Len())])
	return len(p), nil
}

func (c *capped) text() string { return strings.ToValidUTF8(c.b.String(), "\uFFFD") }

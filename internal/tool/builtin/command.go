package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// commandOutput is how much of a command's output a result holds: half of it
	// from the beginning and half from the end.
	commandOutput = tool.MaxOutput - 64<<10
	// longOutput is how many bytes of an output a model surely sees; of what is longer
	// it sees the beginning. What went wrong is mostly said at the end, so the last
	// shownEnd bytes of a long one come first, too.
	longOutput = 96 << 10
	shownEnd   = 24 << 10
	// spillLimit is how much of a longer output is kept in a file, in bytes.
	spillLimit = 64 << 20
	// drainGrace is how long what a command left running may still write.
	drainGrace = 200 * time.Millisecond
	// stopGrace is between SIGTERM and SIGKILL.
	stopGrace = 2 * time.Second
	// stopDrain bounds the wait for the end of the output after SIGKILL.
	stopDrain = 2 * time.Second
)

// host runs commands on the machine of the worker and remembers the files that
// long outputs went to.
type host struct {
	shell   string
	env     map[string]string
	inherit bool
	sandbox *tool.Sandbox // nil for none

	life   context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	spills []string
	calls  sync.RWMutex // held for reading by commands under way
}

func newHost(o ShellOptions) *host {
	h := &host{shell: o.Shell, env: o.Env, inherit: o.InheritEnv, sandbox: o.Sandbox}
	if h.shell == "" {
		h.shell = "/bin/sh"
	}
	h.life, h.cancel = context.WithCancel(context.Background())
	return h
}

// close ends what runs and removes the files.
func (h *host) close() error {
	h.cancel()
	h.calls.Lock()
	defer h.calls.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, name := range h.spills {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing the output of a command: %w", err))
		}
	}
	h.spills = nil
	return errors.Join(errs...)
}

// forget removes the file of an output before the host is closed, "" for none.
func (h *host) forget(name string) {
	if name == "" {
		return
	}
	h.mu.Lock()
	h.spills = slices.DeleteFunc(h.spills, func(s string) bool { return s == name })
	h.mu.Unlock()
	_ = os.Remove(name) // a file that stays is one of the temporary ones
}

// command is one line for the shell.
type command struct {
	line     string
	dir      string
	env      map[string]string // besides that of the host
	timeout  time.Duration
	progress func(string) // may be nil
}

// run runs a command to its end. It and all that it started are gone when run
// returns. The Go error is the context's.
func (h *host) run(ctx context.Context, c command) (tool.Result, error) {
	h.calls.RLock()
	defer h.calls.RUnlock()
	if h.life.Err() != nil {
		return failed("The toolset is closed."), nil
	}
	runCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	stop := context.AfterFunc(h.life, cancel)
	defer stop()

	out := &collector{progress: c.progress, host: h, limit: commandOutput}
	ch, err := h.start(c, out)
	if err != nil {
		return failed("The command cannot be started: %v.", err), nil
	}
	select {
	case <-ch.exited:
	case <-runCtx.Done():
		ch.terminate()
	}
	ch.settle()
	exit := ch.exit

	output := endFirst(out.finish())
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return tool.Result{}, fmt.Errorf("running a command: %w", ctx.Err())
	case h.life.Err() != nil:
		return failed("The command was stopped because the toolset was closed.\n%s", output), nil
	case runCtx.Err() != nil:
		return failed("The command was stopped after %v.\n%s", c.timeout, output), nil
	case exit != nil:
		return failed("The command failed: %v.\n%s", exit, output), nil
	case output == "":
		return succeeded("The command ended without output."), nil
	}
	return tool.Result{Output: output}, nil
}

// endFirst puts the end of a long output before it.
func endFirst(output string) string {
	if len(output) <= longOutput {
		return output
	}
	end := output[len(output)-shownEnd:]
	if _, rest, ok := strings.Cut(end, "\n"); ok && rest != "" {
		end = rest // whole lines
	}
	return fmt.Sprintf("[a long output, %d bytes; these are the last ones]\n%s\n[and this is all of it]\n%s", len(output), strings.TrimRight(end, "\n"), output)
}

// child is a command that was started. Whoever starts one calls settle.
type child struct {
	cmd     *exec.Cmd
	r       *os.File // its output, ours to read
	alive   *os.File // ends with us; nil in a sandbox
	exited  chan struct{}
	exit    error // why it ended; read after exited is closed
	drained chan struct{}
}

// start runs a command. Its output goes to out until settle returns.
func (h *host) start(c command, out io.Writer) (_ *child, err error) {
	ch := &child{exited: make(chan struct{}), drained: make(chan struct{})}
	if ch.cmd, err = h.command(c); err != nil {
		return nil, err
	}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close() // the command has its own
		}
		if err != nil {
			ch.closePipes()
		}
	}()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ch.r, theirs = r, append(theirs, w)
	ch.cmd.Stdout, ch.cmd.Stderr = w, w
	if h.sandbox == nil {
		in, alive, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		ch.alive, theirs = alive, append(theirs, in)
		ch.cmd.Stdin = in
		if ch.cmd.Err == nil { // else the shell was not found, which Start says
			ch.cmd.Path, ch.cmd.Args = "/bin/sh", []string{"/bin/sh", "-c", guarded, h.shell, c.line}
		}
	}
	tool.OwnGroup(ch.cmd)
	if err := ch.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(ch.drained)
		_, _ = io.Copy(out, ch.r) // ends with the pipe
	}()
	go func() {
		ch.exit = ch.cmd.Wait()
		close(ch.exited)
	}()
	return ch, nil
}

// terminate ends the command and its group, first by asking.
func (ch *child) terminate() {
	tool.TerminateGroup(ch.cmd.Process.Pid)
	if !waitFor(ch.exited, stopGrace) {
		tool.KillGroup(ch.cmd.Process.Pid)
		<-ch.exited
	}
}

// settle is called when the command has ended, or is about to: it ends what the command
// left behind and reads the rest of the output.
func (ch *child) settle() {
	<-ch.exited
	// Processes in the background may hold the output open for ever.
	waitFor(ch.drained, drainGrace)
	tool.KillGroup(ch.cmd.Process.Pid)
	if !waitFor(ch.drained, stopDrain) {
		_ = ch.r.Close() // something left the group and holds the output
		<-ch.drained
	}
	tool.ReapGroup(ch.cmd.Process.Pid)
	ch.closePipes()
}

func (ch *child) closePipes() {
	for _, f := range []*os.File{ch.r, ch.alive} {
		if f != nil {
			_ = f.Close() // twice is harmless
		}
	}
}

// guarded runs a command ($1) in a shell ($0) that ends, with its whole group, when the
// pipe on its standard input does: a worker that is killed takes its commands along.
// The command's own standard input is empty.
const guarded = `exec 3<&0 </dev/null; { cat <&3; kill -KILL 0; } >/dev/null 2>&1 & exec 3<&-; exec "$0" -c "$1"`

// command makes the process of a command, in the sandbox if there is one.
func (h *host) command(c command) (*exec.Cmd, error) {
	env := maps.Clone(h.env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, c.env)
	if h.sandbox != nil {
		return h.sandbox.Command(c.dir, env, h.shell, "-c", c.line)
	}
	if !tool.HasShell {
		return nil, errors.New("commands run in /bin/sh, which this system does not have: run the worker under Linux (WSL, a container) or macOS, or give it a sandbox")
	}
	cmd := exec.Command(h.shell, "-c", c.line)
	cmd.Dir, cmd.Env = c.dir, tool.Environment(env, h.inherit)
	return cmd, nil
}

// spillDir is where files with long outputs are: those of a sandbox where its
// commands can read them.
func (h *host) spillDir() string {
	if h.sandbox != nil {
		return h.sandbox.Dir
	}
	return ""
}

func waitFor(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// collector keeps the first and the last part of an output, and the whole of a
// long one in a file.
type collector struct {
	host     *host
	progress func(string)
	limit    int // bytes that are kept beside the file

	head, tail []byte
	total      int64
	file       *os.File
	fileErr    error
	written    int64
}

// Write implements io.Writer; it never fails, so that the command goes on.
func (o *collector) Write(p []byte) (int, error) {
	n := len(p)
	if o.progress != nil {
		o.progress(string(bytes.ToValidUTF8(p, []byte("\uFFFD"))))
	}
	o.total += int64(n)
	rest := p
	if free := o.limit/2 - len(o.head); free > 0 {
		k := min(free, len(rest))
		o.head, rest = append(o.head, rest[:k]...), rest[k:]
	}
	if len(rest) > 0 {
		o.tail = append(o.tail, rest...)
		if len(o.tail) > 2*o.limit { // cut seldom, not with each write
			o.tail = append(o.tail[:0], o.tail[len(o.tail)-o.limit/2:]...)
		}
	}
	if o.total > int64(o.limit) {
		o.spill(p)
	}
	return n, nil
}

// spill writes p to the file. The first time it is made, with what came before.
func (o *collector) spill(p []byte) {
	if o.file == nil && o.fileErr == nil {
		o.file, o.fileErr = os.CreateTemp(o.host.spillDir(), "holdfast-output-*.txt")
		if o.fileErr == nil {
			o.host.mu.Lock()
			o.host.spills = append(o.host.spills, o.file.Name())
			o.host.mu.Unlock()
			// Nothing was cut from the tail yet: that begins at twice the limit.
			p = append(append([]byte(nil), o.head...), o.tail...)
		}
	}
	if o.fileErr != nil || o.written >= spillLimit {
		return
	}
	k, err := o.file.Write(p[:min(int64(len(p)), spillLimit-o.written)])
	o.written += int64(k)
	o.fileErr = err
}

// finish closes the file and returns the output.
func (o *collector) finish() string {
	if o.file != nil {
		if err := o.file.Close(); o.fileErr == nil {
			o.fileErr = err
		}
	}
	return o.text()
}

// text is the output as a result shows it.
func (o *collector) text() string {
	if o.total <= int64(o.limit) {
		return string(o.head) + string(o.tail)
	}
	where := "the rest is lost: " + fmt.Sprint(o.fileErr)
	if o.fileErr == nil {
		where = "the whole is in " + o.file.Name()
		if o.written < o.total {
			where = fmt.Sprintf("the first %d bytes are in %s", o.written, o.file.Name())
		}
	}
	tail := o.tail[len(o.tail)-min(len(o.tail), o.limit/2):]
	return fmt.Sprintf("%s\n[output cut: %d bytes are left out here; %s]\n%s",
		o.head, o.total-int64(len(o.head)+len(tail)), where, tail)
}

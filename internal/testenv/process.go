package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	// logTimeout bounds WaitLog: far over what any start takes, far under the
	// time-out of a test binary.
	logTimeout = 60 * time.Second
	// exitTimeout bounds the wait for a process that was told to end.
	exitTimeout = 30 * time.Second
	// shownOutput is how much of a process's output a failed test shows.
	shownOutput = 16 << 10
)

// Process is a running program. Kill, Pause, Resume, Signal, PID and Output may
// be called from any goroutine.
type Process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when the process is gone and its output complete
	err  error         // of cmd.Wait; written before done is closed
	// pausedFile exists while the process is stopped by Pause, for the watchdog.
	pausedFile string
}

// Start runs a program and kills it when the test ends. Its environment is that
// of the test without variables named HOLDFAST_* and OTEL_*, and env ("KEY=value")
// on top: the developer's own settings reach no test. Standard output and
// standard error are captured together and shown if the test fails.
func Start(t testing.TB, bin string, env []string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Env = append(cleanEnviron(), env...)
	p, err := startProcess(t, filepath.Base(bin), cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatalf("testenv: start %s: %v", bin, err)
	}
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("output of %s (process %d, %v):\n%s", p.name, p.PID(), p.cmd.ProcessState, p.out.tail(shownOutput))
		}
	})
	return p
}

func cleanEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "HOLDFAST_") || strings.HasPrefix(kv, "OTEL_")
	})
}

// startProcess starts cmd in a process group of its own; the kernel sends it
// death when this process is gone.
func startProcess(t testing.TB, name string, cmd *exec.Cmd, death syscall.Signal) (*Process, error) {
	dir, err := scratch()
	if err != nil {
		return nil, err
	}
	p := &Process{t: t, name: name, cmd: cmd, out: newOutput(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	// A grandchild that keeps the output open must not keep Wait from returning.
	cmd.WaitDelay = 2 * time.Second
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, death)
	if err := launch(cmd); err != nil {
		return nil, err
	}
	p.pausedFile = filepath.Join(dir, fmt.Sprintf("%d.paused", p.PID()))
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
		p.out.close()
	}()
	return p, nil
}

// starts carries commands to the one thread that starts processes. The kernel's
// signal at the parent's death is really one at the death of the thread that
// forked, and threads end when a goroutine does that has locked one; this one
// stays for good.
var starts = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	go startThread(c)
	return c
})

func startThread(c <-chan func()) {
	runtime.LockOSThread()
	for f := range c {
		f()
	}
}

func launch(cmd *exec.Cmd) error {
	err := make(chan error, 1)
	starts() <- func() { err <- cmd.Start() }
	return <-err
}

// LeakOptions are for tests that look for goroutines left behind: they pass over
// those of this package that live as long as the test binary.
func LeakOptions() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/holdfast-run/holdfast/internal/testenv.startThread"),
		goleak.IgnoreAnyFunction("github.com/holdfast-run/holdfast/internal/testenv.startProcess.func1"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"),
	}
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends sig; a process that is gone already is an error of the test.
func (p *Process) Signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Errorf("testenv: send %v to %s (process %d): %v", sig, p.name, p.PID(), err)
	}
}

// Kill ends the process with SIGKILL, as a crash does, and waits until it is
// gone. Its own children are left alone until the test ends. Killing what is
// gone is harmless.
func (p *Process) Kill() {
	p.t.Helper()
	p.kill()
	p.awaitExit()
}

// Pause freezes the process and all its descendants with SIGSTOP: connections
// stay open and nothing answers.
func (p *Process) Pause() {
	p.t.Helper()
	pids := append([]int{p.PID()}, p.stopAll(p.PID())...)
	var ids []string
	for _, pid := range pids {
		ids = append(ids, strconv.Itoa(pid))
	}
	if err := os.WriteFile(p.pausedFile, []byte(strings.Join(ids, " ")), 0o644); err != nil {
		p.t.Errorf("testenv: pause %s: %v", p.name, err)
	}
}

// stopAll stops pid before it looks for children, so that none is born unseen,
// and returns the descendants.
func (p *Process) stopAll(pid int) []int {
	p.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Errorf("testenv: pause %s (process %d): %v", p.name, pid, err)
	}
	found, err := children(pid)
	if err != nil {
		p.t.Errorf("testenv: pause %s: list the children of process %d: %v", p.name, pid, err)
	}
	var all []int
	for _, child := range found {
		all = append(append(all, child), p.stopAll(child)...)
	}
	return all
}

// Resume lets a paused process and its descendants go on.
func (p *Process) Resume() {
	p.t.Helper()
	if err := p.resume(); err != nil {
		p.t.Errorf("testenv: resume %s: %v", p.name, err)
	}
}

func (p *Process) resume() error { return p.signalPaused(syscall.SIGCONT) }

// killPaused kills what Pause froze.
func (p *Process) killPaused() error { return p.signalPaused(syscall.SIGKILL) }

func (p *Process) signalPaused(sig syscall.Signal) error {
	ids, err := os.ReadFile(p.pausedFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil // not paused
	}
	if err != nil {
		return err
	}
	for id := range strings.FieldsSeq(string(ids)) {
		pid, err := strconv.Atoi(id)
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return os.Remove(p.pausedFile)
}

// Done is closed when the process is gone and its output complete.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the process is gone by itself and returns nil for exit code
// 0, else an *exec.ExitError.
func (p *Process) Wait() error {
	p.t.Helper()
	p.awaitExit()
	return p.err
}

func (p *Process) awaitExit() {
	p.t.Helper()
	timeout := time.NewTimer(exitTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		p.t.Fatalf("testenv: %s (process %d) has not ended after %s", p.name, p.PID(), exitTimeout)
	}
}

// Output is what the process has written so far.
func (p *Process) Output() string { return p.out.String() }

// WaitLog waits until a line of the output contains substring and returns the
// first such line. It fails the test if the process ends before, or after a
// minute. Lines from before the call count.
func (p *Process) WaitLog(substring string) string {
	p.t.Helper()
	line, err := p.waitLog(substring)
	if err != nil {
		p.t.Fatalf("testenv: %s: %v", p.name, err)
	}
	return line
}

func (p *Process) waitLog(substring string) (string, error) {
	timeout := time.NewTimer(logTimeout)
	defer timeout.Stop()
	for {
		line, found, more := p.out.find(substring)
		switch {
		case found:
			return line, nil
		case more == nil:
			return "", fmt.Errorf("ended (%v) without writing %q; its last words:\n%s",
				p.cmd.ProcessState, substring, p.out.tail(2<<10))
		}
		select {
		case <-more:
		case <-timeout.C:
			return "", fmt.Errorf("has not written %q after %s", substring, logTimeout)
		}
	}
}

func (p *Process) kill() {
	// The error is that the process is gone, which is what is wanted.
	_ = p.cmd.Process.Kill()
}

// end makes sure that nothing of the process is left, its group included.
func (p *Process) end() {
	if err := p.resume(); err != nil {
		p.t.Errorf("testenv: resume %s: %v", p.name, err)
	}
	p.kill()
	p.awaitExit()
	// The group's id stays reserved while members are alive; if there are none
	// the call does nothing.
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
}

// output collects what a process writes and wakes those who wait for more.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed at the next write; nil when there will be none
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	if o.more != nil {
		close(o.more)
		o.more = make(chan struct{})
	}
	return len(b), nil
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
}

func (o *output) find(substring string) (line string, found bool, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.buf.String()
	if i := strings.Index(all, substring); i >= 0 {
		begin := strings.LastIndexByte(all[:i], '\n') + 1
		line, _, _ = strings.Cut(all[begin:], "\n")
		return line, true, o.more
	}
	return "", false, o.more
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// tail returns about the last n bytes, in whole lines.
func (o *output) tail(n int) string {
	all := o.String()
	if len(all) <= n {
		return all
	}
	all = all[len(all)-n:]
	return "…" + all[strings.IndexByte(all, '\n')+1:]
}

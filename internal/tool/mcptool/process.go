package mcptool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// How long a server gets to end by itself, first after its standard input was
// closed (which the protocol says is the way), then after SIGTERM.
const (
	stdinGrace = 500 * time.Millisecond
	termGrace  = 2 * time.Second
)

// process is a running server with both ends of its pipes.
type process struct {
	cmd    *exec.Cmd
	stdin  *os.File // ours to write
	stdout *os.File // ours to read
	stderr *os.File // ours to read

	exited  chan struct{} // closed when the process is reaped
	exitErr error         // why it ended; read after exited is closed

	stopOnce sync.Once
	wg       sync.WaitGroup // waiter, reader of stderr
}

// startProcess runs the command. Its standard error goes to log until it ends.
func startProcess(cfg *Config, inherit bool, log io.Writer) (_ *process, err error) {
	cmd := exec.Command(cfg.Command, cfg.Args...)
	cmd.Dir, cmd.Env = cfg.Dir, tool.Environment(cfg.Env, inherit)
	if cfg.Sandbox != nil {
		if cmd, err = cfg.Sandbox.Command(cfg.Dir, cfg.Env, append([]string{cfg.Command}, cfg.Args...)...); err != nil {
			return nil, err
		}
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	tool.OwnGroup(p.cmd)

	// Pipes of our own, so that waiting for the process does not wait for a
	// grandchild that holds the other end, and closing ours ends any read.
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close() // ours after the start; nothing was written to it by us
		}
		if err != nil {
			p.closePipes()
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	in, stdin := pipe()
	stdout, out := pipe()
	stderr, errOut := pipe()
	for _, f := range []*os.File{in, out, errOut} {
		if f != nil {
			theirs = append(theirs, f)
		}
	}
	p.stdin, p.stdout, p.stderr = stdin, stdout, stderr
	if err != nil {
		return nil, fmt.Errorf("making pipes: %w", err)
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, out, errOut
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.wg.Go(func() { _, _ = io.Copy(log, p.stderr) }) // ends with the pipe; the reason does not matter
	p.wg.Go(func() {
		p.exitErr = p.cmd.Wait()
		// Whatever the server started and left behind ends too.
		tool.KillGroup(p.cmd.Process.Pid)
		close(p.exited)
		tool.ReapGroup(p.cmd.Process.Pid)
	})
	return p, nil
}

// stop ends the process and all that it started, and returns when nothing of it
// is left. It may be called more than once and from several goroutines.
func (p *process) stop() {
	p.stopOnce.Do(func() {
		_ = p.stdin.Close()
		if !p.exitedWithin(stdinGrace) {
			tool.TerminateGroup(p.cmd.Process.Pid)
			if !p.exitedWithin(termGrace) {
				tool.KillGroup(p.cmd.Process.Pid)
			}
		}
		<-p.exited
		p.closePipes()
	})
	p.wg.Wait()
}

func (p *process) exitedWithin(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.exited:
		return true
	case <-t.C:
		return false
	}
}

// ending says in words how the process ended, or that it has not.
func (p *process) ending() error {
	if !p.exitedWithin(100 * time.Millisecond) {
		return errors.New("the server closed its standard output")
	}
	if p.exitErr == nil {
		return errors.New("the server ended")
	}
	return fmt.Errorf("the server ended: %w", p.exitErr)
}

func (p *process) closePipes() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			_ = f.Close() // twice is harmless
		}
	}
}

package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// maxPromptFile is how many bytes of a file of add_prompt_files a model gets to
// see.
const maxPromptFile = 128 << 10

var _ runtime.Surroundings = (*agents)(nil)

// Surroundings implements [runtime.Surroundings]: on its user's own machine the
// working directory and the system, in a sandbox those of the sandbox, on servers
// without one that they are servers.
func (a *agents) Surroundings(s holdfast.SessionRef, ag *agent.Agent) []string {
	var out []string
	if !ag.AddEnvironmentInfo && len(ag.AddPromptFiles) == 0 {
		return nil
	}
	dir := a.under("")
	if a.sandboxes != nil {
		box, err := a.sandboxes.of(s)
		if err != nil {
			if a.log != nil {
				a.log.Warn("the sandbox of a session cannot be described to its agent", "agent", ag.Name, "error", err)
			}
			return nil
		}
		dir = box.Dir
	} else if a.hosted {
		dir = ""
	}
	if ag.AddEnvironmentInfo {
		if dir == "" {
			out = append(out, runtime.HostedSurroundings)
		} else {
			out = append(out, environment(dir))
		}
	}
	if dir == "" {
		return out // add_prompt_files was refused when the file was parsed
	}
	for _, name := range ag.AddPromptFiles {
		text, err := promptFile(dir, name)
		if err != nil {
			if _, said := unread.LoadOrStore(filepath.Join(dir, name), true); !said && a.log != nil {
				a.log.Warn("a file of add_prompt_files cannot be read", "agent", ag.Name, "file", name, "error", err)
			}
			continue
		}
		out = append(out, text)
	}
	return out
}

// unread are the prompt files that the log has said cannot be read.
var unread sync.Map

// environments remembers what a directory was found to be, so that a session's
// prompt stays as it began.
var environments sync.Map // directory to string

// environment describes a working directory and the system.
func environment(dir string) string {
	if was, ok := environments.Load(dir); ok {
		return was.(string)
	}
	git := "no"
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, ".git")); err == nil {
			git = "yes"
			break
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	now, _ := environments.LoadOrStore(dir, fmt.Sprintf("Environment of the tools:\nWorking directory: %s\nGit repository: %s\nOperating system: %s\nArchitecture: %s",
		dir, git, goruntime.GOOS, goruntime.GOARCH))
	return now.(string)
}

// under returns a path seen from the working directory, absolute.
func (a *agents) under(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	dir, err := filepath.Abs(filepath.Join(a.dir, path))
	if err != nil { // there is no working directory any more
		return filepath.Join(a.dir, path)
	}
	return dir
}

// promptFile reads a file beneath the working directory.
func promptFile(dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("open the working directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold the turn
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, fmt.Errorf("%s: %w", name, fs.ErrInvalid))
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxPromptFile+1))
	if err != nil {
		return "", err
	}
	text := strings.ToValidUTF8(string(raw[:min(len(raw), maxPromptFile)]), "\uFFFD")
	if len(raw) > maxPromptFile {
		text += fmt.Sprintf("\n[%s goes on; only its first %d bytes are here]", name, maxPromptFile)
	}
	return strings.TrimSpace(text), nil
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// sweepInterval is how often folders of deleted sessions are looked for.
	sweepInterval = time.Hour
	// sweepAge keeps the sweep from folders of sessions that the archive does not
	// know yet.
	sweepAge = 24 * time.Hour
)

// sandboxes are where what touches the host runs, if the operator has one: a program
// and a folder for each session.
type sandboxes struct {
	program []string
	root    string // absolute, without links
	log     *slog.Logger
}

// openSandboxes returns nil if none is configured.
func openSandboxes(program, root string, log *slog.Logger) (*sandboxes, error) {
	if program == "" {
		return nil, nil
	}
	b := &sandboxes{program: strings.Fields(program), log: log}
	if info, err := os.Stat(b.program[0]); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("HOLDFAST_SANDBOX=%s: %s is no program that can be run", program, b.program[0])
	}
	err := os.MkdirAll(root, 0o700)
	if err == nil {
		if b.root, err = filepath.Abs(root); err == nil {
			b.root, err = filepath.EvalSymlinks(b.root)
		}
	}
	if err == nil {
		err = b.claim()
	}
	if err != nil {
		return nil, fmt.Errorf("HOLDFAST_WORKSPACES: %w", err)
	}
	return b, nil
}

// ownedBy names the file that says whose the folder is.
const ownedBy = ".holdfast-workspaces"

// claim makes an empty folder one of workspaces. In a folder that holds something else
// the sweep would remove what is not ours.
func (b *sandboxes) claim() error {
	name := filepath.Join(b.root, ownedBy)
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	entries, err := os.ReadDir(b.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != ownedBy { // another worker may be a moment ahead
			return fmt.Errorf("%s is not empty and not a folder of workspaces (it has no %s): name a folder of its own", b.root, ownedBy)
		}
	}
	return os.WriteFile(name, []byte("Folders of sessions; those of deleted sessions are removed.\n"), 0o600)
}

// of returns the sandbox of a session, and makes its folder.
func (b *sandboxes) of(s holdfast.SessionRef) (*tool.Sandbox, error) {
	// Both are identifiers: letters, digits, - and _.
	dir := filepath.Join(b.root, s.Tenant, s.Session)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the workspace of session %s: %w", s.Session, err)
	}
	return &tool.Sandbox{Program: b.program, Dir: dir, Tenant: s.Tenant, Session: s.Session}, nil
}

// sessionLookup is what the sweep asks the archive.
type sessionLookup interface {
	// Session returns events.ErrNoSession for one that is not there.
	Session(ctx context.Context, ref holdfast.SessionRef) (events.SessionInfo, error)
}

// run removes the folders of deleted sessions until ctx ends. Several workers may do so
// at once.
func (b *sandboxes) run(store sessionLookup) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			if err := b.sweep(ctx, store, time.Now().Add(-sweepAge)); err != nil && ctx.Err() == nil {
				b.log.Warn("workspaces of deleted sessions are not removed now", "err", err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(sweepInterval):
			}
		}
	}
}

// sweep removes the folders of sessions that the archive does not have and that nobody
// changed since before.
func (b *sandboxes) sweep(ctx context.Context, store sessionLookup, before time.Time) error {
	tenants, err := os.ReadDir(b.root)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		if !t.IsDir() || holdfast.ValidateID("tenant", t.Name()) != nil {
			continue
		}
		sessions, err := os.ReadDir(filepath.Join(b.root, t.Name()))
		if err != nil {
			return err
		}
		for _, s := range sessions {
			info, err := s.Info()
			if err != nil || !s.IsDir() || info.ModTime().After(before) || holdfast.ValidateID("session", s.Name()) != nil {
				continue
			}
			_, err = store.Session(ctx, holdfast.SessionRef{Tenant: t.Name(), Session: s.Name()})
			switch {
			case err == nil:
			case !errors.Is(err, events.ErrNoSession):
				return err
			default:
				if err := os.RemoveAll(filepath.Join(b.root, t.Name(), s.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

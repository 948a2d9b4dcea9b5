package builtin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A directory is read to a limit, whatever it holds.
func TestReadDirIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	if found, cut, err := readDir(t.Context(), root, ".", 10); len(found) != 10 || !cut || err != nil {
		t.Errorf("%d entries, cut %v, %v", len(found), cut, err)
	}
	if found, cut, err := readDir(t.Context(), root, ".", 21); len(found) != 21 || cut || err != nil || found[0].Name() != "0" || found[20].Name() != "pipe" {
		t.Errorf("%d entries, cut %v, %v", len(found), cut, err)
	}
	if _, _, err := readDir(t.Context(), root, "pipe", 10); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a pipe: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := readDir(ctx, root, ".", 10); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

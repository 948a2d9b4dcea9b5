package testenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	// npmTries is how often an installation is begun: a registry that is slow or
	// refuses for a moment is no reason for a test to fail.
	npmTries = 3
	// npmTimeout bounds one of them, far over what a slow registry takes.
	npmTimeout = 3 * time.Minute
)

// NPM installs what package.json and package-lock.json in fsys pin and returns
// the folder with node_modules. The packages stay in the user's cache, under
// name, so they are fetched once for each change of the lock file, however many
// test binaries run. Install scripts do not run.
func NPM(name string, fsys fs.FS) (dir string, err error) {
	if _, err := exec.LookPath("npm"); err != nil {
		return "", errors.New("this test needs npm and node: install Node.js 20 or newer")
	}
	files := map[string][]byte{}
	hash := sha256.New()
	for _, file := range []string{"package.json", "package-lock.json"} {
		if files[file], err = fs.ReadFile(fsys, file); err != nil {
			return "", fmt.Errorf("packages of npm for %s: %w", name, err)
		}
		hash.Write(files[file])
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, name+"-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	// Other test binaries are about to do the same.
	err = withFileLock(dir+".lock", func() error {
		if _, err := os.Stat(dir); err == nil {
			return nil
		}
		var err error
		for range npmTries {
			if err = npmInstall(dir, files); err == nil {
				return nil
			}
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("packages of npm for %s: %w", name, err)
	}
	return dir, nil
}

// npmInstall installs beside dir and moves the result there whole, so that a
// test that is killed leaves nothing half done.
func npmInstall(dir string, files map[string][]byte) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "installing-")
	if err != nil {
		return err
	}
	// Best effort: after the move there is nothing left.
	defer func() { _ = os.RemoveAll(tmp) }()
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(tmp, file), content, 0o644); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), npmTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
		"--fetch-retries=5", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")
	cmd.Dir = tmp
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", errors.Join(err, ctx.Err()), out)
	}
	return os.Rename(tmp, dir)
}

package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// postgresBinEnv names the folder of Postgres's programs to use instead of
// those that are found, to test against another version.
const postgresBinEnv = "TESTENV_POSTGRES_BIN"

const createClusterConf = "/etc/postgresql-common/createcluster.conf"

// postgresBin returns the folder of initdb and postgres, after installing them
// if there are none and that is possible.
var postgresBin = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(postgresBinEnv); dir != "" {
		if !hasPostgres(dir) {
			return "", fmt.Errorf("%s=%s has no initdb and postgres", postgresBinEnv, dir)
		}
		return dir, nil
	}
	if dir, ok := findPostgres(); ok {
		return dir, nil
	}
	const advice = "no PostgreSQL server found (initdb and postgres: not in $" + postgresBinEnv +
		", pg_config --bindir, /usr/lib/postgresql/*/bin or PATH)"
	aptGet, err := exec.LookPath("apt-get")
	if err != nil {
		return "", errors.New(advice + ": install PostgreSQL 15 or newer and put its bin folder on PATH")
	}
	if os.Geteuid() != 0 {
		return "", errors.New(advice + ": run `sudo apt-get install -y --no-install-recommends postgresql`")
	}
	// Other test binaries are about to do the same.
	err = withFileLock(filepath.Join(os.TempDir(), "holdfast-install-postgres.lock"), func() error {
		if _, ok := findPostgres(); ok {
			return nil
		}
		return installPostgres(aptGet)
	})
	if err != nil {
		return "", fmt.Errorf("%s and installing it failed: %w", advice, err)
	}
	if dir, ok := findPostgres(); ok {
		return dir, nil
	}
	return "", errors.New(advice + ", although its package is installed")
})

func findPostgres() (dir string, ok bool) {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	debian, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		debian = nil // only for a malformed pattern
	}
	// The newest first: by number, since 9 comes before 15.
	slices.SortFunc(debian, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	dirs = append(dirs, debian...)
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	i := slices.IndexFunc(dirs, hasPostgres)
	if i < 0 {
		return "", false
	}
	return dirs[i], true
}

func majorVersion(binDir string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(binDir)))
	if err != nil {
		return 0
	}
	return n
}

func hasPostgres(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

// installPostgres installs Debian's package. The package makes a cluster of its
// own and starts it, unless this file forbids it; an administrator's file stays.
func installPostgres(aptGet string) error {
	if _, err := os.Stat(createClusterConf); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(createClusterConf), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(createClusterConf, []byte("create_main_cluster = false\n"), 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"update", "-q"},
		{"install", "-y", "-q", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "postgresql"},
	} {
		cmd := exec.Command(aptGet, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(out))
		}
	}
	return nil
}

func lastLine(b []byte) []byte {
	b = bytes.TrimSpace(b)
	return b[bytes.LastIndexByte(b, '\n')+1:]
}

// postgresUser is who runs the server: nil for "whoever runs the test", except
// that root must not.
func postgresUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("PostgreSQL does not run as root and there is neither a user postgres nor nobody: %w", err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("id of user %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("group of user %s: %w", u.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

package testenv

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
)

// PostgresDump returns what pg_dump makes of a database, as text. Rows that row level
// security hides are in it only for a superuser ([PostgresSuperuser]).
func PostgresDump(t testing.TB, dsn string) string {
	t.Helper()
	dir, ok := findPostgres()
	if !ok {
		t.Fatal("testenv: there is no Postgres whose pg_dump could be used")
	}
	var out, said bytes.Buffer
	cmd := exec.Command(filepath.Join(dir, "pg_dump"), "--inserts", dsn)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("testenv: pg_dump: %v\n%s", err, &said)
	}
	return out.String()
}

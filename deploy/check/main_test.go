package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// repository writes a repository whose deployment has no problems, after
// replacing old by new in its docker-compose.yml.
func repository(t *testing.T, old, new string) string {
	t.Helper()
	root := t.TempDir()
	compose := `
services:
  db:
    image: postgres:18
    healthcheck: {test: [CMD, pg_isready]}
  migrate:
    build: .
    command: [/holdfast, migrate]
    restart: "no"
    read_only: true
    cap_drop: [ALL]
    depends_on: {db: {condition: service_healthy}}
  api:
    build: .
    command: [/api]
    read_only: true
    cap_drop: [ALL]
    ports: ["127.0.0.1:8080:8080"]
    volumes: ["./agents:/agents:ro"]
    environment: {HOLDFAST_LISTEN: ":8080"}
    healthcheck: {test: [CMD, /holdfast, healthcheck]}
    depends_on: {migrate: {condition: service_completed_successfully}}
`
	if !strings.Contains(compose, old) {
		t.Fatalf("%q is not in the file", old)
	}
	for name, text := range map[string]string{
		"docker-compose.yml":   strings.Replace(compose, old, new, 1),
		"docs/operations.md":   "| `HOLDFAST_LISTEN` | | |\n",
		"deploy/Dockerfile":    "FROM golang AS build\nFROM scratch\nUSER 1:1\n",
		"cmd/api/main.go":      "",
		"cmd/holdfast/main.go": "",
		"agents/a.yaml":        "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCheck(t *testing.T) {
	for old, c := range map[string]struct{ new, want string }{
		"services:":                      {"services:", ""},
		"command: [/api]":                {"comand: [/api]", "comand"},
		"postgres:18":                    {"postgres", "not of one version"},
		"healthcheck: {test: [CMD, pg_i": {"labels: {test: [CMD, pg_i", "labels"},
		"    healthcheck: {test: [CMD, pg_isready]}\n": {"", "waits until db is healthy, which has no health check"},
		`restart: "no"`:                  {"restart: always", "is started again and again"},
		"127.0.0.1:8080:8080":            {"8080:8080", "published to other machines"},
		"./agents:":                      {"./nowhere:", "folder to mount"},
		"HOLDFAST_LISTEN":                {"HOLDFAST_LISTNE", "there is no setting HOLDFAST_LISTNE"},
		"[/holdfast, migrate]":           {"[/holdfirm, migrate]", "there is no program /holdfirm"},
		"[CMD, /holdfast, healthcheck]":  {"[CMD-SHELL, curl localhost]", "needs a shell"},
		"[CMD, /holdfast, healthcheck":   {"[CMD, /curl, localhost", "health check: there is no program /curl"},
		"read_only: true":                {"read_only: false", "read-only root"},
		"service_completed_successfully": {"service_started", "says nothing"},
	} {
		problems, err := check(t.Context(), repository(t, old, c.new))
		got := strings.Join(problems, "\n")
		if err != nil || (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s → %s: %q, %v, want %q", old, c.new, got, err, c.want)
		}
	}
}

func TestCheckDockerfile(t *testing.T) {
	for text, want := range map[string]string{
		"FROM golang AS build\nUSER root\nFROM scratch\nUSER 65532:65532\n": "",
		"FROM scratch\nUSER 65532\nFROM scratch\n":                          "runs as root",
		"FROM scratch\nUSER 0:0\n":                                          "runs as root",
		"FROM debian\nUSER 1\n":                                             "built on \"debian\"",
	} {
		got := strings.Join(checkDockerfile(text), "\n")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

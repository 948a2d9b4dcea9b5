package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// TestReadme runs what the README tells its reader to type: everything that is
// indented like a command, in a block of sh, or behind a prompt. A command that this
// test does not know fails it.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	bin := release(t).holdfast
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	// A reader's folder: the checkout's examples, and the agent of the page.
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(root, "examples"), filepath.Join(dir, "examples")); err != nil {
		t.Fatal(err)
	}
	file := regexp.MustCompile("(?ms)^```yaml\n(version: .*?)^```$").FindSubmatch(text)
	if file == nil {
		t.Fatal("the page has no agent file")
	}
	if err := os.Mkdir(filepath.Join(dir, "agents"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A model that needs no key.
	own := strings.Replace(string(file[1]), "openai/gpt-5-mini", "script", 1) +
		"models: {script: {provider: scripted, model: plan, provider_opts: {script: {turns: [{say: First the cake.}]}}}}\n"
	if err := os.WriteFile(filepath.Join(dir, "agents", "helper.yaml"), []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, bin: bin, dir: dir, url: "http://" + freeAddress(t)}

	known := map[string]func(){
		"go run ./cmd/holdfast dev": func() {
			p := r.dev("--data", t.TempDir())
			lines := regexp.MustCompile(`(?m)^  ((?:ID=|curl ).*)$`).FindAllStringSubmatch(p.Output(), -1)
			if len(lines) != 2 {
				t.Fatalf("it prints %d curl lines:\n%s", len(lines), p.Output())
			}
			out := r.sh(lines[0][1] + "\n" + lines[1][1])
			for _, want := range []string{`"type":"agent_choice"`, `"type":"tool_call_response"`, `"type":"session_title"`} {
				if !strings.Contains(out, want) {
					t.Errorf("the two lines give no %s:\n%s", want, out)
				}
			}
			r.stop(p)
		},
		"make test": func() {
			makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
			if err != nil || !regexp.MustCompile(`(?m)^test:.*\n\t.*go test`).Match(makefile) {
				t.Errorf("make test does not test: %v", err)
			}
		},
		`OPENAI_API_KEY=… go run ./cmd/holdfast run agents/helper.yaml "plan a birthday party"`: func() {
			if out := r.sh(`OPENAI_API_KEY=none holdfast run --yes agents/helper.yaml "plan a birthday party"`); !strings.Contains(out, "First the cake.") {
				t.Errorf("it says %s", out)
			}
		},
		"go run ./cmd/holdfast dev --agents examples": func() {
			p := r.dev("--data", t.TempDir(), "--agents", "examples")
			block := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindSubmatch(text)
			if block == nil {
				t.Fatal("the page has no block of sh")
			}
			out := r.sh(strings.ReplaceAll(string(block[1]), "http://127.0.0.1:8080", r.url))
			for _, want := range []string{`"type":"tool_call_confirmation"`, `"type":"tool_call_decided"`, `"type":"run_finished"`} {
				if !strings.Contains(out, want) {
					t.Errorf("the block gives no %s:\n%s", want, out)
				}
			}
			r.stop(p)
		},
		"go run ./cmd/holdfast chat examples/hello.yaml": func() {
			cmd := r.command(t.Context(), bin, "chat", "examples/hello.yaml")
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "needs a terminal") {
				t.Errorf("without a terminal: %v %s", err, out)
			}
		},
		"docker compose up --build --wait": func() { // make deploy-check checks it without Docker
			file, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
			if err != nil || !strings.Contains(string(file), "docker compose up --build --wait") {
				t.Errorf("docker-compose.yml does not know the command: %v", err)
			}
		},
	}
	for _, m := range regexp.MustCompile(`(?m)^    (\S.*)$`).FindAllStringSubmatch(regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), ""), -1) {
		run := known[m[1]]
		if run == nil {
			t.Errorf("the page has a command that this test does not know, or twice: %s", m[1])
			continue
		}
		delete(known, m[1])
		run()
	}
	for command := range known {
		t.Errorf("no longer on the page: %s", command)
	}
	r.transcript(string(text))
}

// reader is somebody who types what is written.
type reader struct {
	t   *testing.T
	bin string
	dir string
	url string
}

// dev starts a deployment where commands look for one, and waits until it is there.
func (r *reader) dev(args ...string) *testenv.Process {
	r.t.Helper()
	p := testenv.Start(r.t, r.bin, nil, append([]string{"dev", "--listen", strings.TrimPrefix(r.url, "http://")}, r.absolute(args)...)...)
	awaitHTTP(r.t, r.url+"/readyz")
	p.WaitLog("Ctrl-C stops it")
	return p
}

// absolute makes a folder of the reader's absolute, as dev is started elsewhere.
func (r *reader) absolute(args []string) []string {
	for i, a := range args {
		if a == "examples" {
			args[i] = filepath.Join(r.dir, a)
		}
	}
	return args
}

func (r *reader) stop(p *testenv.Process) {
	p.Signal(os.Interrupt)
	if err := p.Wait(); err != nil {
		r.t.Errorf("after Ctrl-C: %v", err)
	}
}

func (r *reader) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(r.bin)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HOLDFASTCTL_CONTEXTS="+filepath.Join(r.dir, "contexts.json"))
	return cmd
}

// sh runs a script as a shell would.
func (r *reader) sh(script string, env ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := r.command(ctx, "sh", "-c", script)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Errorf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// transcript plays the console blocks of a page: what is under a command is in its
// output in this order, "…" being anything. Whoever reads a list looks again until
// it is as on the page.
func (r *reader) transcript(page string) {
	r.t.Helper()
	data := r.t.TempDir()
	var p *testenv.Process
	commands := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(page, -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			commands++
			switch {
			case strings.HasPrefix(command, "holdfast dev") && strings.HasSuffix(command, "&"):
				p = r.dev("--data", data)
				continue
			case command == "kill -9 $!":
				p.Kill()
				continue
			}
			pattern := "(?s)"
			for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
				line = regexp.MustCompile(`\s+`).ReplaceAllString(regexp.QuoteMeta(strings.TrimSpace(line)), `\s+`)
				pattern += strings.ReplaceAll(line, "…", "[^\n]*?") + ".*?"
			}
			like := regexp.MustCompile(pattern)
			var out string
			look := func() bool {
				out = r.sh(command, "HOLDFASTCTL_URL="+r.url)
				return like.MatchString(out)
			}
			if !strings.HasPrefix(command, "holdfast sessions") && !strings.HasPrefix(command, "holdfast tail") {
				if !look() {
					r.t.Errorf("%s: it says\n%s, want\n%s", command, out, want)
				}
				continue
			}
			await(r.t, fmt.Sprintf("%s says\n%s", command, want), look)
		}
	}
	if commands < 6 {
		r.t.Errorf("the page has a transcript of %d commands", commands)
	}
	if p != nil {
		r.stop(p)
	}
}

// TestCompatibilityPage: the tests that docs/compatibility.md names are there.
func TestCompatibilityPage(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile("`([a-z0-9/]+)` ((?:Test[A-Za-z]+(?:, )?)+)").FindAllStringSubmatch(string(page), -1) {
		files, err := filepath.Glob(filepath.Join(root, m[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		source := ""
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source += string(text)
		}
		for name := range strings.SplitSeq(strings.TrimSuffix(m[2], ", "), ", ") {
			if n++; !strings.Contains(source, "func "+name+"(t *testing.T)") {
				t.Errorf("%s has no %s", m[1], name)
			}
		}
	}
	if n < 20 {
		t.Errorf("the page names %d tests", n)
	}
}

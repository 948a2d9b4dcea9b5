package builtin_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// jobsOf calls the tools of a shell in one session.
type jobsOf struct {
	*testing.T
	ts    *builtin.Toolset
	state tooltest.State
	calls int
}

func (j *jobsOf) do(name string, pairs ...any) tool.Result {
	j.Helper()
	args := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		args[pairs[i].(string)] = pairs[i+1]
	}
	raw, err := json.Marshal(args)
	mustDo(j.T, err)
	j.calls++
	c := tooltest.Call(tool.Call{Name: name, Arguments: string(raw), ID: fmt.Sprintf("call_%d", j.calls)})
	c.State = j.state.Get
	res, err := j.ts.Call(j.Context(), c)
	mustDo(j.T, err)
	j.state.Apply(res)
	return res
}

var jobID = regexp.MustCompile(`job_[0-9a-f]+`)

func (j *jobsOf) start(cmd string) string {
	j.Helper()
	res := j.do("run_background_job", "cmd", cmd)
	id := jobID.FindString(res.Output)
	if res.IsError || id == "" {
		j.Fatalf("%+v", res)
	}
	return id
}

// sees waits until the view of a job matches want.
func (j *jobsOf) sees(id, want string) string {
	j.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		res := j.do("view_background_job", "job_id", id)
		if regexp.MustCompile(want).MatchString(res.Output) {
			return res.Output
		}
		if time.Now().After(deadline) {
			j.Fatalf("the job says %q, want %q", res.Output, want)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestJobs(t *testing.T) {
	dir := t.TempDir()
	mustDo(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	j := &jobsOf{T: t, ts: shell(t, builtin.ShellOptions{Dir: dir}), state: tooltest.State{}}
	defs, err := j.ts.Tools(t.Context())
	mustDo(t, err)
	if len(defs) != 5 || defs[1].Name != "run_background_job" || defs[1].RuledAs != "shell" {
		t.Errorf("%+v", defs)
	}
	if res := j.do("list_background_jobs"); res.IsError || res.Output != "There are no background jobs." {
		t.Errorf("%+v", res)
	}
	id := j.start(`echo begun; sleep 600 & echo "pid $!"; wait`)
	pid := regexp.MustCompile(`pid (\d+)`).FindStringSubmatch(j.sees(id, `pid \d`))[1]
	if out := j.sees(id, "running"); !strings.Contains(out, "Its output:\nbegun\n") {
		t.Errorf("view %q", out)
	}
	if res := j.do("stop_background_job", "job_id", id); res.IsError {
		t.Errorf("%+v", res)
	}
	gone(t, pid)
	j.sees(id, "stopped")
	if res := j.do("stop_background_job", "job_id", id); res.IsError || !strings.Contains(res.Output, "runs no more") {
		t.Errorf("stopped again: %+v", res)
	}
	j.sees(j.start("pwd; exit 3"), `failed \(exit code 3\)`)
	res := j.do("run_background_job", "command", "pwd", "cwd", "sub") // the name that other shells have
	j.sees(jobID.FindString(res.Output), "completed")
	j.sees(jobID.FindString(res.Output), "/sub\n")
	if res := j.do("list_background_jobs"); strings.Count(res.Output, "\n") != 3 {
		t.Errorf("%+v", res)
	}
	for _, bad := range []tool.Result{
		j.do("run_background_job", "cmd", " "), j.do("run_background_job", "cmd", "true", "cwd", "/no/such"),
		j.do("view_background_job", "job_id", "job_0"), j.do("stop_background_job", "job_id", ""),
	} {
		if !bad.IsError {
			t.Errorf("%+v", bad)
		}
	}
	long := j.sees(j.start("seq 1 200000; echo the end"), "\nthe end")
	m := regexp.MustCompile(`the whole is in (\S+)\]`).FindStringSubmatch(long)
	if m == nil || len(long) > 100<<10 || !strings.Contains(long, "\n1\n2\n3\n") {
		t.Errorf("%d bytes of a long output, file %v", len(long), m)
	}
}

// A job belongs to its session, and ends with the shell that started it.
func TestJobsEndWithTheSession(t *testing.T) {
	jobs := builtin.NewJobs(false)
	t.Cleanup(jobs.Close)
	ts := builtin.NewShell(builtin.ShellOptions{Dir: t.TempDir(), Jobs: jobs})
	j := &jobsOf{T: t, ts: ts, state: tooltest.State{}}
	id := j.start(`echo "pid $$"; exec sleep 600`)
	pid := regexp.MustCompile(`pid (\d+)`).FindStringSubmatch(j.sees(id, `pid \d`))[1]

	// Another agent of the same session sees it; another session does not.
	second := &jobsOf{T: t, ts: shell(t, builtin.ShellOptions{Jobs: jobs}), state: j.state}
	second.sees(id, "running")
	stranger := &jobsOf{T: t, ts: shell(t, builtin.ShellOptions{Jobs: builtin.NewJobs(false)}), state: j.state}
	if res := stranger.do("view_background_job", "job_id", id); !strings.Contains(res.Output, "lost") {
		t.Errorf("a job of another worker: %+v", res)
	}
	j.state = tooltest.State{}
	second.state = j.state
	mustDo(t, ts.Close())
	gone(t, pid)
}

// With one worker a job outlives the shell: the session comes back to it.
func TestJobsAreKept(t *testing.T) {
	jobs := builtin.NewJobs(true)
	first := builtin.NewShell(builtin.ShellOptions{Dir: t.TempDir(), Jobs: jobs})
	j := &jobsOf{T: t, ts: first, state: tooltest.State{}}
	id := j.start(`echo "pid $$"; exec sleep 600`)
	pid := regexp.MustCompile(`pid (\d+)`).FindStringSubmatch(j.sees(id, `pid \d`))[1]
	mustDo(t, first.Close())
	j.ts = shell(t, builtin.ShellOptions{Jobs: jobs})
	j.sees(id, "running")
	jobs.Close()
	gone(t, pid)
	j.sees(id, "lost")
	if res := j.do("run_background_job", "cmd", "true"); !res.IsError {
		t.Errorf("a job after the end: %+v", res)
	}
}

// The same call again, after its outcome was lost, does not leave the first job running.
func TestJobsOfARepeatedCall(t *testing.T) {
	ts := shell(t, builtin.ShellOptions{Dir: t.TempDir()})
	c := tooltest.Call(tool.Call{Name: "run_background_job", Arguments: `{"cmd":"echo \"pid $$\" >>pids; exec sleep 600"}`})
	j := &jobsOf{T: t, ts: ts, state: tooltest.State{}}
	c.State = j.state.Get
	if _, err := ts.Call(t.Context(), c); err != nil { // its state gets lost
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); sh(t, ts, "grep -c pid pids").IsError && time.Now().Before(deadline); {
		<-time.After(5 * time.Millisecond)
	}
	pid := regexp.MustCompile(`\d+`).FindString(sh(t, ts, "cat pids").Output)
	res, err := ts.Call(t.Context(), c)
	if err != nil || res.IsError {
		t.Fatalf("%+v, %v", res, err)
	}
	j.state.Apply(res)
	gone(t, pid)
	j.sees(jobID.FindString(res.Output), "running")
}

// Not more jobs than a machine bears, and the log does not grow with every one.
func TestJobsAreBounded(t *testing.T) {
	j := &jobsOf{T: t, ts: shell(t, builtin.ShellOptions{Dir: t.TempDir()}), state: tooltest.State{}}
	for range 16 {
		j.start("exec sleep 600")
	}
	if res := j.do("run_background_job", "cmd", "true"); !res.IsError || !strings.Contains(res.Output, "Stop one first") {
		t.Errorf("%+v", res)
	}
	id := jobID.FindString(j.do("list_background_jobs").Output)
	j.do("stop_background_job", "job_id", id)
	for range 20 {
		j.sees(j.start("true"), "completed")
	}
	if res := j.do("list_background_jobs"); strings.Count(res.Output, "\n") != 32 || strings.Contains(res.Output, id) {
		t.Errorf("%s", res.Output)
	}
}

// workerThatDies is set for the process that TestKilledWorkerTakesCommandsAlong kills.
const workerThatDies = "HOLDFAST_TEST_WORKER_THAT_DIES"

// What runs for a worker ends when the worker is killed, and with it what it started.
func TestKilledWorkerTakesCommandsAlong(t *testing.T) {
	if os.Getenv(workerThatDies) != "" {
		ts := builtin.NewShell(builtin.ShellOptions{})
		_, _ = ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "shell", Arguments: `{"cmd":"sleep 600 & echo \"$$ $!\"; wait","timeout":600}`, Progress: func(s string) {
			fmt.Println("pids", s)
		}}))
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWorkerTakesCommandsAlong$")
	cmd.Env = append(os.Environ(), workerThatDies+"=1")
	out, err := cmd.StdoutPipe()
	mustDo(t, err)
	mustDo(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "pids "); ok {
			mustDo(t, cmd.Process.Kill())
			for _, pid := range strings.Fields(rest) {
				gone(t, pid)
			}
			break
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the worker ended by itself")
	}
}

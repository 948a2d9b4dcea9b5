package builtin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// maxRunningJobs is how many jobs of a session may run at the same time.
	maxRunningJobs = 16
	// maxJobs is how many jobs a session's log remembers; older ones that ended go first.
	maxJobs = 32
	// maxJobCommand bounds what is remembered of a command, in bytes.
	maxJobCommand = 1 << 10
	// jobOutput is how much of a job's output is shown: half of it from the beginning
	// and half from the end. The whole is in a file.
	jobOutput = 64 << 10
)

// jobsStateKey is the key of the jobs in the session's state. It is stored: it never
// changes.
const jobsStateKey = "jobs"

// What becomes of a job. The words are stored.
const (
	jobRunning   = "running"
	jobCompleted = "completed"
	jobFailed    = "failed"
	jobStopped   = "stopped"
	jobLost      = "lost"
)

// Jobs runs the background jobs of a worker's sessions, for all their shells.
//
// A job is a process of the worker. It ends with Close, with its group as a command
// does, and when the worker is killed. Unless Keep is set it also ends when the shell
// that started it is closed: when its session is parked or goes to another worker,
// where nobody could see it any more. A session that is deleted ends its jobs in any
// case ([Jobs.End]). That a session has it is in the session's log: a
// job that is there and runs nowhere is lost, and the tools say so.
type Jobs struct {
	keep bool

	mu     sync.Mutex
	jobs   map[jobKey]*job
	closed bool
}

type jobKey struct {
	session holdfast.SessionRef
	id      string
}

// NewJobs returns a keeper of jobs. With keep jobs outlive the shells that started
// them: for a deployment of one worker, to which every session comes back.
func NewJobs(keep bool) *Jobs { return &Jobs{keep: keep, jobs: map[jobKey]*job{}} }

// Close ends all jobs and returns when they are gone.
func (j *Jobs) Close() {
	j.mu.Lock()
	j.closed = true
	all := j.jobs
	j.jobs = map[jobKey]*job{}
	j.mu.Unlock()
	stopAll(all)
}

// End ends the jobs of a session and returns when they are gone.
func (j *Jobs) End(s holdfast.SessionRef) {
	stopAll(j.take(func(k jobKey, _ *job) bool { return k.session == s }))
}

func stopAll(jobs map[jobKey]*job) {
	var wg sync.WaitGroup
	for _, one := range jobs {
		wg.Go(one.stop)
	}
	wg.Wait()
	for _, one := range jobs {
		one.host.forget(one.out.spilled())
	}
}

// take removes jobs, which the caller stops.
func (j *Jobs) take(which func(jobKey, *job) bool) map[jobKey]*job {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := map[jobKey]*job{}
	for k, one := range j.jobs {
		if which(k, one) {
			out[k] = one
			delete(j.jobs, k)
		}
	}
	return out
}

func (j *Jobs) get(k jobKey) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.jobs[k]
}

// put adds a job, false if the keeper is closed.
func (j *Jobs) put(k jobKey, one *job) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		j.jobs[k] = one
	}
	return !j.closed
}

// job is a command that runs beside the calls.
type job struct {
	host  *host
	owner *jobTools
	child *child
	out   lockedCollector
	ended chan struct{} // closed when nothing of it is left

	mu      sync.Mutex
	stopped bool
}

// stop ends the job and returns when it is gone.
func (b *job) stop() {
	select {
	case <-b.ended: // its number may be another process by now
		return
	default:
	}
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	b.child.terminate()
	<-b.ended
}

// status is one of the words, and the exit code of what has ended.
func (b *job) status() (string, int) {
	select {
	case <-b.ended:
	default:
		return jobRunning, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	code := 0
	var exit *exec.ExitError
	if errors.As(b.child.exit, &exit) {
		code = exit.ExitCode()
	}
	switch {
	case b.stopped:
		return jobStopped, code
	case b.child.exit != nil:
		return jobFailed, code
	}
	return jobCompleted, 0
}

// lockedCollector may be read while it is written to.
type lockedCollector struct {
	mu sync.Mutex
	c  *collector
}

// Write implements io.Writer; it never fails.
func (l *lockedCollector) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c.Write(p)
}

func (l *lockedCollector) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c.text()
}

func (l *lockedCollector) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c.finish()
}

// spilled is the file of a long output, "" if there is none.
func (l *lockedCollector) spilled() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c.file == nil {
		return ""
	}
	return l.c.file.Name()
}

// jobRecord is a job in the session's log. The JSON names are stored.
type jobRecord struct {
	ID        string    `json:"id"`
	Command   string    `json:"command"`
	Dir       string    `json:"dir,omitempty"`
	StartedAt time.Time `json:"started_at"`
	Status    string    `json:"status"`
	ExitCode  int       `json:"exit_code,omitempty"`
}

// jobTools are the tools of one shell.
type jobTools struct {
	host *host
	dir  string
	jobs *Jobs
	own  bool // the keeper is this shell's
}

func newJobTools(h *host, o ShellOptions) *jobTools {
	t := &jobTools{host: h, dir: o.Dir, jobs: o.Jobs}
	if t.jobs == nil {
		t.jobs, t.own = NewJobs(false), true
	}
	if t.jobs.keep {
		// The files of its jobs must outlive the shell.
		kept := newHost(o)
		t.host = kept
	}
	return t
}

func (t *jobTools) close() {
	switch {
	case t.own:
		t.jobs.Close()
	case !t.jobs.keep:
		stopAll(t.jobs.take(func(_ jobKey, b *job) bool { return b.owner == t }))
	}
}

type jobArguments struct {
	JobID string `json:"job_id"`
}

func (t *jobTools) entries() []entry {
	id := text("job_id", "Id of the job")
	return []entry{
		{tool.Definition{
			Name: "run_background_job", Title: "Run in the background", RuledAs: "shell",
			Description: "Start a command that goes on beside your work (a server, a watcher) and give back the id of the job at once.",
			Parameters:  object([]string{"cmd"}, text("cmd", "The command"), text("cwd", "Directory to run in; the default is the working directory")),
		}, run(t.start)},
		{tool.Definition{
			Name: "list_background_jobs", Title: "List background jobs", Description: "Show the background jobs of this session with their status.",
			Parameters: object(nil), Effect: tool.EffectReadOnly,
		}, run(t.list)},
		{tool.Definition{
			Name: "view_background_job", Title: "View background job", Description: "Show the status of a background job and what it wrote.",
			Parameters: object([]string{"job_id"}, id), Effect: tool.EffectReadOnly,
		}, run(t.view)},
		{tool.Definition{
			Name: "stop_background_job", Title: "Stop background job", Description: "End a background job and all that it started.",
			Parameters: object([]string{"job_id"}, id), Effect: tool.EffectIdempotent,
		}, run(t.stop)},
	}
}

// load returns the jobs of the session as they are now, and whether that is other than
// the log says.
func (t *jobTools) load(c tool.Call) (records []jobRecord, changed bool, err error) {
	if c.State == nil {
		return nil, false, nil
	}
	raw := c.State(jobsStateKey)
	if len(raw) == 0 {
		return nil, false, nil
	}
	if err := json.Unmarshal(raw, &records); err != nil {
		return nil, false, errors.New("the background jobs of this session cannot be read")
	}
	for i := range records {
		r := &records[i]
		if r.Status != jobRunning {
			continue
		}
		status, code := jobLost, 0
		if b := t.jobs.get(jobKey{c.Session, r.ID}); b != nil {
			status, code = b.status()
		}
		if status != jobRunning {
			r.Status, r.ExitCode, changed = status, code, true
		}
	}
	return records, changed, nil
}

func withJobs(res tool.Result, records []jobRecord) (tool.Result, error) {
	raw, err := json.Marshal(records)
	if err != nil {
		return tool.Result{}, fmt.Errorf("storing the background jobs: %w", err)
	}
	res.State = map[string]json.RawMessage{jobsStateKey: raw}
	return res, nil
}

func (t *jobTools) start(ctx context.Context, c tool.Call, a commandArguments) (tool.Result, error) {
	line, problem := a.line()
	if problem != "" {
		return failed("%s", problem), nil
	}
	records, _, err := t.load(c)
	if err != nil {
		return failed("%v.", err), nil
	}
	running := 0
	for _, r := range records {
		if r.Status == jobRunning {
			running++
		}
	}
	if running >= maxRunningJobs {
		return failed("A session can have %d background jobs at the same time. Stop one first.", maxRunningJobs), nil
	}
	// The same for all attempts of the call: what an attempt before left running, of
	// which the log knows nothing, is found and ended.
	sum := sha256.Sum256([]byte(c.Session.Session + "\x00" + cmp.Or(c.IdempotencyKey, c.ID)))
	key := jobKey{c.Session, "job_" + hex.EncodeToString(sum[:4])}
	stopAll(t.jobs.take(func(k jobKey, _ *job) bool { return k == key }))
	if ctx.Err() != nil {
		return tool.Result{}, fmt.Errorf("starting a background job: %w", ctx.Err())
	}
	b := &job{host: t.host, owner: t, ended: make(chan struct{})}
	b.out.c = &collector{host: t.host, limit: jobOutput}
	if b.child, err = t.host.start(command{line: line, dir: within(t.dir, a.Cwd)}, &b.out); err != nil {
		return failed("The command cannot be started: %v.", err), nil
	}
	go func() {
		b.child.settle()
		b.out.finish()
		close(b.ended)
	}()
	if !t.jobs.put(key, b) {
		b.stop()
		return failed("The worker is being stopped; the job was not started."), nil
	}
	records = append(records, jobRecord{
		ID: key.id, Command: tool.BoundTo(line, maxJobCommand), Dir: a.Cwd, StartedAt: c.Now.UTC(), Status: jobRunning,
	})
	records = t.trim(c.Session, records)
	return withJobs(succeeded("The job %s was started.", key.id), records)
}

// trim forgets the oldest jobs that have ended.
func (t *jobTools) trim(s holdfast.SessionRef, records []jobRecord) []jobRecord {
	for i := 0; len(records) > maxJobs && i < len(records); {
		if records[i].Status == jobRunning {
			i++
			continue
		}
		id := records[i].ID
		stopAll(t.jobs.take(func(k jobKey, _ *job) bool { return k == jobKey{s, id} }))
		records = slices.Delete(records, i, i+1)
	}
	return records
}

// line describes a job.
func (r *jobRecord) line(now time.Time) string {
	switch r.Status {
	case jobRunning:
		return fmt.Sprintf("%s: running for %v: %s", r.ID, max(now.Sub(r.StartedAt), 0).Round(time.Second), r.Command)
	case jobFailed:
		return fmt.Sprintf("%s: failed (exit code %d): %s", r.ID, r.ExitCode, r.Command)
	case jobLost:
		return fmt.Sprintf("%s: lost (the worker that ran it let go of the session, which ended it; start it again if it is still needed): %s", r.ID, r.Command)
	}
	return fmt.Sprintf("%s: %s: %s", r.ID, r.Status, r.Command)
}

func (t *jobTools) list(_ context.Context, c tool.Call, _ struct{}) (tool.Result, error) {
	records, changed, err := t.load(c)
	switch {
	case err != nil:
		return failed("%v.", err), nil
	case len(records) == 0:
		return succeeded("There are no background jobs."), nil
	}
	var out strings.Builder
	for i := range records {
		fmt.Fprintf(&out, "- %s\n", records[i].line(c.Now))
	}
	if !changed {
		return tool.Result{Output: out.String()}, nil
	}
	return withJobs(tool.Result{Output: out.String()}, records)
}

// find returns the record of the job that a call names; the result says why there is
// none.
func (t *jobTools) find(c tool.Call, id string) (records []jobRecord, r *jobRecord, res tool.Result) {
	records, _, err := t.load(c)
	if err != nil {
		return nil, nil, failed("%v.", err)
	}
	i := slices.IndexFunc(records, func(r jobRecord) bool { return r.ID == id })
	if i < 0 {
		return nil, nil, failed("There is no background job %q.", id)
	}
	return records, &records[i], tool.Result{}
}

func (t *jobTools) view(_ context.Context, c tool.Call, a jobArguments) (tool.Result, error) {
	records, r, res := t.find(c, a.JobID)
	if r == nil {
		return res, nil
	}
	out := r.line(c.Now) + "\n"
	if b := t.jobs.get(jobKey{c.Session, r.ID}); b != nil {
		out += "Its output:\n" + cmp.Or(b.out.text(), "(none yet)")
	} else {
		out += "Its output is gone."
	}
	return withJobs(tool.Result{Output: out}, records)
}

func (t *jobTools) stop(_ context.Context, c tool.Call, a jobArguments) (tool.Result, error) {
	records, r, res := t.find(c, a.JobID)
	if r == nil {
		return res, nil
	}
	b := t.jobs.get(jobKey{c.Session, r.ID})
	if r.Status != jobRunning || b == nil {
		// No failure: after a crash this may be the second run of the same call.
		return withJobs(succeeded("The job runs no more. %s", r.line(c.Now)), records)
	}
	b.stop()
	r.Status, r.ExitCode = b.status()
	return withJobs(succeeded("The job %s was stopped.", r.ID), records)
}

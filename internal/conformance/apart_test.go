package conformance

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/app/redirect"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/telemetry"
	"github.com/holdfast-run/holdfast/internal/telemetry/export"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// programRole is set in the environment of this test binary when it is to be one of
// the programs.
const programRole = "CONFORMANCE_PROGRAM"

// runProgram is cmd/api, cmd/worker or cmd/oauth-callback.
func runProgram(role string) int {
	exporters := func(ctx context.Context, s telemetry.Service) (telemetry.Exporters, error) {
		return export.FromEnv(ctx, s)
	}
	if role == "oauth-callback" {
		return redirect.Main(role, "test", exporters)
	}
	return app.Main(role, "test", exporters, func(config.Config) app.Roles {
		return map[string]app.Roles{"api": {API: true, Recorder: true}, "worker": {Worker: true}}[role]
	})
}

// deployment is the product in processes of its own: an API, two callback services
// and workers, of which two are there at any time.
type deployment struct {
	*product
	t   *testing.T
	env []string

	dsn   string
	nats  *testenv.NATSProcess
	front map[string]*testenv.Process // api and callbacks by address

	events heard // by until

	allMu sync.Mutex
	all   []*testenv.Process // that ever were, guarded by allMu

	mu        sync.Mutex // guards what follows
	started   int
	workers   map[string]*testenv.Process
	callbacks []string
}

// apart starts the deployment; env is for all programs.
func apart(t *testing.T, dsn string, env ...string) *deployment {
	t.Helper()
	if err := pgstore.Migrate(t.Context(), dsn, pgstore.Options{}); err != nil {
		t.Fatal(err)
	}
	key := func() string {
		b := make([]byte, 32)
		rand.Read(b) // never fails
		return "k1:" + base64.StdEncoding.EncodeToString(b)
	}
	api, one, other := freeAddress(t), freeAddress(t), freeAddress(t)
	d := &deployment{
		t: t, workers: map[string]*testenv.Process{}, callbacks: []string{"http://" + one, "http://" + other},
		dsn: dsn, nats: testenv.NewNATSProcess(t), front: map[string]*testenv.Process{},
	}
	d.env = append(env,
		"HOLDFAST_NATS_URL="+d.nats.URL(), "HOLDFAST_DATABASE_URL="+dsn, "HOLDFAST_HOSTED=false",
		"HOLDFAST_VAULT_KEYS="+key(), "HOLDFAST_OAUTH_STATE_KEYS="+key(),
		"HOLDFAST_PUBLIC_URL=http://"+api, "HOLDFAST_OAUTH_CALLBACK_URL=http://"+one,
	)
	waiting := []*testenv.Process{d.startFront("api", api)}
	for _, at := range []string{one, other} {
		waiting = append(waiting, d.startFront("oauth-callback", at))
	}
	for range 2 {
		waiting = append(waiting, d.startWorker())
	}
	for _, p := range waiting {
		p.WaitLog("msg=ready")
	}
	d.product = newProduct(t, "http://"+api)
	return d
}

func (d *deployment) start(role string, env ...string) *testenv.Process {
	d.t.Helper()
	p := testenv.Start(d.t, os.Args[0], slices.Concat(d.env, env, []string{programRole + "=" + role}))
	d.allMu.Lock()
	defer d.allMu.Unlock()
	d.all = append(d.all, p)
	return p
}

// startFront starts an API or a callback on an address of the form host:port.
func (d *deployment) startFront(role, at string) *testenv.Process {
	d.t.Helper()
	p := d.start(role, "HOLDFAST_LISTEN="+at)
	d.front["http://"+at] = p
	return p
}

func (d *deployment) startWorker() *testenv.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started++
	name := fmt.Sprintf("worker%d", d.started)
	p := d.start("worker", "HOLDFAST_LISTEN=127.0.0.1:0", "HOLDFAST_WORKER_ID="+name)
	d.workers[name] = p
	return p
}

// kill ends a worker as a crash does. Another one is there already; a third is
// started, for the next time.
func (d *deployment) kill(worker string) error {
	name, _, _ := strings.Cut(worker, "-")
	d.mu.Lock()
	p := d.workers[name]
	delete(d.workers, name)
	d.mu.Unlock()
	if p == nil {
		return fmt.Errorf("there is no worker %q to kill", worker)
	}
	p.Kill()
	d.startWorker().WaitLog("msg=ready")
	return nil
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", testenv.Port(t))
}

// TestConformanceApart is the suite against the product in processes of its own:
// with workers that are killed while users are asked, and with answers that come
// five times to two callback services. It runs with -all; else it runs one scenario.
func TestConformanceApart(t *testing.T) {
	if !*everything {
		d := apart(t, testenv.Postgres(t))
		d.parked, d.deliver, d.times = d.kill, d.callbacks, 5
		d.run(t, map[string]result{}, false, "2026-07-28/auth/scope-step-up")
		return
	}
	t.Run("killed", func(t *testing.T) {
		d := apart(t, testenv.Postgres(t))
		d.parked = d.kill
		results := map[string]result{}
		d.run(t, results, false)
		report.add(t, workerKilled, d.product, results)
	})
	t.Run("five answers", func(t *testing.T) {
		d := apart(t, testenv.Postgres(t))
		d.deliver, d.times = d.callbacks, 5
		results := map[string]result{}
		t.Run("scenarios", func(t *testing.T) { d.run(t, results, true) })
		report.add(t, fiveAnswers, d.product, results)
	})
}

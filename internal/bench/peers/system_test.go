package peers

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// system is an installation of one of the systems.
type system interface {
	// start begins a run; text is its first message. Once it returns, the run
	// survives the caller.
	start(ctx context.Context, id, text string) error
	// approve lets the tool call go on that a run waits with.
	approve(ctx context.Context, id string) error
	// processes are those whose memory and processor time count: servers and
	// workers.
	processes() []*testenv.Process
	// fail kills the worker that has everything, when another is there.
	fail()
}

// systems make an installation with one worker that keeps its data in a file, as
// its makers give it to somebody who begins.
var systems = []struct {
	name string
	make func(b *testing.B, s *service) system
}{
	{"holdfast", newHoldfast},
	{"temporal", newTemporal},
	{"restate", newRestate},
	{"restate-unsynced", newUnsynced},
}

// waits says whether the first tool call of a run needs an approval.
func waits(text string) bool { return strings.HasSuffix(text, " ask") }

// cpu is the processor time that processes have used.
func cpu(b *testing.B, processes []*testenv.Process) (d time.Duration) {
	b.Helper()
	for _, p := range processes {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/stat")
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		for _, field := range fields[11:13] { // utime and stime, proc_pid_stat(5)
			n, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			d += time.Duration(n) * time.Second / 100
		}
	}
	return d
}

// resident is the memory that processes hold, in bytes.
func resident(b *testing.B, processes []*testenv.Process) (n int) {
	b.Helper()
	for _, p := range processes {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/status")
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		kb, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			b.Fatal(err)
		}
		n += kb << 10
	}
	return n
}

// until asks again and again until f is done, for at most a minute.
func until(b *testing.B, what string, f func() error) {
	b.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s: %v", what, err)
		}
		pause(20 * time.Millisecond)
	}
}

// pause waits; what is measured here is measured in time.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}

func freeAddr(b *testing.B) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(testenv.Port(b)))
}

func answers(url string) func() error {
	return func() error {
		res, err := http.Get(url)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
}

// role starts this binary again as a worker.
func role(b *testing.B, name string, env ...string) *testenv.Process {
	b.Helper()
	bin, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := testenv.Start(b, bin, append(env, roleVariable+"="+name))
	p.WaitLog("ready")
	return p
}

const roleVariable = "PEERS_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		// The programs are built from the product's module.
		if err := os.Chdir("../../.."); err != nil {
			log.Fatal(err)
		}
		os.Exit(m.Run())
	case "temporal":
		temporalWorker()
	case "restate":
		restateService()
	}
}

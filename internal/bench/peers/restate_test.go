package peers

import (
	"context"
	"embed"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	restate "github.com/restatedev/sdk-go"
	"github.com/restatedev/sdk-go/server"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

//go:embed package.json package-lock.json
var packages embed.FS

// Agent is the loop as a handler of Restate.
type Agent struct{ service string }

// Run is one run.
func (a *Agent) Run(ctx restate.Context, text string) error {
	conversation := []message{{Role: "user", Content: strings.TrimSuffix(text, " ask")}}
	for {
		said, err := restate.Run(ctx, func(ctx restate.RunContext) (message, error) { return ask(ctx, a.service, conversation) })
		if err != nil {
			return err
		}
		conversation = append(conversation, said)
		if len(said.ToolCalls) == 0 {
			return nil
		}
		for _, c := range said.ToolCalls {
			if waits(text) {
				approval := restate.Awakeable[bool](ctx)
				id, _, _ := strings.Cut(text, " ")
				_, err := restate.Run(ctx, func(ctx restate.RunContext) (bool, error) {
					return true, post(ctx, os.Getenv("PEERS_WAITING"), map[string]string{"run": id, "id": approval.Id()}, nil)
				})
				if err != nil {
					return err
				}
				if _, err := approval.Result(); err != nil {
					return err
				}
			}
			result, err := restate.Run(ctx, func(ctx restate.RunContext) (message, error) { return work(ctx, a.service, c) })
			if err != nil {
				return err
			}
			conversation = append(conversation, result)
		}
	}
}

func restateService() {
	h := slog.NewTextHandler(io.Discard, nil)
	l, err := net.Listen("tcp", os.Getenv("PEERS_LISTEN"))
	if err != nil {
		log.Fatal(err)
	}
	handler, err := server.NewRestate().WithLogger(h, true).Bind(restate.Reflect(&Agent{os.Getenv("PEERS_SERVICE")})).Handler()
	if err != nil {
		log.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	fmt.Println("ready")
	log.Fatal((&http.Server{Handler: handler, Protocols: &protocols}).Serve(l))
}

type restateSystem struct {
	b        *testing.B
	ingress  string
	server   *testenv.Process
	service  *service
	env      []string
	replicas []*testenv.Process

	mu      sync.Mutex
	addrs   []string          // of the replicas
	waiting map[string]string // awakeables, by run
}

func newRestate(b *testing.B, s *service) system { return restateServer(b, s) }

// newUnsynced is Restate as it is configured to leave it to the operating system
// when its log reaches the disk, which is what `holdfast dev` and Temporal's
// development server do.
func newUnsynced(b *testing.B, s *service) system {
	return restateServer(b, s, "RESTATE_BIFROST__LOCAL__ROCKSDB_DISABLE_WAL_FSYNC=true", "RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC=true")
}

func restateServer(b *testing.B, s *service, env ...string) system {
	b.Helper()
	dir, err := testenv.NPM("peers", packages)
	if err != nil {
		b.Fatal(err)
	}
	r := &restateSystem{b: b, service: s, waiting: map[string]string{}}
	heard := &http.Server{Handler: http.HandlerFunc(r.hear)}
	l := r.listen()
	go heard.Serve(l)
	b.Cleanup(func() { heard.Close() })
	r.env = []string{"PEERS_SERVICE=" + s.URL, "PEERS_WAITING=http://" + l.Addr().String()}
	ingress, admin := freeAddr(b), freeAddr(b)
	r.ingress = "http://" + ingress
	bin := filepath.Join(dir, "node_modules", "@restatedev", "restate-server-linux-x64", "bin", "restate-server")
	r.server = testenv.Start(b, bin, append(env,
		"RESTATE_BASE_DIR="+b.TempDir(), "RESTATE_INGRESS__BIND_ADDRESS="+ingress, "RESTATE_ADMIN__BIND_ADDRESS="+admin,
		"RESTATE_BIND_ADDRESS="+freeAddr(b), "RESTATE_LISTEN_MODE=tcp", "RESTATE_DISABLE_TELEMETRY=true",
	), "--no-logo")
	r.addReplica()
	until(b, "Restate's server", answers("http://"+admin+"/health"))
	until(b, "Restate's ingress", answers(r.ingress+"/restate/health"))
	until(b, "registering the agent", func() error {
		return post(b.Context(), "http://"+admin+"/deployments", map[string]any{"uri": "http://" + r.balance()}, nil)
	})
	return r
}

func (r *restateSystem) listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.b.Fatal(err)
	}
	return l
}

func (r *restateSystem) addReplica() {
	addr := freeAddr(r.b)
	p := role(r.b, "restate", append(r.env, "PEERS_LISTEN="+addr)...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replicas, r.addrs = append(r.replicas, p), append(r.addrs, addr)
}

// balance stands before the replicas as an address that does not change: a
// connection goes to the first that answers.
func (r *restateSystem) balance() (addr string) {
	l := r.listen()
	r.b.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				r.mu.Lock()
				addrs := append([]string(nil), r.addrs...)
				r.mu.Unlock()
				for _, addr := range addrs {
					out, err := net.Dial("tcp", addr)
					if err != nil {
						continue
					}
					go func() { io.Copy(out, in); out.Close() }()
					io.Copy(in, out)
					return
				}
			}()
		}
	}()
	return l.Addr().String()
}

// hear notes what a run waits with.
func (r *restateSystem) hear(w http.ResponseWriter, req *http.Request) {
	var in struct{ Run, ID string }
	if err := decode(req.Body, &in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[in.Run] = in.ID
}

func (r *restateSystem) start(ctx context.Context, _, text string) error {
	return post(ctx, r.ingress+"/Agent/Run/send", text, nil)
}

func (r *restateSystem) approve(ctx context.Context, id string) error {
	r.mu.Lock()
	awakeable := r.waiting[id]
	r.mu.Unlock()
	if awakeable == "" {
		return fmt.Errorf("%s does not wait yet", id)
	}
	return post(ctx, r.ingress+"/restate/awakeables/"+awakeable+"/resolve", true, nil)
}

func (r *restateSystem) processes() []*testenv.Process {
	return append([]*testenv.Process{r.server}, r.replicas...)
}

func (r *restateSystem) fail() {
	r.addReplica()
	pause(2 * time.Second)
	r.replicas[0].Kill()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replicas, r.addrs = r.replicas[1:], r.addrs[1:]
}

// Package servertest starts clusters of embedded servers for tests.
//
// A cluster is ready when [Cluster] returns: every server has joined, a leader is
// known, streams with as many replicas as there are servers can be made at
// once. It stops with the test.
package servertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsbus/server"
)

// SyncInterval is for servers in tests with the race detector, which do not mind a
// power failure: the first sync of a stream's store races in nats-server 2.15 with the
// end of its creation if that takes longer than half of the interval, which it may
// where many processes share few cores.
const SyncInterval = time.Hour

const (
	readyTimeout = 30 * time.Second
	readyPoll    = 20 * time.Millisecond
	stopTimeout  = 20 * time.Second
	// portAttempts bounds how often a cluster is started anew because somebody
	// took one of its ports between choosing and listening.
	portAttempts = 5
)

// Nodes is a running cluster. Its methods are for the test's goroutine.
type Nodes struct {
	t       testing.TB
	configs []server.Config
	servers []*server.Server // nil where a node is stopped
}

// Cluster starts size servers that replicate among each other and listen on
// loopback, each on a folder of its own under t.TempDir().
func Cluster(t testing.TB, size int) *Nodes {
	t.Helper()
	dir := t.TempDir()
	var err error
	for attempt := range portAttempts {
		n := &Nodes{t: t, configs: make([]server.Config, size), servers: make([]*server.Server, size)}
		// Each attempt has folders of its own: a half-formed cluster leaves votes.
		if err = n.start(filepath.Join(dir, fmt.Sprint(attempt))); err == nil {
			t.Cleanup(n.stopAll)
			return n
		}
		n.stopAll()
		if !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	t.Fatalf("start a cluster of %d nats-servers: %v", size, err)
	return nil
}

func (n *Nodes) start(dir string) error {
	clients, err := freeAddrs(len(n.configs))
	if err != nil {
		return err
	}
	routes, err := freeAddrs(len(n.configs))
	if err != nil {
		return err
	}
	for i := range n.configs {
		name := fmt.Sprintf("n%d", i)
		n.configs[i] = server.Config{
			SyncInterval: SyncInterval,
			Name:         name,
			StoreDir:     filepath.Join(dir, name),
			Listen:       clients[i],
			Cluster:      server.Cluster{Name: "test", Listen: routes[i], Routes: routes},
		}
		if n.servers[i], err = server.Start(n.t.Context(), n.configs[i]); err != nil {
			return err
		}
	}
	return n.awaitReady()
}

// awaitReady polls, since nats-server has no event for "caught up".
func (n *Nodes) awaitReady() error {
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		inSync, running, peers := true, 0, 0
		for _, s := range n.servers {
			if s != nil {
				inSync = inSync && s.InSync()
				peers = max(peers, s.Peers())
				running++
			}
		}
		if inSync && peers == running {
			return nil
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return fmt.Errorf("no leader or not all servers after %s", readyTimeout)
		}
	}
}

// URL lists the addresses of all nodes, stopped ones included, as
// [nats.Connect] takes them.
func (n *Nodes) URL() string {
	var urls []string
	for _, c := range n.configs {
		urls = append(urls, "nats://"+c.Listen)
	}
	return strings.Join(urls, ",")
}

// Connect opens a connection that knows all nodes and keeps trying to get back
// to one; it closes with the test.
func (n *Nodes) Connect(opts ...nats.Option) *nats.Conn {
	n.t.Helper()
	base := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}
	nc, err := nats.Connect(n.URL(), append(base, opts...)...)
	if err != nil {
		n.t.Fatalf("connect to the cluster: %v", err)
	}
	n.t.Cleanup(nc.Close)
	return nc
}

// Server returns node i, nil if it is stopped.
func (n *Nodes) Server(i int) *server.Server { return n.servers[i] }

// Leader returns the index of the node that leads the stream, -1 if at the
// moment none does.
func (n *Nodes) Leader(stream string) int {
	for i, s := range n.servers {
		if s != nil && s.LeadsStream(stream) {
			return i
		}
	}
	return -1
}

// Stop shuts node i down gracefully.
func (n *Nodes) Stop(i int) {
	n.t.Helper()
	if err := n.stop(i); err != nil {
		n.t.Fatal(err)
	}
}

// Restart starts node i again on its folder and ports and waits until it has
// caught up.
func (n *Nodes) Restart(i int) {
	n.t.Helper()
	s, err := server.Start(n.t.Context(), n.configs[i])
	if err != nil {
		n.t.Fatal(err)
	}
	n.servers[i] = s
	if err := n.awaitReady(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *Nodes) stop(i int) error {
	s := n.servers[i]
	if s == nil {
		return nil
	}
	n.servers[i] = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.t.Context()), stopTimeout)
	defer cancel()
	return s.Stop(ctx)
}

func (n *Nodes) stopAll() {
	var errs []error
	for i := range n.servers {
		errs = append(errs, n.stop(i))
	}
	if err := errors.Join(errs...); err != nil {
		n.t.Errorf("stop the cluster: %v", err)
	}
}

// freeAddrs finds n different loopback addresses that nobody listens on. It
// holds all of them until it has all, so that none comes twice.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

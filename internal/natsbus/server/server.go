// Package server embeds nats-server with JetStream on a folder, so that one
// process can be a whole Holdfast: `holdfast dev` and `holdfast run` use it,
// and so do tests. Everything else speaks to it through an ordinary NATS
// connection; whether the server is in the process or across a network is
// invisible above this package.
//
// Promises:
//
//   - A message whose publish was acknowledged survives SIGKILL of the process:
//     it was handed to the operating system before the acknowledgement. It
//     survives a power failure too once the store was synced, see
//     [Config.SyncInterval].
//   - A folder belongs to one running server. Start takes an exclusive lock on
//     it and fails with [ErrInUse] if somebody else, in this process or in
//     another, has it. The operating system drops the lock when a process dies,
//     however it dies.
//   - Start returns when the store is recovered and connections are accepted, or
//     with an error and nothing left running.
//   - The server installs no signal handlers and never ends the process: what
//     nats-server calls fatal becomes an error of Start or an error in the log.
//
// Methods of [Server] may be called from any goroutine.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Defaults of [Config].
const (
	DefaultName         = "holdfast"
	DefaultSyncInterval = time.Second
	DefaultMaxMemory    = 256 << 20
)

// readyTimeout bounds the wait for listeners after the store is recovered; the
// recovery itself is bounded only by the caller's context, since it grows with
// the store.
const readyTimeout = 10 * time.Second

// Config says how the embedded server runs. Only StoreDir is required.
type Config struct {
	// StoreDir is the folder of the streams; it is made (mode 0700) if absent.
	StoreDir string
	// Name is the server's name, unique in a cluster. Default: DefaultName.
	Name string
	// Listen is "host:port" for clients over TCP; port 0 takes a free one, see
	// [Server.URL]. Empty: no socket is opened and only [Server.Connect] reaches
	// the server. The listener asks for no credentials: bind it to loopback.
	Listen string
	// MaxPayload is the largest message in bytes, headers included. Default: the
	// 1 MiB of nats-server. Above 64 MiB Start fails.
	MaxPayload int32
	// SyncInterval is how often written data is forced to the disk: what a power
	// failure (not a crash of the process) can take from a stream with one
	// replica. Default: DefaultSyncInterval.
	SyncInterval time.Duration
	// SyncAlways forces every write to the disk before it is acknowledged, which
	// costs about an order of magnitude of throughput with one replica.
	SyncAlways bool
	// MaxStore limits the bytes of all file streams together. Default: three
	// quarters of what is free on the volume at start.
	MaxStore int64
	// MaxMemory limits the bytes of all memory streams together; it is a limit,
	// nothing is reserved. Default: DefaultMaxMemory.
	MaxMemory int64
	// Cluster makes the server one of several. Default: it stands alone.
	Cluster Cluster
	// Logger receives the server's log. nats-server's notices are of interest to
	// somebody who debugs it and come at level debug, its warnings and errors at
	// theirs; its own debug lines come below slog.LevelDebug. Default: warnings
	// and errors are dropped with the rest.
	Logger *slog.Logger
}

// Cluster names the servers that replicate streams among each other. All
// fields are required if one is set.
type Cluster struct {
	// Name is the same on all servers.
	Name string
	// Listen is this server's "host:port" for the other servers.
	Listen string
	// Routes are the Listen addresses of all servers of the cluster; its own may
	// be among them. Their number tells a new cluster how many votes it has.
	Routes []string
}

// ErrInUse says that another running server has the store folder.
var ErrInUse = errors.New("the folder is in use by another running server")

// Server is a running embedded server.
type Server struct {
	ns  *natsserver.Server
	log *logger

	stop    sync.Once
	stopped chan struct{} // closed when nothing is left running and the lock is free
}

// Start locks the folder, recovers the streams in it and serves. If ctx ends
// before the server is ready it is shut down and the cause is returned; after
// Start has returned, ctx means nothing to the server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	opts, err := options(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure embedded nats-server: %w", err)
	}
	if err := os.MkdirAll(cfg.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store folder of the embedded nats-server: %w", err)
	}
	lock, err := lockDir(cfg.StoreDir)
	if err != nil {
		return nil, err
	}
	ns, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("configure embedded nats-server: %w", err), lock.release())
	}
	log := newLogger(cfg.Logger)
	ns.SetLoggerV2(log, log.debugEnabled(), false, false)
	s := &Server{ns: ns, log: log, stopped: make(chan struct{})}
	// This goroutine, not the Server, holds the lock: a caller may let go of its
	// Server and keep a connection, and a collected file is a lost lock.
	go func() {
		defer close(s.stopped)
		ns.WaitForShutdown()
		if err := lock.release(); err != nil {
			log.Errorf("release the store folder: %v", err)
		}
	}()

	started := make(chan struct{})
	go func() {
		defer close(started)
		ns.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		err = fmt.Errorf("start embedded nats-server in %s: %w", cfg.StoreDir, context.Cause(ctx))
		<-started // a server that is stopped while it starts is left half stopped
	}
	if err == nil {
		err = s.awaitReady()
	}
	if err != nil {
		<-started
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Server) awaitReady() error {
	// A fatal error leaves Start early and half done; waiting would only run
	// into the time-out and hide the reason.
	if fatal := s.log.fatal(); fatal != nil {
		return fmt.Errorf("start embedded nats-server: %w", fatal)
	}
	if !s.ns.ReadyForConnections(readyTimeout) {
		if fatal := s.log.fatal(); fatal != nil {
			return fmt.Errorf("start embedded nats-server: %w", fatal)
		}
		return fmt.Errorf("embedded nats-server accepts no connections after %s", readyTimeout)
	}
	if fatal := s.log.fatal(); fatal != nil {
		return fmt.Errorf("start embedded nats-server: %w", fatal)
	}
	return nil
}

func options(cfg Config) (*natsserver.Options, error) {
	if cfg.StoreDir == "" {
		return nil, errors.New("Config.StoreDir is empty")
	}
	opts := &natsserver.Options{
		ServerName:             cfg.Name,
		DontListen:             cfg.Listen == "",
		JetStream:              true,
		StoreDir:               cfg.StoreDir,
		SyncInterval:           cfg.SyncInterval,
		SyncAlways:             cfg.SyncAlways,
		MaxPayload:             cfg.MaxPayload,
		JetStreamMaxStore:      cfg.MaxStore,
		JetStreamMaxMemory:     cfg.MaxMemory,
		DisableJetStreamBanner: true,
		NoSigs:                 true,
	}
	if opts.ServerName == "" {
		opts.ServerName = DefaultName
	}
	if opts.SyncInterval == 0 {
		opts.SyncInterval = DefaultSyncInterval
	}
	if opts.JetStreamMaxMemory == 0 {
		opts.JetStreamMaxMemory = DefaultMaxMemory
	}
	if cfg.Listen != "" {
		var err error
		if opts.Host, opts.Port, err = hostPort(cfg.Listen); err != nil {
			return nil, fmt.Errorf("Config.Listen: %w", err)
		}
	}
	c := cfg.Cluster
	if c.Name == "" && c.Listen == "" && len(c.Routes) == 0 {
		return opts, nil
	}
	if c.Name == "" || c.Listen == "" || len(c.Routes) == 0 || cfg.Name == "" {
		return nil, errors.New("a cluster needs Config.Name and all of Cluster.Name, Cluster.Listen and Cluster.Routes")
	}
	opts.Cluster.Name = c.Name
	var err error
	if opts.Cluster.Host, opts.Cluster.Port, err = hostPort(c.Listen); err != nil {
		return nil, fmt.Errorf("Cluster.Listen: %w", err)
	}
	for _, r := range c.Routes {
		if _, _, err := net.SplitHostPort(r); err != nil {
			return nil, fmt.Errorf("Cluster.Routes: %w", err)
		}
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: r})
	}
	return opts, nil
}

// hostPort splits "host:port" into what nats-server's options want: there 0
// means "the default port" and -1 a free one.
func hostPort(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q of %q is not a number up to 65535", p, addr)
	}
	if n == 0 {
		return host, natsserver.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

// Connect opens a connection to the server inside the process, without a
// socket. The options are those of any connection; the address is not one of
// them.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append([]nats.Option{nats.InProcessServer(s.ns)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded nats-server: %w", err)
	}
	return nc, nil
}

// URL is the address for clients over TCP, with the port really taken; empty
// if the server does not listen.
func (s *Server) URL() string {
	if a := s.ns.Addr(); a != nil {
		return "nats://" + a.String()
	}
	return ""
}

// InSync reports whether this server knows the leader of its cluster and has
// caught up with it. A server that stands alone is always in sync.
func (s *Server) InSync() bool {
	return !s.ns.JetStreamIsClustered() || s.ns.JetStreamIsCurrent()
}

// Peers is how many servers of the cluster are online in the eyes of this one,
// itself included, if it is the cluster's leader, and 0 if it is not: only the
// leader knows. A server that stands alone leads itself.
func (s *Server) Peers() int {
	if !s.ns.JetStreamIsClustered() {
		return 1
	}
	return len(s.ns.JetStreamClusterPeers())
}

// LeadsStream reports whether this server leads the stream of that name.
func (s *Server) LeadsStream(name string) bool {
	return s.ns.JetStreamIsStreamLeader(natsserver.DEFAULT_GLOBAL_ACCOUNT, name)
}

// Stop closes all connections, writes out the streams, and returns when nothing
// of the server is left and the folder is free. If ctx ends first it returns
// the cause; the shutdown goes on by itself and another Stop waits for it.
// Stopping twice is harmless.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() { go s.ns.Shutdown() })
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop embedded nats-server: %w", context.Cause(ctx))
	}
}

// lockName is the file in the store folder that carries the lock and the
// holder's process id. It stays when the server stops: removing it would let
// two processes lock two files of the same name.
const lockName = "holdfast.lock"

// dirLock is an exclusive lock on a folder. The operating system releases it
// when the process ends.
type dirLock struct{ f *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store folder of the embedded nats-server: %w", err)
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// The holder writes its id after it has the lock, so this may be stale or
		// empty for an instant; it is for the reader of the message only.
		holder, _ := os.ReadFile(path)
		return nil, fmt.Errorf("store folder %s (process %s): %w", dir, orUnknown(string(holder)), ErrInUse)
	}
	if err := writePID(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close())
	}
	return &dirLock{f}, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return err
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// release gives the folder back. Closing the file drops the lock.
func (l *dirLock) release() error { return l.f.Close() }

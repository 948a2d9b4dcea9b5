package natsbus

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Defaults of [Config].
const (
	DefaultPrefix   = "hf"
	DefaultShards   = 1
	DefaultReplicas = 1
	DefaultMaxBytes = 4 << 30
	DefaultAckWait  = 500 * time.Millisecond
	// MaxShards bounds Config.Shards: each is a stream and, on a cluster, a Raft
	// group.
	MaxShards = 256
)

// The rest is the same in every deployment. The bytes are upper limits: servers
// reserve them, so a small MaxBytes makes them smaller too.
const (
	commandBytes = 1 << 30         // of commands nobody has accepted; more are refused
	deadBytes    = 256 << 20       // of frames that nobody could read
	markBytes    = 1 << 30         // notes of who owns what
	workerTTL    = 2 * time.Second // of a live worker's key
	workerBeat   = workerTTL / 4
	pullExpiry   = 400 * time.Millisecond // how long a frozen worker's open pull may swallow a command: less than it takes to find it frozen
)

// Config says how the streams are made. The zero value works.
type Config struct {
	// Prefix begins every subject and stream name, so that several installations
	// can share an account. Letters, digits and '-'. Default: DefaultPrefix.
	Prefix string
	// Shards is the number of streams that carry frames; a session is on the one
	// that the hash of its identity names, so it cannot change while there are
	// sessions. One stream takes in messages on one core. Default: as many as there
	// are, DefaultShards if there are none.
	Shards int
	// Replicas is the number of servers that have each stream; an acknowledged
	// frame survives the loss of fewer than half of them. Default: as the streams
	// are, DefaultReplicas if there are none.
	Replicas int
	// MaxBytes limits the frames that the bus keeps, all shards together. When it is
	// reached (the recorder is far behind) writers wait. The servers reserve it.
	// Default: as the streams are, DefaultMaxBytes if there are none.
	MaxBytes int64
	// AckWait is how long a command may stay unacknowledged by the worker that got
	// it, with no sign that it is working on it, before another one gets it too.
	// Default: DefaultAckWait.
	AckWait time.Duration
	// Logger receives what happens to the connection and the streams. Default:
	// nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.AckWait == 0 {
		c.AckWait = DefaultAckWait
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if err := holdfast.ValidateID("prefix", c.Prefix); err != nil {
		errs = append(errs, err)
	}
	if c.Shards < 0 || c.Shards > MaxShards {
		errs = append(errs, fmt.Errorf("%d shards: 1 to %d are possible", c.Shards, MaxShards))
	}
	if c.Replicas < 0 || c.Replicas > 5 {
		errs = append(errs, fmt.Errorf("%d replicas: 1 to 5 are possible", c.Replicas))
	}
	if c.MaxBytes < 0 || c.AckWait < 0 {
		errs = append(errs, errors.New("a limit is negative"))
	}
	return c, errors.Join(errs...)
}

// names spells subjects and streams.
type names struct {
	prefix string
	shards int
}

// shard is where a session's frames are. It may never change: frames of
// sessions that exist would not be found.
func (n names) shard(s holdfast.SessionRef) int {
	if n.shards == 1 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(s.Tenant))
	h.Write([]byte{'/'})
	h.Write([]byte(s.Session))
	return int(h.Sum64() % uint64(n.shards))
}

func (n names) eventStream(shard int) string { return n.prefix + "-events-" + strconv.Itoa(shard) }
func (n names) commandStream() string        { return n.prefix + "-commands" }
func (n names) workerStream() string         { return n.prefix + "-workers" }
func (n names) markStream() string           { return n.prefix + "-marks" }
func (n names) deadStream() string           { return n.prefix + "-dead" }

func (n names) frame(s holdfast.SessionRef) string {
	return n.prefix + ".e." + strconv.Itoa(n.shard(s)) + "." + s.Tenant + "." + s.Session
}

func (n names) live(s holdfast.SessionRef) string {
	return n.prefix + ".live." + s.Tenant + "." + s.Session
}

func (n names) command(s holdfast.SessionRef) string {
	return n.prefix + ".c." + s.Tenant + "." + s.Session
}

func (n names) own(s holdfast.SessionRef) string {
	return n.prefix + ".own." + s.Tenant + "." + s.Session
}

func (n names) ping(worker string) string   { return n.prefix + ".ping." + worker }
func (n names) worker(worker string) string { return n.prefix + ".w." + worker }
func (n names) marks(worker string) string  { return n.prefix + ".m." + worker + ".*.*" }
func (n names) dead(shard int) string       { return n.prefix + ".dead." + strconv.Itoa(shard) }

// markNote says that there may be marks of the worker. No tenant is called "$".
func (n names) markNote(worker string) string { return n.prefix + ".m." + worker + ".$.$" }

func (n names) mark(worker string, s holdfast.SessionRef) string {
	return n.prefix + ".m." + worker + "." + s.Tenant + "." + s.Session
}

// lastTwo reads the session out of a subject that ends in tenant and session.
func lastTwo(subject string) (holdfast.SessionRef, bool) {
	i := strings.LastIndexByte(subject, '.')
	if i < 0 {
		return holdfast.SessionRef{}, false
	}
	j := strings.LastIndexByte(subject[:i], '.')
	if j < 0 || i-j < 2 || len(subject)-i < 2 {
		return holdfast.SessionRef{}, false
	}
	return holdfast.SessionRef{Tenant: subject[j+1 : i], Session: subject[i+1:]}, true
}

package natsbus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// metaShards is the stream metadata that says how many shards there are.
const metaShards = "holdfast.shards"

const (
	workersConsumer = "workers"
	// noDuplicates is the smallest window that a server takes; nothing here uses
	// message ids, and an empty window costs nothing.
	noDuplicates  = 100 * time.Millisecond
	setupTimeout  = 5 * time.Second // of one request to make or read a stream
	setupInterval = 500 * time.Millisecond
)

// setup makes what is missing and refuses what does not fit. While JetStream
// does not answer it says so and tries again until ctx ends.
func (b *Bus) setup(ctx context.Context, cfg Config) error {
	for said := false; ; {
		err := b.setupOnce(ctx, cfg)
		if err == nil || ctx.Err() == nil && !notReady(err) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("make the streams: %w (%w)", context.Cause(ctx), err)
		}
		if !said {
			b.log.Warn("JetStream does not answer yet, still trying", "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(setupInterval):
		}
	}
}

// notReady reports whether an error of the management API goes away by itself.
func notReady(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		// 503 is also the code of "not enabled", which a server being started sends
		// too; but then nobody would ever see the reason: the log has it.
		return api.Code == 503
	}
	for _, known := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse,
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrDisconnected,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func (b *Bus) setupOnce(ctx context.Context, cfg Config) error {
	have, err := b.existing(ctx)
	if err != nil {
		return err
	}
	b.names.shards = cfg.Shards
	if have.shards != 0 {
		if cfg.Shards != 0 && cfg.Shards != have.shards {
			return fmt.Errorf("the event streams of prefix %q were made with %d shards, the configuration says %d: "+
				"sessions would not be found; configure %d, or another prefix", cfg.Prefix, have.shards, cfg.Shards, have.shards)
		}
		b.names.shards = have.shards
	}
	if b.names.shards == 0 {
		b.names.shards = DefaultShards
	}
	for _, want := range b.streams(cfg, have) {
		if err := b.ensureStream(ctx, cfg, want); err != nil {
			return err
		}
	}
	return b.ensureConsumer(ctx, cfg)
}

// existing is what the first event stream says of the installation.
type existing struct {
	shards, replicas int
	maxBytes         int64
}

func (b *Bus) existing(ctx context.Context) (existing, error) {
	info, err := b.streamInfo(ctx, b.names.eventStream(0))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return existing{}, nil
	}
	if err != nil {
		return existing{}, err
	}
	c := info.Config
	have := existing{replicas: c.Replicas}
	have.shards, err = strconv.Atoi(c.Metadata[metaShards])
	if err != nil || have.shards < 1 || have.shards > MaxShards {
		return existing{}, fmt.Errorf("stream %s was not made by this program (no metadata %s): use another prefix", c.Name, metaShards)
	}
	have.maxBytes = c.MaxBytes * int64(have.shards)
	return have, nil
}

func (b *Bus) streamInfo(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return s.CachedInfo(), nil
}

// streams are all streams as a new installation has them.
func (b *Bus) streams(cfg Config, have existing) []jetstream.StreamConfig {
	n := b.names
	replicas := firstPositive(cfg.Replicas, have.replicas, DefaultReplicas)
	maxBytes := firstPositive(cfg.MaxBytes, have.maxBytes, DefaultMaxBytes)
	// DenyDelete and DenyPurge stay off: the recorder purges behind its cursor.
	base := jetstream.StreamConfig{
		Storage: jetstream.FileStorage, Replicas: replicas, Discard: jetstream.DiscardNew,
		Retention: jetstream.LimitsPolicy, Duplicates: noDuplicates,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
	}
	var all []jetstream.StreamConfig
	for i := range n.shards {
		s := base
		s.Name = n.eventStream(i)
		s.Description = "Holdfast: frames of sessions"
		from := n.prefix + ".e." + strconv.Itoa(i) + ".*.*"
		s.Subjects = []string{from}
		s.MaxBytes = maxBytes / int64(n.shards)
		s.RePublish = &jetstream.RePublish{Source: from, Destination: n.prefix + ".live.{{wildcard(1)}}.{{wildcard(2)}}"}
		s.Metadata = map[string]string{metaShards: strconv.Itoa(n.shards)}
		all = append(all, s)
	}
	commands := base
	commands.Name, commands.Description = n.commandStream(), "Holdfast: commands to sessions"
	commands.Subjects = []string{n.prefix + ".c.*.*"}
	commands.Retention, commands.MaxBytes = jetstream.WorkQueuePolicy, min(commandBytes, maxBytes/4)

	workers := base
	workers.Name, workers.Description = n.workerStream(), "Holdfast: keys of live workers"
	workers.Subjects = []string{n.prefix + ".w.*"}
	workers.Storage, workers.Discard = jetstream.MemoryStorage, jetstream.DiscardOld
	workers.MaxMsgsPerSubject, workers.MaxAge = 1, workerTTL

	marks := base
	marks.Name, marks.Description = n.markStream(), "Holdfast: which worker owns which session"
	marks.Subjects = []string{n.prefix + ".m.*.*.*"}
	marks.MaxMsgsPerSubject, marks.MaxBytes, marks.Discard = 1, min(markBytes, maxBytes/4), jetstream.DiscardOld

	dead := base
	dead.Name, dead.Description = n.deadStream(), "Holdfast: what no program could read"
	dead.Subjects = []string{n.prefix + ".dead.*"}
	dead.MaxBytes = min(deadBytes, maxBytes/8)
	return append(all, commands, workers, marks, dead)
}

func firstPositive[T int | int64](values ...T) T {
	for _, v := range values {
		if v > 0 {
			return v
		}
	}
	return 0
}

// ensureStream makes a stream, or checks the one that is there. Its limits and
// replicas change only where the configuration names them, so that programs of
// different age and configuration can run side by side.
func (b *Bus) ensureStream(ctx context.Context, cfg Config, want jetstream.StreamConfig) error {
	info, err := b.streamInfo(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = b.createStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		// Another process was quicker, with other limits.
		info, err = b.streamInfo(ctx, want.Name)
	}
	if err != nil {
		return err
	}
	have := info.Config
	if diff := incompatible(want, have); diff != "" {
		return fmt.Errorf("stream %s does not fit this program: %s; use another prefix, or remove the stream if nothing in it matters", want.Name, diff)
	}
	next := have
	if cfg.Replicas > 0 {
		next.Replicas = want.Replicas
	}
	if cfg.MaxBytes > 0 && strings.HasPrefix(want.Name, b.names.prefix+"-events-") {
		next.MaxBytes = want.MaxBytes
	}
	if next.Replicas == have.Replicas && next.MaxBytes == have.MaxBytes {
		return nil
	}
	b.log.Info("changing a stream as configured", "stream", want.Name, "replicas", next.Replicas, "max_bytes", next.MaxBytes)
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	if _, err := b.js.UpdateStream(ctx, next); err != nil {
		return fmt.Errorf("change stream %s: %w", want.Name, err)
	}
	return nil
}

func (b *Bus) createStream(ctx context.Context, want jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	_, err := b.js.CreateStream(ctx, want)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeStorageResources {
		return fmt.Errorf("make stream %s: the NATS server has no room for %d MiB; configure less for the event streams or give the server more: %w", want.Name, want.MaxBytes>>20, err)
	}
	if err != nil {
		return fmt.Errorf("make stream %s: %w", want.Name, err)
	}
	return nil
}

// incompatible says in words what cannot be bridged, "" if nothing.
func incompatible(want, have jetstream.StreamConfig) string {
	var diffs []string
	check := func(ok bool, what string, want, have any) {
		if !ok {
			diffs = append(diffs, fmt.Sprintf("%s is %v, not %v", what, have, want))
		}
	}
	check(slices.Equal(want.Subjects, have.Subjects), "subjects", want.Subjects, have.Subjects)
	check(want.Retention == have.Retention, "retention", want.Retention, have.Retention)
	check(want.Storage == have.Storage, "storage", want.Storage, have.Storage)
	check(want.Discard == have.Discard, "discard", want.Discard, have.Discard)
	check(want.MaxAge == have.MaxAge, "max age", want.MaxAge, have.MaxAge)
	check(want.MaxMsgsPerSubject == have.MaxMsgsPerSubject, "messages per subject", want.MaxMsgsPerSubject, have.MaxMsgsPerSubject)
	check(!have.AllowDirect, "direct reading from replicas", false, have.AllowDirect)
	check((want.RePublish == nil) == (have.RePublish == nil) && (want.RePublish == nil || *want.RePublish == *have.RePublish),
		"republish", want.RePublish, have.RePublish)
	for _, k := range slices.Sorted(maps.Keys(want.Metadata)) {
		check(want.Metadata[k] == have.Metadata[k], "metadata "+k, want.Metadata[k], have.Metadata[k])
	}
	return strings.Join(diffs, "; ")
}

// ensureConsumer makes the consumer through which all workers get commands.
func (b *Bus) ensureConsumer(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	_, err := b.js.CreateOrUpdateConsumer(ctx, b.names.commandStream(), jetstream.ConsumerConfig{
		Durable:       workersConsumer,
		Description:   "Holdfast: deliveries of commands to workers",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       cfg.AckWait,
		MaxAckPending: 1 << 20,
		MaxDeliver:    -1,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxWaiting:    1 << 12,
	})
	if err != nil {
		return fmt.Errorf("make the consumer of commands: %w", err)
	}
	return nil
}

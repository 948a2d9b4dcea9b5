// Package natsbus is the bus on NATS JetStream: the log's hot end, commands,
// the liveness of workers, and what a recorder reads. It is the only place that
// spells a subject or configures a stream.
//
//	subject                          stream            what
//	hf.e.<shard>.<tenant>.<session>  hf-events-<shard> frames; full means refused, never dropped
//	hf.live.<tenant>.<session>       (republished)     frames after they are stored
//	hf.c.<tenant>.<session>          hf-commands       commands, until they are acknowledged
//	hf.own.<tenant>.<session>        (core)            the session's owner takes commands here
//	hf.ping.<worker>                 (core)            a worker answers that it lives
//	hf.w.<worker>                    hf-workers        keys of live workers, time to live two seconds
//	hf.m.<worker>.<tenant>.<session> hf-marks          who owns what, as far as noted
//	hf.dead.<shard>                  hf-dead           frames that no program could read
//
// It promises what [events.Bus], worker.Bus, worker.Registry and
// recorder.Source ask for, and beside that:
//
//   - Whatever waits for an answer of the server is told at once when the
//     connection is lost: its outcome is unknown, and asking again settles it.
//   - Nothing is buffered while there is no connection. What could not be handed
//     to a server fails at once and is known not to have happened.
//   - A command that was delivered to a process which does not acknowledge it in
//     Config.AckWait is delivered again.
//
// All methods of [Bus] are safe for concurrent use.
package natsbus

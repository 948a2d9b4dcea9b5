// Package agent reads agent files: a team of agents, their models and their
// toolsets, written in the YAML of cagent. Every schema version is upgraded,
// step by step, into one model, [Team].
//
// [Parse] promises:
//
//   - nothing of a file is dropped in silence. A key is either in the [Team] or
//     the file is refused and the key named: as unknown (with the nearest known
//     key), or as known and not offered in this deployment;
//   - all problems of a file are reported together, each with line and column
//     ([FileError]);
//   - it reads nothing but the bytes that it was given: no environment variable,
//     no other file, no network. References such as ${env.NAME} stay as written
//     and are expanded, if at all, where the value is used;
//   - it never panics, whatever the bytes, and its memory is bounded by
//     [MaxSource] and by a limit on what aliases may expand to.
//
// A [Team] is not changed after Parse and may be read by any number of
// goroutines.
//
// Sub-agents may form cycles in a file (root lists helper, helper lists root):
// that is a legal team. The runtime refuses a transfer that would nest an agent
// in itself.
//
// A [Source] holds agent files: [Dir] a folder, [Builtin] files that are part of
// the program, [Sources] several of them one after the other.
//
// The keys of a file are the json tags of the structs in this package, with
// their documentation in the doc tag. The decoder, the JSON view of a team and
// the JSON schema for editors ([JSONSchema]) are all derived from these tags, so
// they cannot disagree.
package agent

// Package testenv gives tests the real things: Postgres, nats-server, and the
// programs of this module as processes that can be killed. What is missing is
// found, installed or built; what cannot be had fails the test with one line
// that says what to do. Nothing here ever skips a test.
//
//   - [Postgres] makes an empty database in about 0.1 s, on a server that the
//     test binary starts for itself once. [NewPostgres] starts a server of the
//     test's own, to be stopped, killed and paused.
//   - [NATS] embeds a server in the test, [NewNATSProcess] runs the real program
//     as a process to be stopped, killed and paused.
//   - [Build] compiles a program of this module once per test binary, [Start]
//     runs it and captures its output.
//
// Promises: everything ends with the test that started it, except the shared
// Postgres, which ends with the test binary. Both hold when a test panics and,
// on Linux, when the binary is killed with SIGKILL: the kernel ends the child
// processes, and a watchdog process removes the files. Test binaries that run
// at the same time do not share anything but caches of built programs.
//
// Functions that take a testing.TB fail it with Fatalf and are therefore for
// the test's goroutine, unless their comment says otherwise.
package testenv

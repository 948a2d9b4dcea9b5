package testenv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports for servers that must come back on the same one are taken from below
// the range that the system hands out for outgoing connections, so that nobody
// gets the port by accident while its server is down.
const (
	firstPort = 20000
	lastPort  = 31999
)

// freePort finds a loopback port that nobody listens on at the moment.
func freePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		return port, nil
	}
	return 0, errors.New("find a free port: a hundred are taken")
}

// Port is a loopback port that nobody listens on at the moment, for a server
// whose address has to be known before it runs, or that comes back on the same
// one. A port that the system gave to a listener on port 0 will not do: once that
// is closed, the next outgoing connection of anybody may get it.
func Port(t testing.TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return port
}

package testenv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
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

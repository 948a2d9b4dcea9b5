package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// TestSlowReaders is the short form of TestChaosSlowReaders.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	slowReaders(t, 100, 1, false)
}

// slowReaders lets so many clients ask for a session and not read what they get.
// Runs of the session go on beside them, and a client that reads has every event;
// with cut, the test waits until the API has cut the connections of all slow ones.
func slowReaders(t *testing.T, readers, runs int, cut bool) {
	const words = 150
	c := newCluster(t, setup{workers: 1, files: map[string]string{
		"talker.yaml": talker(words, 10*time.Millisecond),
		// Much text at once: more than the connection of a slow reader holds.
		"long.yaml": talker(20_000, 0),
	}})
	cl := c.client()
	rec := newSession(t, cl, client.NewSession{Title: "slow readers", ToolsApproved: true})
	if _, reason := rec.awaitRun(say(t, cl, rec.session, "long", "fill the connections")); reason != "stop" {
		t.Fatalf("the first run ended with %q", reason)
	}
	timed := func() (took distribution) {
		for range runs {
			began := time.Now()
			run := say(t, cl, rec.session, "talker", "go on")
			end, reason := rec.awaitRun(run)
			if got := text(rec.entries(), run); reason != "stop" || got != numbered(words) {
				t.Errorf("the run ended with %q and the text %q", reason, got)
			}
			took = append(took, end.at.Sub(began))
		}
		return took
	}
	alone := timed()

	conns := make([]net.Conn, readers)
	var opening sync.WaitGroup
	gate := make(chan struct{}, 32)
	for i := range conns {
		gate <- struct{}{}
		opening.Go(func() {
			defer func() { <-gate }()
			var err error
			if conns[i], err = slowReader(t.Context(), c.apis[0].address, rec.session); err != nil {
				t.Errorf("a slow reader: %v", err)
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		return
	}
	beside := timed()
	t.Logf("%d slow readers: a run takes %s beside them, without them %s", readers, beside, alone)
	rec.await("the session is parked", rec.entries()[len(rec.entries())-1].Seq-1, func(e received) bool {
		return e.Event.EventType() == holdfast.TypeSessionParked
	})
	log := c.log()
	log.sameAsLog(rec, log.session(rec.session))

	opened := time.Now()
	if cut {
		await(t, "the slow readers are cut", func() bool {
			return strings.Count(c.apis[0].output(), "cut a client that does not take its stream") == readers
		})
	}
	whole := 0
	for _, conn := range conns {
		// What the kernel holds is still there; if the API has cut the connection, the
		// end of the log is not.
		n, err := readSlow(conn, cut)
		if cut && err == nil {
			whole++
		}
		if n == 0 {
			t.Errorf("a slow reader got nothing: %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if cut {
		t.Logf("all were cut after %s", time.Since(opened).Round(time.Second))
	}
	if whole > 0 {
		t.Errorf("%d of %d slow readers were not cut", whole, readers)
	}
}

// slowReader asks for a session's events and reads nothing but the status. Its
// connection holds little, like one over a network and unlike one within a
// machine.
func slowReader(ctx context.Context, address, session string) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var serr error
		err := raw.Control(func(fd uintptr) {
			serr = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400),
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096))
		})
		return errors.Join(err, serr)
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET /v1/sessions/%s/events HTTP/1.1\r\nHost: slow\r\n\r\n", session); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
	if err != nil || !strings.Contains(line, "200") {
		return nil, errors.Join(fmt.Errorf("the answer is %q: %w", line, err), conn.Close())
	}
	return conn, nil
}

// readSlow reads what is there: to the end of the connection, or one piece.
func readSlow(conn net.Conn, toEnd bool) (n int64, err error) {
	if !toEnd {
		got, err := conn.Read(make([]byte, 1<<10))
		return int64(got), err
	}
	if err := conn.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
		return 0, err
	}
	n, err = io.Copy(io.Discard, conn)
	if err == nil {
		err = io.EOF // closed
	}
	if errors.Is(err, syscall.EAGAIN) || isTimeout(err) {
		return n, nil // it lives
	}
	return n, err
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

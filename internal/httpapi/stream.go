package httpapi

import (
	"net/http"
	"time"
)

// wire writes a stream to one client. Every write has a deadline; a client that
// does not take it in time is cut.
type wire struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	timeout   time.Duration
	heartbeat time.Duration
	// beatText is what keeps the connection alive.
	beatText []byte
	dirty    bool
	last     time.Time // of the last flush
	set      time.Time // when the deadline was set
	past     *direct   // the way past net/http, nil if there is none
}

// startWire begins the answer. From here on errors can no longer have a status.
func (a *API) startWire(w http.ResponseWriter, contentType string, beat string) (*wire, error) {
	s := &wire{
		w: w, rc: http.NewResponseController(w), timeout: a.cfg.WriteTimeout,
		heartbeat: a.cfg.Heartbeat, beatText: []byte(beat), last: time.Now(),
	}
	// A reading deadline would end the request's context in the middle of the stream.
	if err := s.rc.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies of the nginx family hold back otherwise
	if err := s.deadline(); err != nil {
		return nil, err
	}
	w.WriteHeader(http.StatusOK)
	return s, s.rc.Flush()
}

// deadline gives the client time from now on. It is renewed while the client
// takes what it is sent, however long that is in all.
func (s *wire) deadline() error {
	now := time.Now()
	if now.Sub(s.set) < s.timeout/10 {
		return nil
	}
	s.set = now
	return s.rc.SetWriteDeadline(now.Add(s.timeout))
}

// write takes bytes for the next flush; when the server's buffer is full they go
// out at once.
func (s *wire) write(p []byte) error {
	if err := s.deadline(); err != nil {
		return err
	}
	s.dirty = true
	_, err := s.w.Write(p)
	return err
}

// flush implements sink.
func (s *wire) flush() error {
	if !s.dirty {
		return nil
	}
	s.dirty, s.last = false, time.Now()
	if err := s.deadline(); err != nil {
		return err
	}
	return s.rc.Flush()
}

// lift implements directSink.
func (s *wire) lift() error {
	if s.set.IsZero() {
		return nil
	}
	s.set = time.Time{}
	return s.rc.SetWriteDeadline(time.Time{})
}

// settle implements directSink.
func (s *wire) settle(rest []byte, last time.Time) error {
	if !last.IsZero() {
		s.last = last
	}
	if len(rest) == 0 {
		return nil
	}
	err := s.past.finish(rest, s.timeout)
	s.set, s.last = time.Now(), time.Now()
	return err
}

// beat implements sink.
func (s *wire) beat() error {
	if err := s.write(s.beatText); err != nil {
		return err
	}
	return s.flush()
}

// pause implements sink. Events that the sink leaves out do not postpone the
// heartbeat.
func (s *wire) pause() time.Duration { return max(0, s.heartbeat-time.Since(s.last)) }

// Content types of streams, and what keeps each alive.
const (
	typeSSE    = "text/event-stream"
	typeNDJSON = "application/x-ndjson"
	beatSSE    = ": alive\n\n"
	beatNDJSON = "\n"
)

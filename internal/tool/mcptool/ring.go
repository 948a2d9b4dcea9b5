package mcptool

import (
	"strings"
	"sync"
)

// ringSize is how much of a server's standard error is kept.
const ringSize = 64 << 10

// ring keeps the last ringSize bytes that were written to it. It may be written
// and read at the same time.
type ring struct {
	mu  sync.Mutex
	buf []byte // grows up to ringSize, then wraps at pos
	pos int
}

// Write implements io.Writer; it never fails.
func (r *ring) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > ringSize {
		p = p[len(p)-ringSize:]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if free := ringSize - len(r.buf); free > 0 {
		k := min(free, len(p))
		r.buf = append(r.buf, p[:k]...)
		p = p[k:]
	}
	for len(p) > 0 {
		k := copy(r.buf[r.pos:], p)
		r.pos = (r.pos + k) % ringSize
		p = p[k:]
	}
	return n, nil
}

// String returns what is kept, oldest first, as valid UTF-8.
func (r *ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.ToValidUTF8(string(r.buf[r.pos:])+string(r.buf[:r.pos]), "\uFFFD")
}

// tail returns the last lines, at most limit bytes, on one line.
func (r *ring) tail(limit int) string {
	s := strings.TrimSpace(r.String())
	if len(s) > limit {
		s = s[len(s)-limit:]
		if _, rest, ok := strings.Cut(s, "\n"); ok {
			s = rest
		}
		s = "… " + strings.ToValidUTF8(s, "")
	}
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " | ")
}

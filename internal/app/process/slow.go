package process

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// bodyTime is how long a request's body may take to arrive. What reads longer
// ones, such as an import, gives each piece a time of its own.
const bodyTime = time.Minute

// timedBodies cuts clients that begin a body and do not go on, also before anybody
// knows who they are: the server itself reads what a handler leaves. The deadline
// is lifted at the body's end, for one that passes later ends the request.
func timedBodies(next http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			rc := http.NewResponseController(w)
			if err := rc.SetReadDeadline(time.Now().Add(limit)); err != nil {
				panic(http.ErrAbortHandler) // the connection is gone
			}
			// In a copy: by the type of the body that it made itself the server sees
			// whether a connection whose body was not read to its end must be closed.
			timed := *r
			timed.Body = &timedBody{r.Body, rc}
			r = &timed
		}
		next.ServeHTTP(w, r)
	})
}

type timedBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		if lerr := b.rc.SetReadDeadline(time.Time{}); lerr != nil {
			return n, lerr
		}
	}
	return n, err
}

package httpapi

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// OpenAI's SDKs repeat a request by themselves when they lose its connection or
// lose their patience, and some send no Idempotency-Key with it (the one for
// JavaScript sends none whatever its option idempotencyKey says). They count:
// X-Stainless-Retry-Count is 0 in the first try. So a request without a key gets
// one of ours, which is remembered if nobody was there any more to take the
// answer; a retry that says the same then finds the run, if it comes to the same
// process. What must hold in any process needs a key of the client's.

// retryHeader counts the tries of a request.
const retryHeader = "X-Stainless-Retry-Count"

// A retry comes at most retryFor after its try; at most maxRetries are expected. That
// a client has gone may be seen later than its retry is: so long, at most, a retry
// waits for the end of what may be its try.
const (
	retryFor   = 15 * time.Minute
	maxRetries = 1000
	retryWait  = 5 * time.Second
)

// retries are the keys of requests whose clients have gone.
type retries struct {
	mu   sync.Mutex // guards what follows
	gone []goneTry
	// live counts the requests that are being answered; over is closed when one ends.
	live map[[sha256.Size]byte]int
	over chan struct{}
}

type goneTry struct {
	request [sha256.Size]byte
	key     string
	at      time.Time
}

// keyOf returns the Idempotency-Key of a request, and whether it is one of ours that
// no request has had before. done is to be called when the request is over.
func (t *retries) keyOf(r *http.Request, body []byte) (key string, fresh bool, done func()) {
	key = r.Header.Get("Idempotency-Key")
	try, err := strconv.Atoi(r.Header.Get(retryHeader))
	if key != "" || err != nil {
		return key, false, func() {}
	}
	ctx := r.Context()
	h := sha256.New()
	for _, s := range []string{tenantOf(ctx), r.URL.Path, r.Header.Get(sessionHeader), string(body)} {
		_, _ = h.Write([]byte(strconv.Itoa(len(s)) + ":" + s)) // it never fails
	}
	request := [sha256.Size]byte(h.Sum(nil))
	if try > 0 {
		key = t.take(ctx, request)
	}
	if key == "" {
		key, fresh = "try:"+holdfast.NewID(), true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live, t.over = map[[sha256.Size]byte]int{}, make(chan struct{})
	}
	t.live[request]++
	return key, fresh, func() { t.end(goneTry{request, key, time.Now()}, ctx.Err() != nil) }
}

// take returns the key of a try that nobody waits for, "" if there is none.
func (t *retries) take(ctx context.Context, request [sha256.Size]byte) string {
	late := time.NewTimer(retryWait)
	defer late.Stop()
	for {
		t.mu.Lock()
		i := slices.IndexFunc(t.gone, func(g goneTry) bool { return g.request == request && time.Since(g.at) < retryFor })
		if i >= 0 {
			key := t.gone[i].key
			t.gone = slices.Delete(t.gone, i, i+1)
			t.mu.Unlock()
			return key
		}
		live, over := t.live[request], t.over
		t.mu.Unlock()
		if live == 0 {
			return ""
		}
		select {
		case <-over:
		case <-late.C:
			return ""
		case <-ctx.Done():
			return ""
		}
	}
}

// end notes that a request is over, and whether its client had gone.
func (t *retries) end(g goneTry, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[g.request]--; t.live[g.request] == 0 {
		delete(t.live, g.request)
	}
	if gone {
		if len(t.gone) == maxRetries {
			t.gone = t.gone[1:]
		}
		t.gone = append(t.gone, g)
	}
	close(t.over)
	t.over = make(chan struct{})
}

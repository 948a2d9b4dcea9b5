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
//
// What says the same is not always the same: two users of one tenant may both begin
// with "hi". So a retry must come soon, as those of the SDKs do, from the same kind of
// client, and be the try after the one that was lost.
const (
	retryFor   = time.Minute
	maxRetries = 100 // of one tenant
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
	tenant  string
	request [sha256.Size]byte
	try     int
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
	said := []string{tenantOf(ctx), r.URL.Path, r.Header.Get(sessionHeader), r.UserAgent(), string(body)}
	for _, name := range []string{"Lang", "Package-Version", "Os", "Arch", "Runtime", "Runtime-Version"} {
		said = append(said, r.Header.Get("X-Stainless-"+name))
	}
	for _, s := range said {
		_, _ = h.Write([]byte(strconv.Itoa(len(s)) + ":" + s)) // it never fails
	}
	request := [sha256.Size]byte(h.Sum(nil))
	if try > 0 {
		key = t.take(ctx, request, try-1)
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
	return key, fresh, func() { t.end(goneTry{tenantOf(ctx), request, try, key, time.Now()}, ctx.Err() != nil) }
}

// take returns the key of a try that nobody waits for, "" if there is none.
func (t *retries) take(ctx context.Context, request [sha256.Size]byte, lost int) string {
	late := time.NewTimer(retryWait)
	defer late.Stop()
	for {
		t.mu.Lock()
		i := slices.IndexFunc(t.gone, func(g goneTry) bool { return g.request == request && g.try == lost && time.Since(g.at) < retryFor })
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
		t.gone = slices.DeleteFunc(t.gone, func(o goneTry) bool { return time.Since(o.at) >= retryFor })
		first, n := -1, 0
		for i, o := range t.gone {
			if o.tenant != g.tenant {
				continue
			}
			if n++; first < 0 {
				first = i
			}
		}
		if n >= maxRetries {
			t.gone = slices.Delete(t.gone, first, first+1)
		}
		t.gone = append(t.gone, g)
	}
	close(t.over)
	t.over = make(chan struct{})
}

package webhook

import (
	"context"
	"errors"
	"time"
)

// How many requests there are at the same time.
const (
	mostQuick  = 64  // of webhooks that are known to answer
	mostUnseen = 128 // of those of which nothing is known
	mostLate   = 128 // of those whose answer takes longer than the patience
	mostSilent = 64  // of those that did not answer
	mostMoved  = 256 // that began as one of the first two and took longer

	// ofHook is how many of one webhook that answers are taken at once; a webhook gets
	// more when all that it got are done. ofTenant is how many of one tenant are in each
	// share.
	ofHook   = 4
	ofTenant = 8

	// firstRest is how long a webhook rests after an attempt without an answer; it
	// doubles with each that follows, until longestRest.
	firstRest   = 5 * time.Second
	longestRest = time.Minute

	// remembered is after how long it is forgotten how a webhook did.
	remembered = 5 * time.Minute
)

// kind is what is known of a webhook's address, and which share it has.
type kind int

const (
	quick  kind = iota // it answered within the patience
	unseen             // nothing is known
	late               // it answered, but later
	silent             // it did not answer
	moved              // of no webhook, only of deliveries
)

// most is how many deliveries of a kind begin.
var most = [...]int{quick: mostQuick, unseen: mostUnseen, late: mostLate, silent: mostSilent}

// errCut is why a request ends before its time.
var errCut = errors.New("cut off for others")

// underWay is a delivery that is being sent.
type underWay struct {
	hook, tenant string
	share        kind
	// number says which began first.
	number int
	cut    context.CancelCauseFunc
	// late says that it took longer than the patience, isCut that it was cut off.
	late, isCut bool
}

// health is what is known of a webhook.
type health struct {
	kind   kind
	active int
	// misses counts attempts without an answer in a row. rest is until when nothing is
	// sent, zero for no rest; seen is when an attempt ended.
	misses     int
	rest, seen time.Time
}

// lanes are the deliveries under way and what is known of their webhooks.
type lanes struct {
	number int
	active map[*underWay]bool
	shares [moved + 1]struct {
		n  int
		of map[string]int // by tenant
	}
	hooks map[string]*health
}

func newLanes() lanes {
	l := lanes{active: map[*underWay]bool{}, hooks: map[string]*health{}}
	for i := range l.shares {
		l.shares[i].of = map[string]int{}
	}
	return l
}

// room says what may be taken of a kind now, false for nothing.
func (l *lanes) room(k kind, now time.Time) (s Share, ok bool) {
	s = Share{Limit: most[k] - l.shares[k].n, OfTenant: ofTenant, OfHook: 1}
	if k == quick {
		s.OfHook = ofHook
	}
	if s.Limit <= 0 {
		return s, false
	}
	for tenant, n := range l.shares[k].of {
		if n >= ofTenant {
			s.WithoutTenants = append(s.WithoutTenants, tenant)
		}
	}
	for name, h := range l.hooks {
		switch {
		case h.active == 0 && now.Sub(h.seen) > remembered && now.After(h.rest):
			delete(l.hooks, name)
		case k == unseen && (h.active > 0 || h.kind != unseen || now.Before(h.rest)):
			s.WithoutHooks = append(s.WithoutHooks, name)
		case k != unseen && h.kind == k && h.active == 0 && !now.Before(h.rest):
			s.Only = append(s.Only, name)
		}
	}
	return s, k == unseen || len(s.Only) > 0
}

// begin notes a delivery; cut ends it.
func (l *lanes) begin(k kind, hook *Hook, cut context.CancelCauseFunc) *underWay {
	l.number++
	w := &underWay{hook: hook.Name(), tenant: hook.Tenant, share: k, number: l.number, cut: cut}
	l.active[w] = true
	l.count(w, 1)
	h := l.hooks[w.hook]
	if h == nil {
		h = &health{kind: unseen}
		l.hooks[w.hook] = h
	}
	h.active++
	return w
}

func (l *lanes) count(w *underWay, by int) {
	s := &l.shares[w.share]
	s.n += by
	if s.of[w.tenant] += by; s.of[w.tenant] == 0 {
		delete(s.of, w.tenant)
	}
}

// slow notes that a delivery takes longer than the patience, and moves it where it
// holds up nobody. If there is no room, another one is cut off.
func (l *lanes) slow(w *underWay) {
	if !l.active[w] {
		return
	}
	if w.late = true; w.share != quick && w.share != unseen {
		return
	}
	l.count(w, -1)
	w.share = moved
	l.count(w, 1)
	if l.shares[moved].n > mostMoved {
		l.cutOne()
	}
}

// cutOne ends one of the moved deliveries: of the tenant that has most of them, the
// one that began first.
func (l *lanes) cutOne() {
	var worst *underWay
	for w := range l.active {
		if w.share != moved || w.isCut {
			continue
		}
		if worst == nil {
			worst = w
			continue
		}
		a, b := l.shares[moved].of[w.tenant], l.shares[moved].of[worst.tenant]
		if a > b || a == b && w.number < worst.number {
			worst = w
		}
	}
	if worst != nil {
		worst.isCut = true
		worst.cut(errCut)
	}
}

// end notes that a delivery is over, with what outcome.
func (l *lanes) end(w *underWay, o Outcome, now time.Time) {
	delete(l.active, w)
	l.count(w, -1)
	h := l.hooks[w.hook]
	h.active--
	h.seen = now
	switch {
	case o.State == "": // nothing is known
	case o.Status == 0:
		// No answer. Of several at the same time the first one counts.
		if h.kind = silent; !now.Before(h.rest) {
			h.rest = now.Add(min(firstRest<<min(h.misses, 10), longestRest))
			h.misses++
		}
	default:
		if h.kind = quick; w.late {
			h.kind = late
		}
		h.misses, h.rest = 0, o.Rest
		// The delivery waits for as long as the address asked, which its Due says. The
		// others only put off: a day of rest would outlast every redelivery and change.
		if most := now.Add(longestRest); h.rest.After(most) {
			h.rest = most
		}
	}
}

package httpapi

import (
	"container/list"
	"maps"
	"slices"
	"strings"
	"sync"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// minCached is the fewest events of a session whose document is kept: a shorter
	// log is read quicker than it is looked for.
	minCached = 64
	// maxCached and maxCachedBytes bound what is kept in a process.
	maxCached      = 256
	maxCachedBytes = 32 << 20
)

// viewCache keeps documents of sessions, so that a long log is not folded anew
// for every look at it. What is in it is never changed: who wants to go on folds
// a [View.clone]. Losing it costs time and nothing else.
type viewCache struct {
	mu    sync.Mutex
	of    map[holdfast.SessionRef]*list.Element
	order *list.List // of *cachedView, the last used in front
	bytes int
}

type cachedView struct {
	view *View
	size int
}

func newViewCache() *viewCache {
	return &viewCache{of: map[holdfast.SessionRef]*list.Element{}, order: list.New()}
}

// get returns the session's document if it is not newer than through (0: any),
// else nil.
func (c *viewCache) get(ref holdfast.SessionRef, through uint64) *View {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.of[ref]
	if e == nil {
		return nil
	}
	v := e.Value.(*cachedView).view
	if through != 0 && v.Info.Head.Seq > through {
		return nil
	}
	c.order.MoveToFront(e)
	return v
}

// put keeps a document, which nobody changes from now on, unless a newer one is
// there.
func (c *viewCache) put(v *View) {
	if v.Info.Head.Seq < minCached {
		return
	}
	size := v.size()
	if size > maxCachedBytes/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.of[v.ref]; e != nil {
		if e.Value.(*cachedView).view.Info.Head.Seq >= v.Info.Head.Seq {
			return
		}
		c.drop(e)
	}
	c.of[v.ref] = c.order.PushFront(&cachedView{v, size})
	c.bytes += size
	for c.order.Len() > maxCached || c.bytes > maxCachedBytes {
		c.drop(c.order.Back())
	}
}

// drop removes an entry; the caller holds mu.
func (c *viewCache) drop(e *list.Element) {
	v := c.order.Remove(e).(*cachedView)
	delete(c.of, v.view.ref)
	c.bytes -= v.size
}

// size is about how many bytes a document takes.
func (v *View) size() int {
	n := 1024 + 200*len(v.Messages) + 200*len(v.Runs)
	for _, m := range v.Messages {
		n += len(m.Message.Content) + len(m.Message.ReasoningContent)
		for _, c := range m.Message.ToolCalls {
			n += 100 + len(c.Function.Arguments)
		}
		for _, p := range m.Message.Parts {
			n += 100 + len(p.Text)
			if p.ImageURL != nil {
				n += len(p.ImageURL.URL)
			}
		}
	}
	for _, o := range v.open {
		n += o.text.Len() + o.reasoning.Len()
	}
	return n
}

// clone returns a copy that can be folded on. Messages that are complete are
// shared: nothing changes them any more.
func (v *View) clone() *View {
	c := *v
	c.Info.Metadata = maps.Clone(v.Info.Metadata)
	c.Messages, c.Pending, c.Runs = slices.Clone(v.Messages), slices.Clone(v.Pending), slices.Clone(v.Runs)
	c.Questions, c.Scheduled = slices.Clone(v.Questions), slices.Clone(v.Scheduled)
	c.open = make(map[string]*openCall, len(v.open))
	for who, o := range v.open {
		n := &openCall{id: o.id, file: o.file, run: o.run, calls: slices.Clone(o.calls), args: make([]*strings.Builder, len(o.args))}
		n.text.WriteString(o.text.String())
		n.reasoning.WriteString(o.reasoning.String())
		for i, b := range o.args {
			n.args[i] = new(strings.Builder)
			n.args[i].WriteString(b.String())
		}
		c.open[who] = n
	}
	return &c
}

package runtime

import (
	holdfast "github.com/holdfast-run/holdfast"
)

// Undertaker is what [Agents] implement that keep something for a session beyond the
// life of its toolsets: a process in the background.
type Undertaker interface {
	// Bury ends all that is kept for a session, which is deleted. It is called by the
	// session's last owner after its toolsets are closed, and may be called again.
	Bury(s holdfast.SessionRef)
}

// bury ends what is kept for the session if it is deleted.
func (d *drive) bury() {
	u, ok := d.e.cfg.Agents.(Undertaker)
	deleted := false
	d.locked(func() { deleted = d.s.Deleted })
	if !ok || !deleted {
		return
	}
	defer d.e.survive("end what a deleted session keeps", d.s.Ref)
	u.Bury(d.s.Ref)
}

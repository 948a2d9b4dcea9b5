package runtime

// A run keeps the version of its agent file that was pinned when it was
// accepted, although a later run of the session pins a newer one while the first
// still waits or works.

// pin notes a version of an agent file, and holds on to the one before while a
// run needs it.
func (s *State) pin(name string, p Pinned) {
	if old, ok := s.Pinned[name]; ok && old.SHA256 != p.SHA256 && s.needs(old.SHA256) {
		if s.Held == nil {
			s.Held = map[string]Pinned{}
		}
		s.Held[old.SHA256] = old
	}
	s.Pinned[name] = p
}

// needs reports whether a run that is not finished has that version.
func (s *State) needs(sha256 string) bool {
	if s.Run != nil && s.Run.File == sha256 {
		return true
	}
	for _, q := range s.Queue {
		if q.File == sha256 {
			return true
		}
	}
	return false
}

// release lets go of versions that no run needs any more.
func (s *State) release() {
	for sha := range s.Held {
		if !s.needs(sha) {
			delete(s.Held, sha)
		}
	}
	if len(s.Held) == 0 {
		s.Held = nil
	}
}

// fileOf returns the version of its agent file that a run was accepted with. A
// snapshot of an older program does not know it; then it is the newest.
func (s *State) fileOf(r *Run) (Pinned, bool) {
	if p, ok := s.Held[r.File]; ok {
		return p, true
	}
	p, ok := s.Pinned[r.Agent]
	return p, ok
}

// queuedFile is the version that a run in the queue was accepted with, that of
// its name now for one that is not there.
func (s *State) queuedFile(run, name string) string {
	for _, q := range s.Queue {
		if q.Run == run && q.File != "" {
			return q.File
		}
	}
	return s.Pinned[name].SHA256
}

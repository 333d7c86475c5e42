package certs

import "fmt"

// Reload reads the files now, and takes them if they changed and verify. The error says why they are not taken;
// what was taken before stays then. Files that did not change are no error.
func (s *Source) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(s.from.readSteady(readFile))
}

// look reads the files once, and reports whether they hold something that was neither taken nor refused yet.
func (s *Source) look() (seen contents, isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.from.read(readFile)
	if err != nil {
		return contents{}, s.refused.why != whyOf(err)
	}
	if c.equal(s.current.Load().contents) {
		return c, false
	}
	return c, s.refused.why == "" || !c.equal(s.refused.contents)
}

// poll is Reload for files that may be in the midst of being written: they are judged if they are as they were
// seen before.
func (s *Source) poll(seen contents) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.from.readSteady(readFile)
	if err != nil || c.equal(seen) {
		s.take(c, err) // logged there
	}
}

// take judges what was read; mu is held. Files that were refused are judged each time anew, because the time may
// come at which they are valid.
func (s *Source) take(c contents, err error) error {
	old := s.current.Load()
	if err == nil && c.equal(old.contents) {
		s.refused = refusedFiles{}
		return nil
	}
	var b *bundle
	if err == nil {
		b, err = s.load(c)
	}
	if err != nil {
		s.refuse(c, err)
		return fmt.Errorf("%w; the certificates that were read before stay in use", err)
	}
	b.generation = old.generation + 1
	s.current.Store(b)
	s.refused = refusedFiles{}
	s.reloads.Taken++
	close(s.updated)
	s.updated = make(chan struct{})
	s.opts.Logger.Info("certificates read again; they are used from now on", "generation", b.generation)
	return nil
}

// refuse remembers and logs what is wrong, once.
func (s *Source) refuse(c contents, err error) {
	why := whyOf(err)
	if s.refused.why == why && s.refused.contents.equal(c) {
		return
	}
	s.refused = refusedFiles{contents: c, why: why}
	s.reloads.Refused++
	s.opts.Logger.Error("certificates not taken; those that were read before stay in use", "err", err)
}

// whyOf tells causes apart. The texts of some hold the time.
func whyOf(err error) string {
	if reason := Reason(err); reason != reasonOther {
		return reason
	}
	return err.Error()
}

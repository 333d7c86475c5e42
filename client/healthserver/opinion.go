package healthserver

import (
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// This file makes one verdict of what the registry says.

// Verdicts.
const (
	verdictOn   int32 = iota
	verdictOff        // the registry has switched this process off
	verdictWait       // the registry was not heard yet, and the initial wait is not over: shown as off
)

// overlay is what is shown of a name of which the process says said. The verdict is not on.
func (s *Server) overlay(name string, said client.Status) client.Status {
	if said == client.ServiceUnknown || s.unmerged[name] || s.look() == verdictOn {
		return said
	}
	return client.NotServing
}

// look returns the verdict. Who looks while the registry was not heard starts the initial wait, so that it ends also
// if nobody calls Run.
func (s *Server) look() int32 {
	v := s.verdict.Load()
	if v == verdictWait {
		s.startWait()
	}
	return v
}

// startWait starts the initial wait, once.
func (s *Server) startWait() {
	s.waiting.Do(func() { time.AfterFunc(s.initialWait, s.endWait) })
}

// endWait ends the initial wait.
func (s *Server) endWait() {
	s.mu.Lock()
	over := !s.settled
	s.settled = true
	s.mu.Unlock()
	if over {
		s.logger.Warn("the registry was not heard within the initial wait; until it is, the process alone decides", "waited", s.initialWait)
	}
	s.judge()
}

// judge makes the verdict anew.
func (s *Server) judge() {
	switch before, now := s.newVerdict(); {
	case before == now:
	case now == verdictOff:
		s.logger.Info("the registry has switched this process off")
	case before == verdictOff:
		s.logger.Info("the registry has switched this process on")
	}
}

func (s *Server) newVerdict() (before, now int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	off, heard := s.opinions()
	if s.state != nil {
		s.state.offer(off)
	}
	s.settled = s.settled || heard
	now = verdictOn
	switch {
	case len(off) > 0:
		now = verdictOff
	case !s.settled:
		now = verdictWait
	}
	if before = s.verdict.Swap(now); before != now {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return before, now
}

// opinions says which names switch the process off, and whether all were heard.
func (s *Server) opinions() (off []offName, heard bool) {
	o := s.source.Get(s.service)
	heard = o.Heard
	if o.Off {
		off = append(off, newOffName(s.service, &o))
	}
	if s.instance == "" {
		return off, heard
	}
	by, also := s.own.Judge(s.source.Get(s.instance))
	if by != nil {
		off = append(off, newOffName(s.instance, by))
	}
	return off, heard && also
}

// changes returns the verdict, and a channel that is closed when it changes.
func (s *Server) changes() (int32, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verdict.Load(), s.changed
}

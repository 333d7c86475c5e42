package healthserver

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

// Observer is told what becomes of publishing. Its methods are called one at a time, and must not call Stop. An
// Observer that blocks delays no report, but it delays Stop, and can miss what happens meanwhile.
type Observer interface {
	// Published is called with nil when the newest report was written; with an error when it, or the lease that it
	// needs, failed or was refused. It is tried again then, after up to a minute.
	Published(err error)
	// LeaseLost is called when the registry took this process for dead. The Server reports the process anew by
	// itself.
	LeaseLost()
}

// publishInterval is the least time between two reports, so that a process whose status flaps costs the registry no
// more than others do.
const publishInterval = time.Second

// publisher reports what the process says of "".
type publisher struct {
	keepLease func(client.LeaseOptions, client.KeepOptions) (lease, error)
	terms     client.LeaseOptions
	onStop    client.OnStop
	written   chan struct{} // the registry acknowledged a report; capacity 1, so that word of it stays
}

func newPublisher(keepLease func(client.LeaseOptions, client.KeepOptions) (lease, error), p Publish) *publisher {
	return &publisher{
		keepLease: keepLease, terms: client.LeaseOptions{TTL: p.TTL, ForgetAfter: p.ForgetAfter}, onStop: p.OnStop,
		written: make(chan struct{}, 1),
	}
}

// runPublisher reports until ctx ends, and then ends the lease.
func (s *Server) runPublisher(ctx context.Context) {
	l, err := s.publish.keepLease(s.publish.terms, client.KeepOptions{
		Reason: "an instance started", OnStop: s.publish.onStop, StopReason: "the instance stopped", OnEvent: s.onLease,
	})
	if err != nil { // New has checked the terms
		s.logger.Error("nothing can be published; the registry does not know this instance", "error", err)
		return
	}
	s.report(ctx, l)
	ctx, cancel := s.closing()
	defer cancel()
	if err := l.Close(ctx); err != nil {
		s.logger.Warn("the lease could not be ended in order; it ends by its TTL", "ttl", s.publish.terms.TTL, "error", err)
	}
}

// report has l report the newest of what the process says of "", until ctx ends.
func (s *Server) report(ctx context.Context, l lease) {
	ctx, cancel := context.WithCancel(ctx)
	said := s.follow(ctx, "")
	defer said.Wait() // after cancel
	defer cancel()
	var (
		last     = client.Status(-1)
		next     time.Time // when the next one may go out
		stopping = s.stopping
		rivals   = rivals{s: s, lease: l}
	)
	for {
		opinions := s.source.Changed()
		var wait <-chan time.Time
		if st, ok := said.status(); ok {
			st = reported(st)
			lastWord := st == client.NotServing && s.stopCalled()
			rival, gone := rivals.look(lastWord)
			switch pause := time.Until(next); {
			case st == last && gone:
				rivals.rewrite()
			case st == last:
			case lastWord && rival: // another process has the instance now
			case pause > 0 && stopping != nil:
				wait = time.After(pause)
			default:
				reason := s.reasonOf(st)
				if lastWord {
					reason = "the process stops"
				}
				if err := l.Submit(client.Report{Service: s.instance, Status: st, Reason: reason}); err != nil {
					s.logger.Error("the status cannot be published", "error", err)
				}
				last, next = st, time.Now().Add(publishInterval)
			}
		}
		select {
		case <-said.changed:
		case <-opinions:
		case <-s.publish.written: // what the registry showed before may be as new
		case <-wait:
		case <-stopping: // what comes now goes out at once
			stopping = nil
		case <-ctx.Done():
			return
		}
	}
}

// Report is SetServingStatus with a reason, for a checks.Runner. The reason of "" is published with the status when
// that changes; a new reason alone is not published. At most 1 KiB of valid text: with any other the status is set,
// and the error returned.
func (s *Server) Report(service string, st client.Status, reason string) error {
	var err error
	if bad := limits.Reason(reason); bad != nil {
		reason, err = "", fmt.Errorf("healthserver: the reason %w", bad)
	}
	if service == "" {
		s.why.Store(&why{st, reason})
	}
	s.SetServingStatus(service, st)
	return err
}

// why is the reason of a status of "".
type why struct {
	status client.Status
	reason string
}

// reasonOf is the reason that goes with a status of "".
func (s *Server) reasonOf(st client.Status) string {
	if w := s.why.Load(); w != nil && reported(w.status) == st && w.reason != "" {
		return w.reason
	}
	return "the process says so"
}

// reported is what is published of a status. What is not one of a report's is no statement: UNKNOWN.
func reported(st client.Status) client.Status {
	if st == client.Serving || st == client.NotServing {
		return st
	}
	return client.Unknown
}

// onLease logs and tells what happened to the lease.
func (s *Server) onLease(e client.LeaseEvent) {
	switch e.Type {
	case client.LeaseGranted:
		s.logger.Info("publishing", "instance", s.instance, "lease", e.LeaseID)
	case client.LeaseBecameOverdue:
		s.logger.Warn("the lease was not renewed in time; the registry may take this instance for dead", "lease", e.LeaseID, "error", e.Err)
	case client.LeaseRenewedAgain:
		s.logger.Info("the lease is renewed again", "lease", e.LeaseID)
	case client.LeaseWasLost:
		s.logger.Warn("the lease was lost; this instance reports itself anew", "lease", e.LeaseID, "error", e.Err)
		if s.observer != nil {
			s.observer.LeaseLost()
		}
	case client.LeaseFailed:
		s.logger.Warn("publishing failed; it is tried again", "error", e.Err)
		if s.observer != nil {
			s.observer.Published(e.Err)
		}
	case client.LeaseReported:
		select {
		case s.publish.written <- struct{}{}:
		default:
		}
		if s.observer != nil {
			s.observer.Published(nil)
		}
	}
}

package follow

import (
	"context"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Events calls send with every event from revision from on, in order, each once: with pages that
// hold whole atomic writes (but for what is before from), and with the revision up to which all has
// been given. 0 is from now on; a revision that this node has not reached is waited for. send is
// called at once, and whenever quiet has passed without a call, with no events.
//
// It reads in the ring while it is close behind, else in the registry file, and waits without a queue of its
// own: a send that blocks holds up nobody else and keeps nothing but its page. The error is ctx's or
// send's, a *logv1.CompactedError if events are asked for that are not all kept any more, or if it
// fell behind so far, or else of the registry file.
func (f *Followers) Events(ctx context.Context, from int64, quiet time.Duration, send func(events []*logv1.Event, revision int64) error) error {
	changed, leave := f.cfg.Subscribe()
	defer leave()
	if from == 0 {
		from = f.cfg.Registry.Newest().Revision() + 1
	}
	// Also if they are still in memory: every node answers the same.
	if oldest := f.cfg.Registry.Horizon(); from < oldest {
		return &logv1.CompactedError{Asked: from, Oldest: oldest}
	}
	at := from - 1
	if err := send(nil, at); err != nil {
		return err
	}
	for {
		events, err := f.cfg.Events.EventsAfter(ctx, at, 0)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			if err := await(ctx, changed, nil, quiet, func() error { return send(nil, at) }); err != nil {
				return err
			}
			continue
		}
		at = events[len(events)-1].GetRevision()
		if err := send(events, at); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil { // send may have nothing to do with it
			return err
		}
	}
}

// await waits for changed, or complete. Every time that quiet passes meanwhile, onQuiet is called.
func await(ctx context.Context, changed, complete <-chan struct{}, quiet time.Duration, onQuiet func() error) error {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-changed:
			return ctx.Err()
		case <-complete:
			return ctx.Err()
		case <-timer.C:
			if err := onQuiet(); err != nil {
				return err
			}
			timer.Reset(quiet)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

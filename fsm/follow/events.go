package follow

import (
	"context"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Events calls send with every event from revision from on, in order, each once, and with the revision up
// to which all has been given. 0 is from now on; a revision that this node has not reached is waited for.
// send is called at once, and whenever how.Quiet has passed without a call, with no events.
//
// A page holds whole atomic writes (but for what is before from). A write that is larger than a page comes
// in parts: then the last event of the page is not the last of its write, and the revision that send is
// given stays where it was until the write is complete.
//
// It reads in memory while it is close behind, else in the registry file, and waits without a queue of its
// own: a send that blocks holds up nobody else and keeps nothing but its page. The error is ctx's or
// send's, a *logv1.CompactedError if events are asked for that are not all kept any more, or if it
// fell behind so far, or else of the registry file.
func (f *Followers) Events(ctx context.Context, from int64, how logv1.Following, send func(events []*logv1.Event, revision int64) error) error {
	changed, leave := f.cfg.Subscribe()
	defer leave()
	if from == 0 {
		from = f.cfg.Registry.Newest().Revision() + 1
	}
	// Also if they are still in memory: every node answers the same.
	if oldest := f.cfg.Registry.Horizon(); from < oldest {
		return &logv1.CompactedError{Asked: from, Oldest: oldest}
	}
	at := from - 1 // all up to here was given
	cursor := at   // ahead of at within an atomic write that comes in parts
	if err := send(nil, at); err != nil {
		return err
	}
	for {
		events, err := f.cfg.Events.EventsAfter(ctx, cursor, 0, f.page(how))
		if err != nil {
			return err
		}
		if len(events) == 0 {
			idle(how)
			if err := await(ctx, changed, nil, how.Quiet, func() error { return send(nil, at) }); err != nil {
				return err
			}
			continue
		}
		last := events[len(events)-1]
		cursor = last.GetRevision()
		if cursor == last.GetCommitRevision() {
			at = cursor
		}
		if err := send(events, at); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil { // send may have nothing to do with it
			return err
		}
	}
}

// await waits for changed, or complete. Every time that quiet passes meanwhile, onQuiet is called; 0: never.
func await(ctx context.Context, changed, complete <-chan struct{}, quiet time.Duration, onQuiet func() error) error {
	var passed <-chan time.Time
	timer := &time.Timer{}
	if quiet > 0 {
		timer = time.NewTimer(quiet)
		passed = timer.C
		defer timer.Stop()
	}
	for {
		select {
		case <-changed:
			return ctx.Err()
		case <-complete:
			return ctx.Err()
		case <-passed:
			if err := onQuiet(); err != nil {
				return err
			}
			timer.Reset(quiet)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package forward

import (
	"context"
	"errors"
	"time"
)

// leadership is what of Agreement tells who leads.
type leadership interface {
	Leader() (name string, leading bool)
	Changed() <-chan struct{}
}

// supersededGrace is how long the answers of a leader are still waited for when another one is known. One that handed
// over answers within that time. One that hangs, or is cut off, never does: without an end its callers would wait as
// long as they can, although a leader would take the same request at once.
const supersededGrace = 50 * time.Millisecond

var errSuperseded = errors.New("another member leads now")

// watchLeader calls giveUp once another member than the given one has led for supersededGrace. Nobody being known to
// lead is not enough: the member may be found again.
func watchLeader(ctx context.Context, l leadership, member string, giveUp func()) {
	var until time.Time // zero: no other leads
	for {
		changed := l.Changed() // before Leader, so that no change is missed
		leader, _ := l.Leader()
		var grace <-chan time.Time
		switch {
		case leader == "" || leader == member:
			until = time.Time{}
		case until.IsZero():
			until = time.Now().Add(supersededGrace)
			fallthrough
		default:
			left := time.Until(until)
			if left <= 0 {
				giveUp()
				return
			}
			grace = time.After(left)
		}
		select {
		case <-changed:
		case <-grace:
		case <-ctx.Done():
			return
		}
	}
}

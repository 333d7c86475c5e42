package resolver

import (
	"context"

	"google.golang.org/grpc/resolver"
)

// channel is the resolver of one channel: it hands the lists of its watch over. It has a goroutine of its own, so
// that a channel whose policy is slow delays no other.
type channel struct {
	cc     resolver.ClientConn
	watch  *watch
	leave  func() // tells the builder that the watch is not needed any more
	cancel context.CancelFunc
	done   chan struct{}
}

func (c *channel) run(ctx context.Context) {
	defer close(c.done)
	var given *list
	for {
		l, changed := c.watch.get()
		if l != given && l != nil {
			c.give(l, given)
			given = l
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// give hands a list over, unless the channel has the same already. What UpdateState returns asks for another list,
// which comes by itself when there is one.
func (c *channel) give(l, given *list) {
	switch {
	case l.err != nil:
		c.cc.ReportError(l.err)
	case given != nil && given.err == nil && sameAddresses(l, given):
	default:
		_ = c.cc.UpdateState(stateOf(l.addresses, false))
	}
}

// ResolveNow does nothing: the registry says by itself what changes.
func (c *channel) ResolveNow(resolver.ResolveNowOptions) {}

// Close waits for all goroutines of this channel, and for those of the watch if this is its last channel.
func (c *channel) Close() {
	c.cancel()
	<-c.done
	c.leave()
}

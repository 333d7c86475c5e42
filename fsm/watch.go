package fsm

import (
	"context"
)

// WatchStatus calls send with the current status of name at once, SERVICE_UNKNOWN if there is none,
// and then with each newest one that differs from what it sent last (P5): states in between may be
// skipped, none is repeated, none is older than the one before. It returns ctx.Err() or send's error.
// A send that blocks holds up nobody else. name may be one of the node's own.
func (f *FSM) WatchStatus(ctx context.Context, name string, send func(servingStatus) error) error {
	topic, shard := f.topics.join(name)
	defer f.topics.leave(topic, shard)
	return follow(ctx, shard.channel, func() servingStatus { return f.published.status(name) }, send)
}

// follow loads the channel before it reads: whatever is published after the reading closes what was
// loaded.
func follow(ctx context.Context, channel func() <-chan struct{}, read func() servingStatus, send func(servingStatus) error) error {
	sent := servingStatus(-1)
	for {
		changed := channel()
		if status := read(); status != sent {
			if err := send(status); err != nil {
				return err
			}
			sent = status
		}
		select {
		case <-changed:
			if err := ctx.Err(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

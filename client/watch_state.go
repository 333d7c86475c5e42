package client

import "context"

// WatchState says that a watch begins to hear a node, or hears it no more.
type WatchState struct {
	Endpoint  string // that the watch is at
	Connected bool   // the first message came; else the stream that it came on has ended
	Err       error  // why it ended; nil if the consumer left the loop, and while Connected
	// Filtered means, of a WatchServices or a WatchEvents that is Connected, that there may be more than the caller may
	// read, and than the watch gives.
	Filtered bool
}

type watchStateKey struct{}

// WithWatchState has the watches that get ctx call tell when they begin to hear a node, and again when what they
// heard it on has ended: always in turn, a node that answers nothing is not told. tell runs in the goroutine that
// ranges over the watch, before the update that the message brings is given. It must not block.
func WithWatchState(ctx context.Context, tell func(WatchState)) context.Context {
	return context.WithValue(ctx, watchStateKey{}, tell)
}

// tellConnected is called when a stream has sent its first message.
func (w *failover) tellConnected(e *endpoint, filtered bool) {
	if w.tell != nil {
		w.tell(WatchState{Endpoint: e.address, Connected: true, Filtered: filtered})
	}
}

// tellEnded is called when a stream that had sent a message has ended.
func (w *failover) tellEnded(e *endpoint, err error) {
	if w.tell != nil {
		w.tell(WatchState{Endpoint: e.address, Err: err})
	}
}

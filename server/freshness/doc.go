// Package freshness makes a read as fresh as its call asks. It reads the metadata by which a call asks for
// more than a local read, waits until this node is fresh enough, and writes the headers that say how fresh
// the answer is.
//
// What is read does not belong here, nor does the leader's part of a read index (package raftnode).
package freshness

import (
	"context"
)

// Agreement is what of the server's Agreement tells of leaders.
type Agreement interface {
	// ReadIndex returns an index of the log that covers every write acknowledged before the call.
	ReadIndex(ctx context.Context) (uint64, error)
	// Leader returns the leader this node knows, "" if none, and whether it is this node and ready.
	Leader() (name string, leading bool)
	// Changed is closed at the next change of what Leader returns.
	Changed() <-chan struct{}
}

// Registry is what of the server's Registry tells how far this node is.
type Registry interface {
	ClusterID() string
	Revision() int64
	ShownRevision() int64
	WaitRevision(ctx context.Context, revision int64) error
	AppliedIndex() uint64
	WaitIndex(ctx context.Context, index uint64) error
}

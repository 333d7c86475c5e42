package raftnode

import (
	"errors"
	"fmt"
	"time"

	"github.com/rollcallhq/rollcall/raftnode/clock"
	"github.com/rollcallhq/rollcall/raftnode/forming"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/proposer"
	"github.com/rollcallhq/rollcall/store"
)

// ErrNotFormed means that this node belongs to no cluster yet.
var ErrNotFormed = errors.New("this node belongs to no cluster yet")

// ErrNoSuccessor means that leadership cannot be handed over: no other voter can be reached.
var ErrNoSuccessor = errors.New("transfer leadership: no other voter can be reached")

// The errors of Open, Propose and DialPeer, as their packages declare them.
var (
	ErrNotLeader  = proposer.ErrNotLeader
	ErrOverloaded = proposer.ErrOverloaded
	ErrTooLarge   = proposer.ErrTooLarge
	ErrClosed     = peerport.ErrClosed
)

// A RemovedError says that this node's data directory was removed from its cluster, for ever.
type RemovedError struct {
	Cluster   string // its id; "": not known
	Directory string // its path
	Removal   store.Removal
}

func (e *RemovedError) Error() string {
	text := "it was removed from its cluster"
	if e.Cluster != "" {
		text = "it was removed from cluster " + peerport.ShortClusterID(e.Cluster)
	}
	r := e.Removal
	if r.Actor != "" {
		text += " by " + r.Actor
	}
	if !r.Time.IsZero() {
		text += " at " + r.Time.UTC().Format(time.RFC3339)
	}
	text += fmt.Sprintf(" (revision %d", r.Revision)
	if r.Reason != "" {
		text += ", " + r.Reason
	}
	text += "), and the data directory " + e.Directory + " is never a member again; "
	if r.ReplacedBy != "" {
		return text + "the data directory that took its place begins with " + ShortDirectory(r.ReplacedBy)
	}
	return text + `to make the node a member again, start it with an empty data directory and --join, and run "rollcall member add"`
}

// ShortDirectory is how people see the id of a data directory: its first eight characters. The whole id is what members
// recognise each other by.
func ShortDirectory(id string) string { return id[:min(8, len(id))] }

type (
	NotWrittenError     = proposer.NotWrittenError
	QuotaError          = proposer.QuotaError
	UnknownOutcomeError = proposer.UnknownOutcomeError
	FormingError        = forming.Error
	RefusedError        = peerport.RefusedError
	PeerStatus          = peerport.PeerStatus
	ClockOffset         = clock.Offset
)

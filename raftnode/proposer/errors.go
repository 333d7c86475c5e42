package proposer

import (
	"errors"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

var (
	// ErrNotLeader means that this node does not lead, or does not yet: a new leader proposes only
	// after the fold has applied the start of its term.
	ErrNotLeader = errors.New("this node is not the leader")
	// ErrOverloaded means that too many commands are waiting for the log.
	ErrOverloaded = errors.New("too many commands are waiting")
	// ErrTooLarge means that a command is larger than Config.MaxCommandBytes.
	ErrTooLarge = errors.New("command is too large")
	// ErrClosed means that the node is stopping or has stopped.
	ErrClosed = peerport.ErrClosed
)

// NotWrittenError means that the command is surely not in the log and never will be: it may be
// proposed again, here or elsewhere.
type NotWrittenError struct{ Err error }

func (e NotWrittenError) Error() string    { return "not written: " + e.Err.Error() }
func (e NotWrittenError) Unwrap() error    { return e.Err }
func (e NotWrittenError) NotWritten() bool { return true }

// QuotaError means that a limit of this node does not allow a command: not now (ErrOverloaded), or never
// (ErrTooLarge).
type QuotaError struct {
	Err   error
	Limit string // what is limited
}

func (e QuotaError) Error() string { return e.Err.Error() }
func (e QuotaError) Unwrap() error { return e.Err }

// Quota names the limit.
func (e QuotaError) Quota() string { return e.Limit }

// UnknownOutcomeError means that the command may have taken effect, or still may.
type UnknownOutcomeError struct{ Err error }

func (e UnknownOutcomeError) Error() string        { return "outcome unknown: " + e.Err.Error() }
func (e UnknownOutcomeError) Unwrap() error        { return e.Err }
func (e UnknownOutcomeError) OutcomeUnknown() bool { return true }

// words are what people read instead of raft's errors.
var words = map[error]string{
	raft.ErrLeadershipLost:               "the leader lost the majority before it confirmed the change",
	raft.ErrEnqueueTimeout:               "the leader is too busy to take the change",
	raft.ErrLeadershipTransferInProgress: "the leader is handing over to another",
	raft.ErrRaftShutdown:                 "the leader is stopping",
	raft.ErrAbortedByRestore:             "the leader's registry was replaced by a snapshot",
}

// raftError is an error of raft in other words.
type raftError struct {
	text string
	err  error
}

func (e raftError) Error() string { return e.text }
func (e raftError) Unwrap() error { return e.err }

func inWords(err error) error {
	for known, text := range words {
		if errors.Is(err, known) {
			return raftError{text, err}
		}
	}
	return err
}

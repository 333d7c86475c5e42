package proposer

import (
	"errors"

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

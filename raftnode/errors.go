package raftnode

import (
	"errors"

	"github.com/rollcallhq/rollcall/raftnode/forming"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/proposer"
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

type (
	NotWrittenError     = proposer.NotWrittenError
	QuotaError          = proposer.QuotaError
	UnknownOutcomeError = proposer.UnknownOutcomeError
	FormingError        = forming.Error
	RefusedError        = peerport.RefusedError
)

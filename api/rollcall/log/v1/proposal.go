package logv1

import "sync/atomic"

// Proposal is a command on its way into the log. It is answered once: with what became of it, or because whoever
// waits gives it up. So many commands can be under way without a goroutine each.
type Proposal struct {
	Command *Command
	Waiter  Waiter

	state atomic.Uint32
}

// Waiter is told what became of a proposal.
type Waiter interface {
	// Answer is called once, by any goroutine, perhaps before the call returns that began the proposal. The answer
	// is a *Result, or has a method Proto that returns one. The error says what is known of the outcome. Answer
	// must not block.
	Answer(answer any, err error)
	// Flush is called after one or several calls of Answer, when no more follow at once. It may be called more
	// often than needed. It must not block.
	Flush()
}

// States of a proposal.
const (
	proposalUnsent = iota
	proposalSent
	proposalAnswered
)

// Send marks the proposal as sent: from now on it may take effect. It returns false if the proposal was given up,
// or was sent before. Then it must not be sent.
func (p *Proposal) Send() bool { return p.state.CompareAndSwap(proposalUnsent, proposalSent) }

// GivenUp reports whether the proposal needs no sending any more.
func (p *Proposal) GivenUp() bool { return p.state.Load() == proposalAnswered }

// Answer tells the waiter, unless the proposal was given up.
func (p *Proposal) Answer(answer any, err error) {
	if p.state.Swap(proposalAnswered) != proposalAnswered {
		p.Waiter.Answer(answer, err)
	}
}

// GiveUp ends the proposal without telling the waiter. ok is false if the waiter is or was told an answer. Else
// wasSent says whether the command may take effect all the same.
func (p *Proposal) GiveUp() (wasSent, ok bool) {
	switch p.state.Swap(proposalAnswered) {
	case proposalUnsent:
		return false, true
	case proposalSent:
		return true, true
	}
	return false, false
}

// GiveUpUnsent is GiveUp if the proposal was not sent. It returns false if it was, or is answered.
func (p *Proposal) GiveUpUnsent() bool {
	return p.state.CompareAndSwap(proposalUnsent, proposalAnswered)
}

// FlushAll flushes the waiters of proposals that were answered.
func FlushAll(proposals []*Proposal) {
	var last Waiter
	for _, p := range proposals {
		if p.Waiter != last {
			last = p.Waiter
			last.Flush()
		}
	}
}

// ResultOf returns an answer as a message; nil if it is none.
func ResultOf(answer any) *Result {
	switch answer := answer.(type) {
	case *Result:
		return answer
	case interface{ Proto() *Result }:
		return answer.Proto()
	}
	return nil
}

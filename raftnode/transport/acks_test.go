package transport

import "testing"

func TestAcks(t *testing.T) {
	a := newAcks()
	before := a.Round()
	round := a.NextRound()
	changed := a.Changed()
	a.note("n2", 3, before)
	if a.Since("n2", 3, round) {
		t.Error("an answer to a request from before the round counts")
	}
	select {
	case <-changed:
	default:
		t.Error("an answer is no change")
	}
	changed = a.Changed()
	a.note("n2", 3, a.Round())
	if !a.Since("n2", 3, round) || a.Since("n2", 4, round) || a.Since("n3", 3, round) {
		t.Error("an answer must count for its server and term")
	}
	<-changed
	a.note("n2", 3, before) // late, from another connection
	a.note("n2", 2, a.Round())
	if !a.Since("n2", 3, round) {
		t.Error("a late answer undoes a newer one")
	}
	a.note("n2", 4, before)
	if a.Since("n2", 3, round) || a.Since("n2", 4, round) {
		t.Error("an answer of an earlier term counts in a later one")
	}
}

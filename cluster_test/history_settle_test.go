package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// finish writes once more to every service, until that is acknowledged: from there on, nothing is
// left to be explained. What a lease holds is free when that has expired. Then it asks the registry's events what
// became of the calls whose outcome nobody knows, and which leases expired.
func (h *history) finish(t *testing.T, cl *client.Client, pace func()) {
	t.Helper()
	c := h.client(cl, nil, nil)
	for i := range historyServices {
		for tries := 0; c.call(input{kind: kindSet, service: i}) != acknowledged; tries++ {
			if tries > 1000 {
				t.Fatalf("history %s: no last write to %s", h.prefix, h.service(i))
			}
			pace()
		}
	}
	for tries := 0; ; tries++ {
		log, err := h.eventsOf(cl)
		if err == nil {
			h.settle(t, log)
			h.settleLeases(t, log)
			h.settleMembers(log)
			return
		}
		if tries > 200 {
			t.Fatalf("history %s: its events: %v", h.prefix, err)
		}
		pace()
	}
}

// historyLog is what the registry's events tell of a history.
type historyLog struct {
	writes   map[int][]commit // of each call that wrote, by its number: more than one if it did so more than once
	grants   map[int]string   // the lease that a call granted, by its number
	expiries []commit         // with leases, in the order of their revisions
	members  []commit         // changes of members
}

// commit is an atomic write: the revisions that it took.
type commit struct {
	first, last int64
	ended       []string // leases that expired, in that order
}

// eventsOf reads them.
func (h *history) eventsOf(cl *client.Client) (*historyLog, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ctx = client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable})
	log := &historyLog{writes: map[int][]commit{}, grants: map[int]string{}}
	first := int64(0) // of the write that is being read
	var ended []string
	for e, err := range cl.ListEvents(ctx, client.ListEventsOptions{From: h.base + 1}) {
		if err != nil {
			return nil, err
		}
		h.record.saw(e, time.Now())
		if first == 0 {
			first = e.GetRevision()
		}
		switch e.GetType() {
		case rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED, rollcallv1.EventType_EVENT_TYPE_MEMBER_REMOVED:
			if e.GetRevision() == e.GetCommitRevision() {
				log.members = append(log.members, commit{first, e.GetRevision(), nil})
				first = 0
			}
			continue
		}
		number, err := strconv.Atoi(e.GetReason())
		if expiry := e.GetActor().GetVerified(); expiry != (err != nil) {
			return nil, fmt.Errorf("who made event %v?", e)
		}
		switch e.GetType() {
		case rollcallv1.EventType_EVENT_TYPE_LEASE_GRANTED:
			log.grants[number] = e.GetLeaseId()
		case rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED:
			if !e.GetLease().GetRevoked() {
				ended = append(ended, e.GetLeaseId())
			}
		}
		if e.GetRevision() != e.GetCommitRevision() {
			continue
		}
		c := commit{first, e.GetRevision(), ended}
		first, ended = 0, nil
		if c.ended != nil {
			log.expiries = append(log.expiries, c)
		} else {
			log.writes[number] = append(log.writes[number], c)
		}
	}
	return log, nil
}

// settle gives calls of unknown outcome the one that they had: they took effect, some time after they
// began, or never will. The checker would have to try every place for each, and has no end of it with many.
func (h *history) settle(t *testing.T, log *historyLog) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = slices.DeleteFunc(h.ops, func(op porcupine.Operation) bool {
		in, out := op.Input.(input), op.Output.(output)
		return out.outcome == unknownOutcome && len(log.writes[in.number]) == 0
	})
	for i := range h.ops {
		in, out := h.ops[i].Input.(input), h.ops[i].Output.(output)
		commits := log.writes[in.number]
		if len(commits) == 1 && in.kind == kindRevoke {
			out.first = commits[0].first
			h.ops[i].Output = out
		}
		switch {
		case len(commits) > 1:
			t.Errorf("history %s: %s took effect at revisions %v", h.prefix, describe(in, out), commits)
		case out.outcome == unknownOutcome:
			h.ops[i].Output = output{revision: commits[0].last, first: commits[0].first}
			h.ops[i].Return = h.clock + 1 // at the latest
		case len(commits) == 1 && (out.outcome != acknowledged || out.revision != commits[0].last):
			t.Errorf("history %s: %s took effect at revision %d", h.prefix, describe(in, out), commits[0].last)
		case len(commits) == 0 && in.kind != kindRead && in.kind != kindKeepAlive && out.outcome == acknowledged:
			t.Errorf("history %s: %s is not among the events", h.prefix, describe(in, out))
		}
	}
}

// settleLeases makes each expiry an operation, which began some time after its leases were granted and was over
// when the first follower was given its events.
func (h *history) settleLeases(t *testing.T, log *historyLog) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for number, id := range log.grants {
		for lease, g := range h.leases.granted {
			if g.call == number {
				h.leases.granted[lease].id, h.leases.numbers[id] = id, lease+1
			}
		}
	}
	for _, c := range log.expiries {
		op := porcupine.Operation{ClientId: h.clients, Return: h.clock + 1, Output: output{first: c.first, revision: c.last}}
		h.clients++
		in := input{kind: kindExpire}
		for _, id := range c.ended {
			lease := h.leases.numbers[id]
			if lease == 0 {
				t.Errorf("history %s: lease %s, which expired, was granted by nobody", h.prefix, id)
				return
			}
			g := h.leases.granted[lease-1]
			in.endings = append(in.endings, leaseEnding{lease, g.deletes})
			op.Call = max(op.Call, g.begin)
			h.leases.expired++
		}
		if at, seen := h.leases.seen[c.last]; seen {
			op.Return = at
		}
		op.Input = in
		h.ops = append(h.ops, op)
	}
}

// settleMembers makes each change of members an operation, which was over when the first follower was given its
// events.
func (h *history) settleMembers(log *historyLog) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range log.members {
		op := porcupine.Operation{ClientId: h.clients, Return: h.clock + 1, Input: input{kind: kindMembers}, Output: output{first: c.first, revision: c.last}}
		h.clients++
		if at, seen := h.leases.seen[c.last]; seen {
			op.Return = at
		}
		h.ops = append(h.ops, op)
	}
	h.members = len(log.members)
}

package cluster_test

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// TestHistoryModel: the model allows what a registry may do, and nothing that it may not. Each
// history begins at revision 10.
func TestHistoryModel(t *testing.T) {
	number := 0
	op := func(call, end int64, in input, out output) porcupine.Operation {
		number++
		if in.number == 0 {
			in.number = number
		}
		return porcupine.Operation{Input: in, Output: out, Call: call, Return: end}
	}
	set := func(service int) input { return input{kind: kindSet, service: service} }
	cas := func(service int, expect int64) input {
		return input{kind: kindCompareAndSet, service: service, expect: expect}
	}
	batch := input{kind: kindBatch, service: 0, second: 1}
	del := input{kind: kindDelete}
	get := func(service int) input { return input{kind: kindRead, service: service} }
	ok := func(revision int64) output { return output{revision: revision} }
	at := func(revision int64) output { return output{outcome: mismatch, revision: revision} }
	nobodyKnows := output{outcome: unknownOutcome}
	grant := func(lease int) input { return input{kind: kindGrant, lease: lease} }
	leased := func(in input, lease int) input { in.lease = lease; return in }
	keepAlive := input{kind: kindKeepAlive, lease: 1}
	ending := func(kind kind, endings ...leaseEnding) input {
		return input{kind: kind, lease: endings[0].lease, endings: endings}
	}
	one, two := leaseEnding{lease: 1}, leaseEnding{lease: 2}
	took := func(first, last int64) output { return output{first: first, revision: last} }
	by := func(lease int) output { return output{outcome: held, lease: lease} }
	gone := output{outcome: lost}
	members := input{kind: kindMembers}
	const never = 1000
	for _, tc := range []struct {
		name string
		want bool
		ops  []porcupine.Operation
	}{
		{"one after the other", true, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(3, 4, get(0), at(11)), op(5, 6, batch, ok(13)), op(7, 8, get(0), at(12)),
			op(9, 10, get(1), at(13)), op(11, 12, cas(0, 12), ok(14)), op(13, 14, cas(0, 12), at(14)),
			op(15, 16, del, ok(15)), op(17, 18, get(0), at(0)), op(19, 20, del, output{outcome: missing}), op(21, 22, cas(0, 0), ok(16)),
		}},
		{"concurrent, in the order of their revisions", true, []porcupine.Operation{
			op(1, 10, set(0), ok(12)), op(2, 9, set(0), ok(11)), op(3, 8, get(0), at(0)), op(4, 7, get(0), at(11)), op(5, 6, get(1), at(0)),
		}},
		{"unknown, and done", true, []porcupine.Operation{
			op(1, never, set(0), nobodyKnows), op(3, 4, get(0), at(11)), op(5, 6, set(1), ok(12)),
		}},
		{"unknown, and done late", true, []porcupine.Operation{
			op(1, never, set(0), nobodyKnows), op(3, 4, get(0), at(0)), op(5, 6, set(1), ok(11)), op(7, 8, set(1), ok(13)), op(9, 10, get(0), at(12)),
		}},
		{"unknown, and never done", true, []porcupine.Operation{
			op(1, never, set(0), nobodyKnows), op(2, never, cas(0, 5), nobodyKnows), op(2, never, del, nobodyKnows), op(3, 4, set(0), ok(11)), op(5, 6, get(0), at(11)),
		}},
		{"one of many unknown", true, []porcupine.Operation{
			op(1, never, set(0), nobodyKnows), op(1, never, set(2), nobodyKnows), op(1, never, batch, nobodyKnows), op(1, never, set(1), nobodyKnows),
			op(3, 4, set(2), ok(12)), op(5, 6, get(0), at(0)), op(7, 8, get(1), at(11)),
		}},
		{"a lease, from its grant to its expiry", true, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(batch, 1), ok(13)), op(5, 6, set(0), by(1)), op(7, 8, keepAlive, ok(0)),
			op(9, 20, ending(kindExpire, one), took(14, 16)), op(10, 11, set(0), by(1)), op(12, 13, get(0), output{outcome: mismatch, revision: 15, writer: expiredWriter}),
			op(14, 15, keepAlive, gone), op(16, 17, leased(set(0), 1), gone), op(18, 19, set(0), ok(17)),
		}},
		{"a lease is taken over, and revoked", true, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(1, 2, grant(2), ok(12)), op(3, 4, leased(set(0), 1), ok(13)), op(5, 6, leased(set(0), 2), ok(14)),
			op(7, 8, get(0), output{outcome: mismatch, revision: 14, lease: 2}), op(9, 10, ending(kindRevoke, one), took(15, 15)),
			op(11, 12, set(0), by(2)), op(13, 14, ending(kindRevoke, leaseEnding{lease: 2, deletes: true}), took(16, 17)), op(15, 16, get(0), at(0)),
		}},
		{"two leases expire at once", true, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(1, 2, grant(2), ok(12)), op(3, 4, leased(set(0), 2), ok(13)), op(3, 4, leased(set(1), 1), ok(14)),
			op(5, 6, ending(kindExpire, two, one), took(15, 18)), op(7, 8, get(0), at(17)), op(7, 8, get(1), at(18)),
		}},
		{"a keep-alive while the lease is expiring", true, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 6, ending(kindExpire, one), took(12, 12)), op(4, 8, keepAlive, ok(0)), op(5, 9, keepAlive, gone),
		}},
		{"what is attached to a lease that is deleted holds nothing", true, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(set(0), 1), ok(12)), op(5, 6, leased(del, 1), ok(13)), op(7, 8, set(0), ok(14)),
			op(9, 10, ending(kindExpire, one), took(15, 15)), op(11, 12, get(0), at(14)),
		}},
		{"members change between two writes", true, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(0, 9, members, took(12, 13)), op(3, 4, cas(0, 11), ok(14)), op(1, never, set(1), nobodyKnows), op(5, 6, get(1), at(15)),
		}},

		{"a write takes the revision of a change of members", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(0, 9, members, took(11, 11)),
		}},
		{"members change after they have changed", false, []porcupine.Operation{
			op(0, 2, members, took(12, 12)), op(3, 4, set(0), ok(11)),
		}},
		{"a change of members undoes a write", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(0, 9, members, took(12, 12)), op(3, 4, get(0), at(0)),
		}},
		{"a write without a lease while one holds", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(set(0), 1), ok(12)), op(5, 6, set(0), ok(13)),
		}},
		{"half a batch is held", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(set(1), 1), ok(12)), op(5, 6, batch, ok(14)),
		}},
		{"held by nobody", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, set(0), ok(12)), op(5, 6, set(0), by(0)),
		}},
		{"held by another", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(set(0), 1), ok(12)), op(5, 6, set(0), by(2)),
		}},
		{"held by a lease that is gone", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(set(0), 1), ok(12)), op(5, 6, ending(kindExpire, one), took(13, 14)), op(7, 8, set(0), by(1)),
		}},
		{"a write that names a lease that is gone", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, ending(kindRevoke, one), took(12, 12)), op(5, 6, leased(set(0), 1), ok(13)),
		}},
		{"renewed after its end", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, ending(kindExpire, one), took(12, 12)), op(5, 6, keepAlive, ok(0)),
		}},
		{"lost before its end", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, keepAlive, gone), op(5, 6, ending(kindExpire, one), took(12, 12)),
		}},
		{"a write is refused as of a lost lease, which lives", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(set(0), 1), gone), op(5, 6, leased(set(0), 1), ok(12)),
		}},
		{"an expiry leaves a report behind", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(batch, 1), ok(13)), op(5, 6, ending(kindExpire, one), took(14, 15)),
		}},
		{"an expiry turns the report of another lease", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(1, 2, grant(2), ok(12)), op(3, 4, leased(set(0), 1), ok(13)), op(5, 6, leased(set(0), 2), ok(14)),
			op(7, 8, ending(kindExpire, one), took(15, 16)),
		}},
		{"a lease expires twice", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, ending(kindExpire, one), took(12, 12)), op(5, 6, ending(kindExpire, one), took(13, 13)),
		}},
		{"a read of a report whose lease was not told", false, []porcupine.Operation{
			op(1, 2, grant(1), ok(11)), op(3, 4, leased(set(0), 1), ok(12)), op(5, 6, get(0), at(12)),
		}},

		{"a stale read", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(3, 4, set(0), ok(12)), op(5, 6, get(0), at(11)),
		}},
		{"a read before the write began", false, []porcupine.Operation{
			op(1, 2, get(0), at(11)), op(3, 4, set(0), ok(11)),
		}},
		{"reads that go back", false, []porcupine.Operation{
			op(1, 10, set(0), ok(11)), op(2, 3, get(0), at(11)), op(4, 5, get(0), at(0)),
		}},
		{"a read of somebody else's report", false, []porcupine.Operation{
			op(1, 2, input{kind: kindSet, number: 71}, ok(11)), op(3, 4, get(0), output{outcome: mismatch, revision: 11, writer: 72}),
		}},
		{"a lost write", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(3, 4, get(0), at(0)),
		}},
		{"a revision twice", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(1, 2, set(1), ok(11)),
		}},
		{"a revision that nobody wrote", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(3, 4, set(0), ok(13)),
		}},
		{"revisions against the order of time", false, []porcupine.Operation{
			op(1, 2, set(0), ok(12)), op(3, 4, set(1), ok(11)),
		}},
		{"two compare-and-sets of one revision", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(3, 6, cas(0, 11), ok(12)), op(4, 5, cas(0, 11), ok(13)),
		}},
		{"a mismatch that is none", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(3, 4, cas(0, 11), at(11)),
		}},
		{"half a batch", false, []porcupine.Operation{
			op(1, 8, batch, ok(12)), op(2, 3, get(0), at(11)), op(4, 5, get(1), at(0)),
		}},
		{"a delete that did nothing", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(3, 4, del, ok(12)), op(5, 6, get(0), at(11)),
		}},
		{"missing though it is there", false, []porcupine.Operation{
			op(1, 2, set(0), ok(11)), op(3, 4, del, output{outcome: missing}),
		}},
		{"an unknown write done twice", false, []porcupine.Operation{
			op(1, never, set(0), nobodyKnows), op(3, 4, set(1), ok(13)),
		}},
		{"an unknown write done before it began", false, []porcupine.Operation{
			op(1, 2, set(1), ok(12)), op(3, never, set(0), nobodyKnows),
		}},
		{"an answer that contradicts itself", false, []porcupine.Operation{
			op(1, 2, set(0), output{revision: 11, wrong: true}),
		}},
	} {
		if got := porcupine.CheckOperations(registryModel(10, tc.ops), tc.ops); got != tc.want {
			t.Errorf("%s: linearizable is %v, want %v", tc.name, got, tc.want)
		}
	}
}

package cluster_test

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// historyServices are few, so that clients meet.
const historyServices = 3

type kind int

const (
	kindSet kind = iota
	kindCompareAndSet
	kindBatch
	kindDelete
	kindRead
	kindGrant
	kindKeepAlive
	kindRevoke
	kindExpire  // of the registry itself: its events tell
	kindMembers // a change of members, which the events tell: it takes revisions, and changes no service
)

type outcome string

const (
	acknowledged   outcome = ""
	mismatch       outcome = "mismatch" // the revision was another; of a read too: it tells the revision
	missing        outcome = "missing"
	held           outcome = "held"    // by another lease, which lives
	lost           outcome = "lost"    // the lease that the call names does not live
	refused        outcome = "refused" // surely not done: in no history
	unknownOutcome outcome = "unknown"
)

// input is a call. Leases have numbers, from 1 on.
type input struct {
	kind            kind
	service, second int
	expect          int64         // of a compare-and-set
	number          int           // of the call; the reason that it writes
	lease           int           // that a write names, or that the call is about; 0: none
	endings         []leaseEnding // of a revoke, and of an expiry: in the order in which they end
}

type leaseEnding struct {
	lease   int
	deletes bool // what is attached is deleted
}

type output struct {
	outcome  outcome
	revision int64 // acknowledged: the registry's afterwards; mismatch: the service's, 0 for none
	first    int64 // of the revisions that a revoke or an expiry took; 0: it is not known
	writer   int   // of a read: whose report it is; 0: not told
	lease    int   // of a read: that the report is attached to; held: that holds
	wrong    bool  // the answer contradicts itself
}

// expiredWriter is the writer of a report that an expiry turned.
const expiredWriter = -1

// registers is the registry as the model sees it: small and comparable.
type registers struct {
	revision int64
	services [historyServices]register
	live     leaseSet
}

type register struct {
	revision int64 // 0: does not exist
	writer   int
	lease    int // that it is attached to; 0: none
}

// maxHistoryLeases is how many leases a history can have.
const maxHistoryLeases = 255

// leaseSet is a set of leases by number, comparable.
type leaseSet [4]uint64

func (s leaseSet) has(lease int) bool { return s[lease/64]&(1<<(lease%64)) != 0 }

func (s *leaseSet) add(lease int) { s[lease/64] |= 1 << (lease % 64) }

func (s *leaseSet) remove(lease int) { s[lease/64] &^= 1 << (lease % 64) }

// written are the services that a write is about.
func (in input) written() []int {
	if in.kind == kindBatch {
		return []int{in.service, in.second}
	}
	return []int{in.service}
}

func (s registers) write(in input) registers {
	switch in.kind {
	case kindGrant:
		s.revision++
		s.live.add(in.lease)
	case kindRevoke:
		s.end(in.endings, in.number)
	case kindExpire:
		s.end(in.endings, expiredWriter)
	case kindDelete:
		s.revision++
		s.services[in.service] = register{}
	default:
		for _, i := range in.written() {
			s.revision++
			s.services[i] = register{s.revision, in.number, in.lease}
		}
	}
	return s
}

// end ends leases. Their own events come first, then what is attached to each is changed, in the order of its
// revisions.
func (s *registers) end(endings []leaseEnding, writer int) {
	for _, e := range endings {
		s.revision++
		s.live.remove(e.lease)
	}
	for _, e := range endings {
		var attached []int
		for i, r := range s.services {
			if r.revision != 0 && r.lease == e.lease {
				attached = append(attached, i)
			}
		}
		slices.SortFunc(attached, func(a, b int) int { return cmp.Compare(s.services[a].revision, s.services[b].revision) })
		for _, i := range attached {
			s.revision++
			s.services[i] = register{s.revision, writer, 0}
			if e.deletes {
				s.services[i] = register{}
			}
		}
	}
}

// takesEffect says whether in would change s.
func (s registers) takesEffect(in input) bool {
	switch in.kind {
	case kindGrant:
		return true
	case kindRevoke, kindExpire:
		return !slices.ContainsFunc(in.endings, func(e leaseEnding) bool { return !s.live.has(e.lease) })
	}
	if in.lease != 0 && !s.live.has(in.lease) || in.lease == 0 && s.holder(in) != 0 {
		return false
	}
	switch at := s.services[in.service].revision; in.kind {
	case kindCompareAndSet:
		return at == in.expect
	case kindDelete:
		return at != 0
	}
	return true
}

// holder is the first live lease that holds what in is about; 0: none.
func (s registers) holder(in input) int {
	for _, i := range in.written() {
		if r := s.services[i]; r.lease != 0 && s.live.has(r.lease) {
			return r.lease
		}
	}
	return 0
}

// registryModel is the sequential registry, for one history that began at revision base. Every
// revision belongs to one change, so whatever is acknowledged says where in the order it stands. A
// call of unknown outcome may have taken effect where a revision is left over by the others, or at
// the very end, which is as good as never.
func registryModel(base int64, ops []porcupine.Operation) porcupine.Model {
	taken, last := map[int64]bool{}, base
	for _, op := range ops {
		in, out := op.Input.(input), op.Output.(output)
		if out.outcome != acknowledged || in.kind == kindKeepAlive {
			continue
		}
		first := out.revision
		switch {
		case out.first != 0:
			first = out.first
		case in.kind == kindBatch:
			first--
		}
		for r := first; r <= out.revision; r++ {
			taken[r] = true
		}
		last = max(last, out.revision)
	}
	step := func(s registers, in input, out output) (bool, registers) {
		at := s.services[in.service]
		switch {
		case out.wrong:
			return false, s
		case out.outcome == mismatch:
			told := (out.writer == 0 || out.writer == at.writer) && (in.kind != kindRead || out.lease == at.lease)
			return at.revision == out.revision && told && (in.kind != kindCompareAndSet || out.revision != in.expect), s
		case out.outcome == missing:
			return at.revision == 0, s
		case out.outcome == held:
			return in.lease == 0 && s.holder(in) != 0 && (out.lease == 0 || out.lease == s.holder(in)), s
		case out.outcome == lost:
			return in.lease != 0 && !s.live.has(in.lease), s
		case in.kind == kindKeepAlive:
			return s.live.has(in.lease), s
		case in.kind == kindMembers:
			next := s
			next.revision = out.revision
			return out.first == s.revision+1, next
		case out.outcome == acknowledged:
			next := s.write(in)
			return s.takesEffect(in) && next.revision == out.revision && (out.first == 0 || out.first == s.revision+1), next
		}
		if !s.takesEffect(in) {
			return s.revision >= last, s
		}
		next := s.write(in)
		for r := s.revision + 1; r <= next.revision; r++ {
			if taken[r] {
				return false, s
			}
		}
		return true, next
	}
	return porcupine.Model{
		Init: func() any { return registers{revision: base} },
		Step: func(state, in, out any) (bool, any) {
			ok, next := step(state.(registers), in.(input), out.(output))
			return ok, next
		},
		DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
	}
}

func describe(in input, out output) string {
	var call string
	switch in.kind {
	case kindSet:
		call = fmt.Sprintf("#%d set s%d", in.number, in.service)
	case kindCompareAndSet:
		call = fmt.Sprintf("#%d set s%d if %d", in.number, in.service, in.expect)
	case kindBatch:
		call = fmt.Sprintf("#%d set s%d, s%d", in.number, in.service, in.second)
	case kindDelete:
		call = fmt.Sprintf("#%d delete s%d", in.number, in.service)
	case kindRead:
		if out.lease != 0 {
			return fmt.Sprintf("read s%d: %d of lease %d", in.service, out.revision, out.lease)
		}
		return fmt.Sprintf("read s%d: %d", in.service, out.revision)
	case kindGrant:
		call = fmt.Sprintf("#%d grant", in.number)
	case kindKeepAlive:
		call = "keep alive"
	case kindRevoke:
		call = fmt.Sprintf("#%d revoke", in.number)
	case kindExpire:
		call = fmt.Sprintf("expire %v", in.endings)
	case kindMembers:
		call = "members change"
	}
	if in.lease != 0 {
		call += fmt.Sprintf(", lease %d", in.lease)
	}
	switch out.outcome {
	case acknowledged:
		return fmt.Sprintf("%s: revision %d", call, out.revision)
	case mismatch:
		return fmt.Sprintf("%s: is at %d", call, out.revision)
	case held:
		return fmt.Sprintf("%s: held by lease %d", call, out.lease)
	}
	return call + ": " + string(out.outcome)
}

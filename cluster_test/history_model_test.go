package cluster_test

import (
	"fmt"

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
)

type outcome string

const (
	acknowledged   outcome = ""
	mismatch       outcome = "mismatch" // the revision was another; of a read too: it tells the revision
	missing        outcome = "missing"
	refused        outcome = "refused" // surely not done: in no history
	unknownOutcome outcome = "unknown"
)

type input struct {
	kind            kind
	service, second int
	expect          int64 // of a compare-and-set
	number          int   // of the call; the reason that it writes
}

type output struct {
	outcome  outcome
	revision int64 // acknowledged: the registry's afterwards; mismatch: the service's, 0 for none
	writer   int   // of a read: whose report it is; 0: not told
	wrong    bool  // the answer contradicts itself
}

// registers is the registry as the model sees it: small and comparable.
type registers struct {
	revision int64
	services [historyServices]register
}

type register struct {
	revision int64 // 0: does not exist
	writer   int
}

func (s registers) write(in input) registers {
	put := func(i int) {
		s.revision++
		s.services[i] = register{s.revision, in.number}
	}
	put(in.service)
	if in.kind == kindBatch {
		put(in.second)
	}
	if in.kind == kindDelete {
		s.services[in.service] = register{}
	}
	return s
}

// takesEffect says whether in would change s.
func (s registers) takesEffect(in input) bool {
	switch at := s.services[in.service].revision; in.kind {
	case kindCompareAndSet:
		return at == in.expect
	case kindDelete:
		return at != 0
	}
	return true
}

// registryModel is the sequential registry, for one history that began at revision base. Every
// revision belongs to one change, so whatever is acknowledged says where in the order it stands. A
// call of unknown outcome may have taken effect where a revision is left over by the others, or at
// the very end, which is as good as never.
func registryModel(base int64, ops []porcupine.Operation) porcupine.Model {
	taken, last := map[int64]bool{}, base
	for _, op := range ops {
		in, out := op.Input.(input), op.Output.(output)
		if out.outcome != acknowledged {
			continue
		}
		taken[out.revision] = true
		if in.kind == kindBatch {
			taken[out.revision-1] = true
		}
		last = max(last, out.revision)
	}
	step := func(s registers, in input, out output) (bool, registers) {
		at := s.services[in.service]
		switch {
		case out.wrong:
			return false, s
		case out.outcome == mismatch:
			told := out.writer == 0 || out.writer == at.writer
			return at.revision == out.revision && told && (in.kind != kindCompareAndSet || out.revision != in.expect), s
		case out.outcome == missing:
			return at.revision == 0, s
		case out.outcome == acknowledged:
			next := s.write(in)
			return s.takesEffect(in) && next.revision == out.revision, next
		}
		if !s.takesEffect(in) {
			return s.revision >= last, s
		}
		next := s.write(in)
		return !taken[next.revision] && !taken[s.revision+1], next
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
		return fmt.Sprintf("read s%d: %d", in.service, out.revision)
	}
	switch out.outcome {
	case acknowledged:
		return fmt.Sprintf("%s: revision %d", call, out.revision)
	case mismatch:
		return fmt.Sprintf("%s: is at %d", call, out.revision)
	}
	return call + ": " + string(out.outcome)
}

package fsm

import (
	"sync"
	"sync/atomic"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// ringHashes is for how many log entries a node remembers its state hash. A leader has a few entries
// in flight, so a tenth of a second would do to compare; but members that are asked what they held
// (after a mismatch, with tries again) must still know it. 16,384 entries are several seconds of the
// fastest disk, in 640 KiB.
const ringHashes = 1 << 14

// hashRing holds the state hash after each of the newest entries.
type hashRing struct {
	mu    sync.RWMutex // guards slots
	slots []hashSlot   // by index modulo their number
}

type hashSlot struct {
	index uint64 // 0: empty
	hash  Digest
}

func newHashRing() *hashRing { return &hashRing{slots: make([]hashSlot, ringHashes)} }

func (r *hashRing) put(index uint64, hash Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[index%ringHashes] = hashSlot{index, hash}
}

// reset forgets all.
func (r *hashRing) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.slots)
}

func (r *hashRing) at(index uint64) (Digest, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	slot := r.slots[index%ringHashes]
	return slot.hash, slot.index == index && index != 0
}

// HashStats counts what became of the state hashes that came with log entries, since the start.
type HashStats struct {
	Agreed, Mismatched uint64 // compared
	NotHeld            uint64 // of an entry from before the start or a restore, or of long ago
	OtherVersion       uint64 // computed in another way, or none at all
}

type hashCounters struct{ agreed, mismatched, notHeld, otherVersion atomic.Uint64 }

// HashStats may be called from any goroutine.
func (f *FSM) HashStats() HashStats {
	c := &f.compared
	return HashStats{c.agreed.Load(), c.mismatched.Load(), c.notHeld.Load(), c.otherVersion.Load()}
}

// compare looks at what the proposer of an entry held. It changes nothing but counters: an entry
// means the same on a node that can compare and on one that cannot.
func (f *FSM) compare(theirs *logv1.StateHash, b *batch) {
	if theirs.GetVersion() != f.cfg.HashVersion {
		f.compared.otherVersion.Add(1)
		return
	}
	own, ok := f.hashes.at(theirs.GetIndex())
	switch {
	case !ok:
		f.compared.notHeld.Add(1)
	case own.is(theirs):
		f.compared.agreed.Add(1)
	default:
		f.compared.mismatched.Add(1)
		if b.mismatch == 0 {
			b.mismatch = theirs.GetIndex()
		}
	}
}

// HashAt returns the state hash that this node held after applying the entry at index, nil if it does
// not know: not yet, not any more, or because nothing of raft's own reaches the fold.
func (f *FSM) HashAt(index uint64) *logv1.StateHash {
	hash, ok := f.hashes.at(index)
	if !ok {
		return nil
	}
	return hash.proto(f.cfg.HashVersion, index)
}

// StateHash returns the state hash after the last applied entry. A proposer puts it into its entries.
func (f *FSM) StateHash() *logv1.StateHash {
	hash, _ := f.Held()
	return hash
}

// Held is StateHash with the revision of the same cut.
func (f *FSM) Held() (*logv1.StateHash, int64) {
	v := f.view.Load()
	return v.hashed.proto(v.hashVersion, v.index), v.revision
}

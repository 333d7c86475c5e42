package fsm

import (
	"sync"
	"sync/atomic"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// ringHashes is for how many of the newest log entries a node remembers its state hash. To compare with a
// leader's entries a tenth of a second would be enough, because a leader has only a few entries in flight.
// But members that are asked for their hash after a mismatch, perhaps several times, must still know it.
// 16,384 entries are several seconds on the fastest disk, and take 640 KiB.
const ringHashes = 1 << 14

// hashRing holds the state hash after each of the newest entries.
type hashRing struct {
	mu    sync.RWMutex // guards slots
	slots []hashSlot   // by index modulo len(slots)
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
	Agreed, Mismatched uint64 // with a hash that this node could compare
	NotHeld            uint64 // of an entry whose hash this node does not hold: from before its start or a restore, or too old
	OtherVersion       uint64 // computed in another way, or none at all
}

type hashCounters struct{ agreed, mismatched, notHeld, otherVersion atomic.Uint64 }

// HashStats may be called from any goroutine.
func (f *FSM) HashStats() HashStats {
	c := &f.compared
	return HashStats{c.agreed.Load(), c.mismatched.Load(), c.notHeld.Load(), c.otherVersion.Load()}
}

// compare compares the state hash in an entry with this node's. It changes only counters: an entry means the
// same on a node that can compare and on one that cannot.
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

// HashAt returns the state hash that this node held after applying the entry at index. It is nil if the entry
// is not applied yet, is too old, or is an entry of raft's own, which never reaches the fold.
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

// Held returns the same as StateHash, and the revision of the same cut.
func (f *FSM) Held() (*logv1.StateHash, int64) {
	v := f.view.Load()
	return v.hashed.proto(v.hashVersion, v.index), v.revision
}

package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// HashVersion is of the way the state hash is computed: what is in it and how that is encoded. Hashes
// of different versions are never compared. A test holds the hash of a fixed state.
const HashVersion = 1

// Digest is the state hash: of everything the fold replicates.
type Digest [sha256.Size]byte

// ErrStateHash means that what a registry file or snapshot holds is not what the fold wrote: its records do
// not have the state hash that was stored with them.
var ErrStateHash = errors.New("its records do not have the state hash that was stored with them")

// Kinds of records. A kind keeps its number, and no two have the same.
const (
	kindService byte = 1
	kindMember  byte = 2
	kindRequest byte = 3
	kindLimits  byte = 4 // of the request ids
	kindHorizon byte = 5
	kindLevel   byte = 6
)

// multiset is an incremental hash over a set of records: the sum of the SHA-256 of each, taken as
// four words that are added independently, modulo 2^64. Adding and removing cost one SHA-256 each,
// in any order, whatever the number of records.
//
// Sums of hashes can be forged by who may choose very many records (a generalized birthday attack,
// easier still with words that carry nothing into each other). That is no concern here: it has to
// catch replicas that differ by accident, each record's hash is then as good as random, and two
// different sets have one sum with probability 2^-256. Against a hostile member it proves nothing,
// as that could as well lie about its hash.
type multiset [4]uint64

// add takes in a record. canonical says all of the record, and the same bytes never say two records.
func (m *multiset) add(kind byte, canonical []byte) {
	for i, w := range words(kind, canonical) {
		m[i] += w
	}
}

// remove undoes an add.
func (m *multiset) remove(kind byte, canonical []byte) {
	for i, w := range words(kind, canonical) {
		m[i] -= w
	}
}

// sum takes in all that is in o.
func (m *multiset) sum(o multiset) {
	for i, w := range o {
		m[i] += w
	}
}

func words(kind byte, canonical []byte) (w [4]uint64) {
	// The encodings begin with room for the kind, so that nothing is copied.
	canonical[0] = kind
	sum := sha256.Sum256(canonical)
	for i := range w {
		w[i] = binary.BigEndian.Uint64(sum[8*i:])
	}
	return w
}

// canonical is a buffer for one record's encoding: a byte for the kind, then every field in a fixed
// order, texts with their length before them, so that ("ab", "c") and ("a", "bc") differ. It is
// written by hand: protobuf's own encoding may change from release to release.
type canonical []byte

// newCanonical has room for most records, on the caller's stack.
func newCanonical(room *[512]byte) canonical { return canonical(room[:1]) }

func (c canonical) text(s string) canonical {
	return append(binary.BigEndian.AppendUint32(c, uint32(len(s))), s...)
}

func (c canonical) number(n int64) canonical { return binary.BigEndian.AppendUint64(c, uint64(n)) }

func (c canonical) flag(b bool) canonical {
	if b {
		return append(c, 1)
	}
	return append(c, 0)
}

func (r *record) canonical(c canonical) canonical {
	c = c.text(r.name).
		number(int64(r.status)).
		number(r.revision).
		number(r.statusTime)
	return r.cause.canonical(c)
}

func (why *cause) canonical(c canonical) canonical {
	by := why.actor.Value()
	return c.number(why.time).
		text(why.reason).
		text(why.requestID).
		text(why.leaseID).
		text(by.name).
		text(by.peer).
		flag(by.verified)
}

func canonicalMember(c canonical, m *logv1.Member) canonical {
	return c.text(m.GetName()).
		text(m.GetApiAddress()).
		text(m.GetPeerAddress()).
		text(m.GetDirectoryId()).
		text(m.GetVersion()).
		number(int64(m.GetLevel())).
		number(int64(m.GetHoldLevel()))
}

// service changes the hash as a service goes from before to after; nil: it does not exist.
func (m *multiset) service(before, after *record) {
	var room [512]byte
	if before != nil {
		m.remove(kindService, before.canonical(newCanonical(&room)))
	}
	if after != nil {
		m.add(kindService, after.canonical(newCanonical(&room)))
	}
}

// member does what service does.
func (m *multiset) member(before, after *logv1.Member) {
	var room [512]byte
	if before != nil {
		m.remove(kindMember, canonicalMember(newCanonical(&room), before))
	}
	if after != nil {
		m.add(kindMember, canonicalMember(newCanonical(&room), after))
	}
}

// digest is the state hash: of the records, of what is replicated beside them, and of the version.
func (s *state) digest() Digest { return s.digestOf(s.hash) }

// digestOf is digest with another sum over the services and members.
func (s *state) digestOf(records multiset) Digest {
	records.sum(s.remembered)
	var room [512]byte
	c := newCanonical(&room)
	c[0] = 0 // no kind of record
	c = c.number(HashVersion).text(s.clusterID).number(s.revision).number(s.logTime)
	for _, w := range records {
		c = c.number(int64(w))
	}
	return sha256.Sum256(c)
}

// proto is d as the log and the registry file carry it.
func (d Digest) proto(index uint64) *logv1.StateHash {
	return &logv1.StateHash{Version: HashVersion, Index: index, Hash: d[:]}
}

// is says whether d is what h says, which must be of this version.
func (d Digest) is(h *logv1.StateHash) bool { return string(d[:]) == string(h.GetHash()) }

// verify compares a state that was loaded with the hash that was stored with it. A registry file of an
// older or newer hash version, or from before there was one, has nothing to compare with.
func (s *state) verify(meta *logv1.RegistryMeta) error {
	stored := meta.GetStateHash()
	if stored.GetVersion() != HashVersion {
		return nil
	}
	if have := s.digest(); stored.GetIndex() != meta.GetIndex() || !have.is(stored) {
		return fmt.Errorf("log entry %d: %w: %x, not %x", meta.GetIndex(), ErrStateHash, have[:8], short(stored.GetHash()))
	}
	return nil
}

// short is enough of a hash to tell it from another by eye.
func short(hash []byte) []byte { return hash[:min(len(hash), 8)] }

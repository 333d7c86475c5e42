package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// HashVersion is of the way the state hash is computed: what is in it and how that is encoded. Hashes
// of different versions are never compared. A test holds the hash of a fixed state. A new kind of record
// needs no new version: a state that has no records of it hashes as before.
const HashVersion = 1

// Digest is the state hash: of everything the fold replicates.
type Digest [sha256.Size]byte

// ErrStateHash means that what a registry file or snapshot holds is not what the fold wrote: its records do
// not have the state hash that was stored with them.
var ErrStateHash = errors.New("its records do not have the state hash that was stored with them")

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

// add takes in a record. canonical says all of the record, and the same bytes never say two records: it is
// appendHead and the record's bytes as they stand on disk.
func (m *multiset) add(canonical []byte) {
	for i, w := range hashWords(canonical) {
		m[i] += w
	}
}

// remove undoes an add.
func (m *multiset) remove(canonical []byte) {
	for i, w := range hashWords(canonical) {
		m[i] -= w
	}
}

// sum takes in all that is in o.
func (m *multiset) sum(o multiset) {
	for i, w := range o {
		m[i] += w
	}
}

// hashWords is the SHA-256 of b, as numbers.
func hashWords(b []byte) (w [4]uint64) {
	sum := sha256.Sum256(b)
	for i := range w {
		w[i] = binary.BigEndian.Uint64(sum[8*i:])
	}
	return w
}

// appendHead begins what is hashed of a record: its kind and key. The key's length stands before it, so
// that ("ab", "c") and ("a", "bc") differ.
func appendHead(b []byte, kind logv1.Kind, key string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	return append(b, key...)
}

// service changes the hash as a service goes from before to after; nil: it does not exist. It is apart
// from state.put so that the bytes can be on the stack.
func (m *multiset) service(before, after *record) {
	var room [512]byte
	if before != nil {
		m.remove(before.appendTo(appendHead(room[:0], logv1.Kind_KIND_SERVICE, before.name)))
	}
	if after != nil {
		m.add(after.appendTo(appendHead(room[:0], logv1.Kind_KIND_SERVICE, after.name)))
	}
}

// digest is the state hash: of the records, of what is replicated beside them, and of the version.
func (s *state) digest() Digest { return s.digestOf(s.hash) }

// digestOf is digest with another sum over the records but the request ids.
func (s *state) digestOf(records multiset) Digest {
	records.sum(s.remembered)
	var room [512]byte
	b := appendHead(room[:0], logv1.Kind_KIND_UNSPECIFIED, s.clusterID)
	for _, n := range [...]uint64{uint64(s.hashVersion), uint64(s.revision), uint64(s.logTime), uint64(s.horizon), uint64(s.level)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, w := range records {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return sha256.Sum256(b)
}

// proto is d as the log and the registry file carry it.
func (d Digest) proto(version uint32, index uint64) *logv1.StateHash {
	return &logv1.StateHash{Version: version, Index: index, Hash: d[:]}
}

// is says whether d is what h says, which must be of this version.
func (d Digest) is(h *logv1.StateHash) bool { return string(d[:]) == string(h.GetHash()) }

// verify compares a state that was loaded with the hash that was stored with it. A registry file of an
// older or newer hash version, or from before there was one, has nothing to compare with.
func (s *state) verify(meta *logv1.RegistryMeta) error {
	stored := meta.GetStateHash()
	if stored.GetVersion() != s.hashVersion {
		return nil
	}
	if have := s.digest(); stored.GetIndex() != meta.GetIndex() || !have.is(stored) {
		return fmt.Errorf("log entry %d: %w: %x, not %x", meta.GetIndex(), ErrStateHash, have[:8], short(stored.GetHash()))
	}
	return nil
}

// short is enough of a hash to tell it from another by eye.
func short(hash []byte) []byte { return hash[:min(len(hash), 8)] }

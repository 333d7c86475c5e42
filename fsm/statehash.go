package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// HashVersion is the version of the way the state hash is computed: what it covers and how that is encoded.
// Hashes of different versions are never compared. A test holds the hash of a fixed state. A new kind of
// record needs no new version: a state that has no records of it hashes as before.
const HashVersion = 1

// Digest is a state hash: a hash of everything that the fold replicates.
type Digest [sha256.Size]byte

// ErrStateHash means that what a registry file or snapshot holds is not what the fold wrote: its records do
// not have the state hash that was stored with them.
var ErrStateHash = errors.New("its records do not have the state hash that was stored with them")

// multiset is an incremental hash over a set of records: the sum of the SHA-256 of each, taken as
// four words that are added independently, modulo 2^64. Adding and removing cost one SHA-256 each,
// in any order, whatever the number of records.
//
// Somebody who can choose very many records can find two sets with the same sum (a generalized birthday
// attack, which is easier still with words that are added independently). That does not matter here: the hash
// has to find replicas that differ by accident. Then each record's hash is as good as random, and two
// different sets have the same sum with probability 2^-256. It proves nothing against a hostile member, which
// could simply lie about its hash.
type multiset [4]uint64

// add adds a record. canonical is what appendHead returns, followed by the record's bytes in the form on
// disk. It holds all of the record, and two different records never have the same canonical.
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

// sum adds all records of o.
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

// appendHead appends a record's kind and key, with which the hashed bytes begin. The key's length stands
// before the key, so that ("ab", "c") and ("a", "bc") differ.
func appendHead(b []byte, kind logv1.Kind, key string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	return append(b, key...)
}

// service changes the hash when a service changes from before to after; nil: it does not exist. state.put
// does the same for other kinds. This method is separate so that the bytes can be on the stack.
func (m *multiset) service(before, after *record) {
	var room [512]byte
	if before != nil {
		m.remove(before.appendTo(appendHead(room[:0], logv1.Kind_KIND_SERVICE, before.name)))
	}
	if after != nil {
		m.add(after.appendTo(appendHead(room[:0], logv1.Kind_KIND_SERVICE, after.name)))
	}
}

// digest returns the state hash: of the records, of what else is replicated, and of the hash version.
func (s *state) digest() Digest { return s.digestOf(s.hash) }

// digestOf is digest, with records as the sum over all records except the request ids.
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

// proto returns d in the form of the log and the registry file.
func (d Digest) proto(version uint32, index uint64) *logv1.StateHash {
	return &logv1.StateHash{Version: version, Index: index, Hash: d[:]}
}

// is says whether d equals h, which must be of this version.
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

// short is the beginning of a hash, for people.
func short(hash []byte) []byte { return hash[:min(len(hash), 8)] }

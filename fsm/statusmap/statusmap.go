package statusmap

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"unsafe"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Status is the standard's status.
type Status = healthpb.HealthCheckResponse_ServingStatus

const serviceUnknown = healthpb.HealthCheckResponse_SERVICE_UNKNOWN

// Map is a hash table with linear probing. A reader reads a slot of the table and the bytes of the name, and
// nothing else: it goes from slot to slot until it finds the name or an empty slot. Writers take turns. They
// change a status in its slot, and never empty a slot or give it to another name, so readers find every name
// that stays in the table. A removed name leaves a mark in its slot. When a table is full, a new one without
// the marks takes its place; who still reads the old table finds what held when the reading began. The table
// is in parts, so that a new one is made quickly.
type Map struct {
	seed  maphash.Seed
	bits  uint64 // the bits of a hash that are used: all, except in tests in which names collide
	parts [partCount]atomic.Pointer[table]

	_ [64]byte // what follows changes often: it must not share a cache line with what readers read

	// counts of services by status, the node's own names not among them, kept as they change: there
	// may be millions of services.
	counts [serviceUnknown + 1]atomic.Int64
	mu     sync.Mutex // held by writers; guards used and live of the tables, and replacing them
}

const (
	partCount = 256
	minSlots  = 8
)

type table struct {
	slots []slot
	used  int // slots that are not empty, marks of removed names included
	live  int // names
}

// slot belongs to a name as soon as its word is not zero, for as long as the table lives. It keeps only where
// the bytes of the name begin, because the word has their number. So a slot has 16 bytes, and never lies in
// two cache lines.
type slot struct {
	word atomic.Uint64
	name atomic.Pointer[byte] // set before word
}

// word is, from the low end, 8 bits: the status + 1, 0 after it was removed; 24 bits: the length of
// the name + 1; 32 bits: the upper half of the name's hash, which is also where looking for it begins.
type word uint64

const (
	stateBits  = 8
	lengthBits = 24
	hashShift  = stateBits + lengthBits
)

// New returns an empty map.
func New() *Map {
	m := &Map{seed: maphash.MakeSeed(), bits: ^uint64(0)}
	for i := range m.parts {
		m.parts[i].Store(newTable(minSlots))
	}
	return m
}

func newTable(slots int) *table { return &table{slots: make([]slot, slots)} }

func (m *Map) hash(name string) uint64 { return maphash.String(m.seed, name) & m.bits }

func (m *Map) part(hash uint64) *atomic.Pointer[table] { return &m.parts[partOf(hash)] }

func partOf(hash uint64) uint64 { return hash % partCount }

// wordOf is the word of name without its state.
func wordOf(name string, hash uint64) word {
	return word(hash>>hashShift<<hashShift | uint64(len(name)+1)<<stateBits)
}

// from returns where in a table of so many slots looking for the name begins.
func (w word) from(slots int) uint64 {
	return uint64(w) >> hashShift * uint64(slots) >> hashShift
}

// isOf reports whether other may be of the same name: two names can have words that are alike.
func (w word) isOf(other word) bool { return w^other < 1<<stateBits }

// status is false if the name was removed.
func (w word) status() (Status, bool) {
	state := w & (1<<stateBits - 1)
	return Status(state) - 1, state != 0
}

func (w word) length() int { return int(w>>stateBits&(1<<lengthBits-1)) - 1 }

func (w word) with(s Status) word { return w | word(uint8(s+1)) }

// find returns the slot of name and its word; or the empty slot at which the search ended, and 0.
func (t *table) find(name string, hash uint64) (*slot, word) {
	want := wordOf(name, hash)
	for i := want.from(len(t.slots)); ; i++ {
		if i >= uint64(len(t.slots)) {
			i = 0
		}
		slot := &t.slots[i]
		w := word(slot.word.Load())
		if w == 0 || w.isOf(want) && unsafe.String(slot.name.Load(), len(name)) == name {
			return slot, w
		}
	}
}

// Get returns the status of name, and whether it has one. It repeats the code of find, because nearly every
// call of the API ends here.
func (m *Map) Get(name string) (Status, bool) {
	hash := m.hash(name)
	slots := m.part(hash).Load().slots
	want := wordOf(name, hash)
	for i := want.from(len(slots)); ; i++ {
		if i >= uint64(len(slots)) {
			i = 0
		}
		slot := &slots[i]
		w := word(slot.word.Load())
		if w.isOf(want) && unsafe.String(slot.name.Load(), len(name)) == name {
			return w.status()
		}
		if w == 0 {
			return serviceUnknown, false
		}
	}
}

// Status returns the status of name, SERVICE_UNKNOWN if there is none.
func (m *Map) Status(name string) Status {
	if s, ok := m.Get(name); ok {
		return s
	}
	return serviceUnknown
}

// Put publishes a status, and reports whether it differs from the one before.
func (m *Map) Put(name string, s Status) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	hash := m.hash(name)
	t := m.part(hash).Load()
	slot, w := t.find(name, hash)
	before, was := w.status()
	// Also if the name is there already: the old bytes may be the last use of a larger string.
	slot.name.Store(unsafe.StringData(name))
	if was && before == s {
		return false
	}
	slot.word.Store(uint64(wordOf(name, hash).with(s)))
	m.count(name, s, 1)
	if was {
		m.count(name, before, -1)
		return true
	}
	t.live++
	if w == 0 {
		if t.used++; t.full() {
			m.rebuild(m.part(hash))
		}
	}
	return true
}

// Remove removes name, and reports whether it was there.
func (m *Map) Remove(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	hash := m.hash(name)
	t := m.part(hash).Load()
	slot, w := t.find(name, hash)
	before, was := w.status()
	if !was {
		return false
	}
	slot.word.Store(uint64(wordOf(name, hash)))
	t.live--
	m.count(name, before, -1)
	return true
}

func (t *table) full() bool { return 4*t.used > 3*len(t.slots) }

// rebuild gives a part a new table that is half full, without the marks of removed names. It reads no name: a
// word says where its slot belongs.
func (m *Map) rebuild(p *atomic.Pointer[table]) {
	t := p.Load()
	next := newTable(max(minSlots, 2*t.live))
	next.used, next.live = t.live, t.live
	for i := range t.slots {
		w := word(t.slots[i].word.Load())
		if _, ok := w.status(); !ok {
			continue
		}
		slot := next.free(w)
		slot.name.Store(t.slots[i].name.Load())
		slot.word.Store(uint64(w))
	}
	p.Store(next)
}

// free returns the slot for a name that is not there.
func (t *table) free(w word) *slot {
	for i := w.from(len(t.slots)); ; i++ {
		if i >= uint64(len(t.slots)) {
			i = 0
		}
		if slot := &t.slots[i]; slot.word.Load() == 0 {
			return slot
		}
	}
}

func (t *table) each(f func(name string, s Status)) {
	for i := range t.slots {
		slot := &t.slots[i]
		w := word(slot.word.Load())
		if s, ok := w.status(); ok {
			f(unsafe.String(slot.name.Load(), w.length()), s)
		}
	}
}

// Each visits every name that is published. It may or may not visit one that is put or removed meanwhile.
func (m *Map) Each(f func(name string, s Status)) {
	for i := range m.parts {
		m.parts[i].Load().each(f)
	}
}

func (m *Map) count(name string, s Status, by int64) {
	if !rollcallv1.IsOwn(name) && s >= 0 && int(s) < len(m.counts) {
		m.counts[s].Add(by)
	}
}

// Retain removes the names for which keep returns false.
func (m *Map) Retain(keep func(name string) bool) {
	m.Each(func(name string, _ Status) {
		if !keep(name) {
			m.Remove(name)
		}
	})
}

// Services is how many services are published.
func (m *Map) Services() int64 {
	n := int64(0)
	for i := range m.counts {
		n += m.counts[i].Load()
	}
	return n
}

// Count is how many services have a status; names of the node's own do not count.
func (m *Map) Count(s Status) int64 { return m.counts[s].Load() }

package fsm

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// statusMap is what Check reads: name → newest record, without a lock or an allocation, in as few steps
// from memory to memory as there can be. The fold never reads it.
//
// It is a hash table with linear probing, at most half full, of pointers to records. Readers look at one
// slot after the other until they find the name or an empty one. Writers take turns: they replace a
// record where it stands and never empty a slot, so whatever stays in the table is found by those who
// read meanwhile; what is removed leaves a mark, which the next table, larger or only cleaner, does
// without. Who still reads the table before that finds what held when it began. The table is in parts,
// so that making the next one of a part never takes long.
type statusMap struct {
	seed  maphash.Seed
	parts [statusParts]statusPart
	// counts of services by status, the node's own names not among them, kept as they change: there
	// may be millions of services.
	counts [serviceUnknown + 1]atomic.Int64

	mu sync.Mutex // held by writers; guards used and live of the parts, and changing their tables
}

const (
	statusParts    = 256
	minStatusSlots = 8
)

type statusPart struct {
	table atomic.Pointer[statusTable]
	used  int // slots that are not empty, marks of removed records included
	live  int // records
}

// statusTable has a power of two of slots.
type statusTable []atomic.Pointer[record]

// removedRecord marks a slot.
var removedRecord = new(record)

func newStatusMap() *statusMap {
	m := &statusMap{seed: maphash.MakeSeed()}
	for i := range m.parts {
		t := make(statusTable, minStatusSlots)
		m.parts[i].table.Store(&t)
	}
	return m
}

// at returns where name belongs: its part, and where in it looking for it begins.
func (m *statusMap) at(name string) (p *statusPart, from uint64) {
	part, from := m.place(name)
	return &m.parts[part], from
}

func (m *statusMap) place(name string) (part, from uint64) {
	h := maphash.String(m.seed, name)
	return h % statusParts, h / statusParts
}

func (m *statusMap) get(name string) *record {
	p, from := m.at(name)
	r, _ := p.table.Load().find(name, from)
	return r
}

// find returns the record of name and its slot, or nil and the empty slot where looking for it ended.
func (t statusTable) find(name string, from uint64) (*record, *atomic.Pointer[record]) {
	for i := from; ; i++ {
		slot := &t[i&uint64(len(t)-1)]
		if r := slot.Load(); r == nil || r.name == name && r != removedRecord {
			return r, slot
		}
	}
}

func (m *statusMap) status(name string) servingStatus {
	return statusOf(m.get(name))
}

// put publishes r and says whether the status is another than before.
func (m *statusMap) put(r *record) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, from := m.at(r.name)
	before, slot := p.table.Load().find(r.name, from)
	slot.Store(r)
	if before == nil {
		p.live++
		if p.used++; p.used > len(*p.table.Load())/2 {
			m.resize(p, 2*p.live)
		}
		m.count(r, 1)
		return true
	}
	if before.status == r.status {
		return false
	}
	m.count(before, -1)
	m.count(r, 1)
	return true
}

// remove says whether there was something to remove.
func (m *statusMap) remove(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, from := m.at(name)
	before, slot := p.table.Load().find(name, from)
	if before == nil {
		return false
	}
	slot.Store(removedRecord)
	p.live--
	m.count(before, -1)
	return true
}

// resize gives p a table that is half full at most with so many records, without the marks of what was
// removed.
func (m *statusMap) resize(p *statusPart, records int) {
	size := minStatusSlots
	for size < 2*records {
		size *= 2
	}
	next := make(statusTable, size)
	p.table.Load().each(func(r *record) {
		_, from := m.at(r.name)
		_, slot := next.find(r.name, from)
		slot.Store(r)
	})
	p.used = p.live
	p.table.Store(&next)
}

func (t statusTable) each(f func(*record)) {
	for i := range t {
		if r := t[i].Load(); r != nil && r != removedRecord {
			f(r)
		}
	}
}

// each visits what is published; what is put or removed meanwhile perhaps.
func (m *statusMap) each(f func(*record)) {
	for i := range m.parts {
		m.parts[i].table.Load().each(f)
	}
}

func (m *statusMap) count(r *record, by int64) {
	if !isOwn(r.name) && r.status >= 0 && int(r.status) < len(m.counts) {
		m.counts[r.status].Add(by)
	}
}

// retain removes the names that keep says no to.
func (m *statusMap) retain(keep func(name string) bool) {
	m.each(func(r *record) {
		if !keep(r.name) {
			m.remove(r.name)
		}
	})
}

// services is how many services are published.
func (m *statusMap) services() int64 {
	n := int64(0)
	for i := range m.counts {
		n += m.counts[i].Load()
	}
	return n
}

func statusOf(r *record) servingStatus {
	if r == nil {
		return serviceUnknown
	}
	return r.status
}

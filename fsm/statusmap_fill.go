package fsm

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// filling makes a statusMap of many records on several goroutines, which nobody else uses before. They
// share no lock: whoever sets the name of an empty slot has it. No two records have one name.
type filling struct {
	m     *statusMap
	parts [][]record
	next  atomic.Int64 // of parts

	mu    sync.Mutex // guards what follows
	added [statusParts]int
	left  []*record // for put
}

func newFilling(parts [][]record) *filling {
	f := &filling{m: newStatusMap(), parts: parts}
	n := 0
	for _, records := range parts {
		n += len(records)
	}
	for i := range f.m.parts {
		f.m.parts[i].Store(newStatusTable(max(minStatusSlots, 2*n/statusParts)))
	}
	return f
}

// work puts parts into the map until there are no more. Several goroutines may call it.
func (f *filling) work() {
	var (
		added    [statusParts]int
		statuses [serviceUnknown + 1]int64
		left     []*record
	)
	for i := f.next.Add(1) - 1; i < int64(len(f.parts)); i = f.next.Add(1) - 1 {
		for j := range f.parts[i] {
			r := &f.parts[i][j]
			hash := f.m.hash(r.name)
			if !f.m.part(hash).Load().claim(wordOf(r.name, hash).with(r.status), unsafe.StringData(r.name)) {
				left = append(left, r)
				continue
			}
			added[partOf(hash)]++
			statuses[r.status]++ // of a service, see checkLoaded
		}
	}
	for status, n := range statuses {
		f.m.counts[status].Add(n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for part, n := range added {
		f.added[part] += n
	}
	f.left = append(f.left, left...)
}

// claim takes the first empty slot for a word and its name. False: there is none.
func (t *statusTable) claim(w statusWord, name *byte) bool {
	i := w.from(len(t.slots))
	for range t.slots {
		if i >= uint64(len(t.slots)) {
			i = 0
		}
		slot := &t.slots[i]
		if slot.name.Load() == nil && slot.name.CompareAndSwap(nil, name) {
			slot.word.Store(uint64(w))
			return true
		}
		i++
	}
	return false
}

// finish returns the map. Everybody has returned from work.
func (f *filling) finish() *statusMap {
	m := f.m
	m.mu.Lock()
	for i := range m.parts {
		p := &m.parts[i]
		t := p.Load()
		t.used, t.live = f.added[i], f.added[i]
		if t.full() {
			m.rebuild(p)
		}
	}
	m.mu.Unlock()
	for _, r := range f.left {
		m.put(r.name, r.status)
	}
	return m
}

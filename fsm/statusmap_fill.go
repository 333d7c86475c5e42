package fsm

import (
	"sync"
	"sync/atomic"
)

// filling makes a statusMap of many records on several goroutines, which nobody else uses before. They
// share no lock: a record is set where it belongs if nothing is there yet.
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
		f.m.resize(&f.m.parts[i], n/statusParts)
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
			part, from := f.m.place(r.name)
			if !f.m.parts[part].table.Load().claim(r, from) {
				left = append(left, r)
				continue
			}
			added[part]++
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

// claim sets the first empty slot for r. False: there is none, or the name has one.
func (t statusTable) claim(r *record, from uint64) bool {
	for i := range uint64(len(t)) {
		slot := &t[(from+i)&uint64(len(t)-1)]
		there := slot.Load()
		if there == nil {
			if slot.CompareAndSwap(nil, r) {
				return true
			}
			there = slot.Load()
		}
		if there.name == r.name {
			return false
		}
	}
	return false
}

// finish returns the map. Everybody has returned from work.
func (f *filling) finish() *statusMap {
	m := f.m
	m.mu.Lock()
	for i := range m.parts {
		p := &m.parts[i]
		p.used, p.live = f.added[i], f.added[i]
		if p.used > len(*p.table.Load())/2 {
			m.resize(p, 2*p.live)
		}
	}
	m.mu.Unlock()
	for _, r := range f.left {
		m.put(r)
	}
	return m
}

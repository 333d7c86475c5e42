package statusmap

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// Filling makes a Map of many records on several goroutines. Nobody else uses the map before. The goroutines
// share no lock: who sets the name of an empty slot has the slot. No two records have the same name.
type Filling[R any] struct {
	m     *Map
	parts [][]R
	entry func(*R) (name string, status Status)
	next  atomic.Int64 // of parts

	mu    sync.Mutex // guards what follows
	added [partCount]int
	left  []*R // those for which their part had no room
}

// NewFilling returns a filling of the records in parts. entry returns the name and the status of one.
func NewFilling[R any](parts [][]R, entry func(*R) (name string, status Status)) *Filling[R] {
	f := &Filling[R]{m: New(), parts: parts, entry: entry}
	n := 0
	for _, records := range parts {
		n += len(records)
	}
	for i := range f.m.parts {
		f.m.parts[i].Store(newTable(max(minSlots, 2*n/partCount)))
	}
	return f
}

// Work puts parts into the map until there are no more. Several goroutines may call it.
func (f *Filling[R]) Work() {
	var (
		added    [partCount]int
		statuses [serviceUnknown + 1]int64
		left     []*R
	)
	for i := f.next.Add(1) - 1; i < int64(len(f.parts)); i = f.next.Add(1) - 1 {
		for j := range f.parts[i] {
			r := &f.parts[i][j]
			name, status := f.entry(r)
			hash := f.m.hash(name)
			if !f.m.part(hash).Load().claim(wordOf(name, hash).with(status), unsafe.StringData(name)) {
				left = append(left, r)
				continue
			}
			added[partOf(hash)]++
			statuses[status]++ // all names are those of services: the loader has checked that
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

// claim takes the first empty slot for a word and its name. False: the table has no empty slot.
func (t *table) claim(w word, name *byte) bool {
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

// Finish returns the map. Everybody has returned from Work.
func (f *Filling[R]) Finish() *Map {
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
		m.Put(f.entry(r))
	}
	return m
}

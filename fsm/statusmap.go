package fsm

import (
	"sync"
	"sync/atomic"
)

// statusMap is what Check reads: name → newest record, without a lock or an allocation. The fold
// never reads it.
type statusMap struct {
	m sync.Map // string → *record
	// counts of services by status, the node's own names not among them, kept as they change: there
	// may be millions of services.
	counts [serviceUnknown + 1]atomic.Int64
}

func (m *statusMap) get(name string) *record {
	v, ok := m.m.Load(name)
	if !ok {
		return nil
	}
	return v.(*record)
}

func (m *statusMap) status(name string) servingStatus {
	return statusOf(m.get(name))
}

// put publishes r and says whether the status is another than before.
func (m *statusMap) put(r *record) bool {
	before, loaded := m.m.Swap(r.name, r)
	if loaded && before.(*record).status == r.status {
		return false
	}
	if loaded {
		m.count(before.(*record), -1)
	}
	m.count(r, 1)
	return true
}

// remove says whether there was something to remove.
func (m *statusMap) remove(name string) bool {
	before, loaded := m.m.LoadAndDelete(name)
	if loaded {
		m.count(before.(*record), -1)
	}
	return loaded
}

func (m *statusMap) count(r *record, by int64) {
	if !isOwn(r.name) && r.status >= 0 && int(r.status) < len(m.counts) {
		m.counts[r.status].Add(by)
	}
}

// retain removes the names that keep says no to.
func (m *statusMap) retain(keep func(name string) bool) {
	m.m.Range(func(key, _ any) bool {
		if !keep(key.(string)) {
			m.remove(key.(string))
		}
		return true
	})
}

func statusOf(r *record) servingStatus {
	if r == nil {
		return serviceUnknown
	}
	return r.status
}

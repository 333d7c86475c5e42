package fsm

import "sync"

// statusMap is what Check reads: name → newest record, without a lock or an allocation. The fold
// never reads it.
type statusMap struct {
	m sync.Map // string → *record
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
	return !loaded || before.(*record).status != r.status
}

// remove says whether there was something to remove.
func (m *statusMap) remove(name string) bool {
	_, loaded := m.m.LoadAndDelete(name)
	return loaded
}

// retain removes the names that keep says no to.
func (m *statusMap) retain(keep func(name string) bool) {
	m.m.Range(func(key, _ any) bool {
		if !keep(key.(string)) {
			m.m.Delete(key)
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

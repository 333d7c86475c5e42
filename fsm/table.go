package fsm

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// table holds the records of a kind in memory, by key. A view has a copy that nobody writes to. Making the
// copy takes constant time.
type table struct {
	kind    *Kind
	records *btree.Map[string, Value]
	changed bool // since the newest view
}

// tables are the tables of all kinds that have one.
type tables []*table

func newTables(kinds *Kinds) (all tables) {
	for _, kind := range kinds.all {
		if kind.tuned == nil {
			all = append(all, &table{kind: kind, records: new(btree.Map[string, Value])})
		}
	}
	return all
}

func (ts tables) find(kind *Kind) *table {
	for _, t := range ts {
		if t.kind == kind {
			return t
		}
	}
	return nil
}

// copy returns a copy of the tables. A table that has not changed since before is taken from there.
func (ts tables) copy(before tables) tables {
	if before != nil && !slices.ContainsFunc(ts, func(t *table) bool { return t.changed }) {
		return before
	}
	copied := make(tables, len(ts))
	for i, t := range ts {
		if before != nil && !t.changed {
			copied[i] = before[i]
			continue
		}
		t.changed = false
		copied[i] = &table{kind: t.kind, records: t.records.Copy()}
	}
	return copied
}

// record returns the record of a kind that has a table; nil if there is none.
func (s *state) record(kind *Kind, key string) Value {
	v, _ := s.tables.find(kind).records.Get(key)
	return v
}

// put puts a record, or deletes it if v is nil, and updates the state hash.
func (s *state) put(kind *Kind, key string, v Value) {
	t := s.tables.find(kind)
	t.changed = true
	before, _ := t.records.Get(key)
	if before != nil {
		s.hash.remove(s.canonical(kind, key, before))
	}
	if v == nil {
		t.records.Delete(key)
	} else {
		s.hash.add(s.canonical(kind, key, v))
		t.records.Set(key, v)
	}
	if kind.applied != nil {
		kind.applied(s, key, before, v)
	}
}

// canonical returns the bytes of a record that are hashed. The next call uses the memory again.
func (s *state) canonical(kind *Kind, key string, v Value) []byte {
	s.scratch = appendValue(appendHead(s.scratch[:0], kind.Number, key), v)
	return s.scratch
}

// appendValue appends the encoded v to b.
func appendValue(b []byte, v logv1.Value) []byte {
	b, err := logv1.AppendValue(b, v)
	if err != nil {
		panic(err) // generated code: it returns an error for no message
	}
	return b
}

func sameValue(a, b Value) bool {
	return a.SizeVT() == b.SizeVT() && bytes.Equal(appendValue(nil, a), appendValue(nil, b))
}

// tableLoader loads the records of a kind that has a table.
type tableLoader struct {
	s    *state
	kind *Kind

	mu     sync.Mutex // guards what follows
	loaded map[string]Value
	hash   multiset
}

func (l *tableLoader) part(_ int, records []logv1.KeyValue) error {
	loaded := make(map[string]Value, len(records))
	var hash multiset
	var canonical []byte
	for _, r := range records {
		key := string(r.Key)
		v, err := l.kind.decode(key, r.Value)
		if err != nil {
			return err
		}
		loaded[key] = v
		canonical = append(appendHead(canonical[:0], l.kind.Number, key), r.Value...)
		hash.add(canonical)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, v := range loaded {
		l.loaded[key] = v
	}
	l.hash.sum(hash)
	return nil
}

func (l *tableLoader) finish(*logv1.RegistryMeta) error {
	t := l.s.tables.find(l.kind)
	t.changed = true
	for key, v := range l.loaded {
		t.records.Set(key, v)
		if l.kind.applied != nil {
			l.kind.applied(l.s, key, nil, v)
		}
	}
	l.s.hash.sum(l.hash)
	return nil
}

// GetRecord returns the record of a kind that has a key, nil if there is none, and the revision of that
// cut. It is not for services, nor for request ids.
func (f *FSM) GetRecord(kind logv1.Kind, key string) (Value, int64) {
	v := f.view.Load()
	return v.record(v.kinds.find(kind), key), v.revision
}

// ListRecords calls visit with the records of a kind whose keys begin with prefix, in the order of the keys
// and of one cut, until it returns false. It returns the revision of the cut. It is not for services, nor
// for request ids.
func (f *FSM) ListRecords(kind logv1.Kind, prefix string, visit func(key string, v Value) bool) int64 {
	v := f.view.Load()
	v.tables.find(v.kinds.find(kind)).records.Ascend(prefix, func(key string, r Value) bool {
		return strings.HasPrefix(key, prefix) && visit(key, r)
	})
	return v.revision
}

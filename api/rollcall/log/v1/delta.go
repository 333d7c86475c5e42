package logv1

// Delta is what a run of log entries changed: the unit in which the fold hands its work to the registry
// file, which stores it whole or not at all. It owns nothing: records and events in it are never
// modified again.
type Delta struct {
	// Index and Term are of the last entry of the run.
	Index, Term uint64
	// Revision and LogTime are the registry's after it.
	Revision, LogTime int64
	// Horizon is the registry's after it; 0: as before.
	Horizon int64
	// Level is the cluster's feature level after it; 0: as before.
	Level     uint32
	ClusterID string
	// StateHash is of the registry after the run; nil: not known.
	StateHash *StateHash

	Records []Record // each kind and key at most once; neighbours are mostly of one kind
	Events  []*Event // in order of revision
}

// Record is a record of any kind, to be put or deleted.
type Record struct {
	Kind  Kind
	Key   string
	Value Value // nil: the record is deleted
}

// Value is a record that can be encoded. Messages of this package are values. The same record always gives
// the same bytes: they are stored, hashed, and compared with those of the newest event.
type Value interface {
	SizeVT() int
	// MarshalToSizedBufferVT writes the bytes to the end of a buffer that has room for them.
	MarshalToSizedBufferVT([]byte) (int, error)
}

// AppendValue appends the bytes of v to b.
func AppendValue(b []byte, v Value) ([]byte, error) {
	size := v.SizeVT()
	b = append(b, make([]byte, size)...)
	_, err := v.MarshalToSizedBufferVT(b[len(b)-size:])
	return b, err
}

// KeyValue is a record as it is stored.
type KeyValue struct{ Key, Value []byte }

// Visitor receives the records of a registry file, kind after kind. An error ends the visit.
type Visitor interface {
	// Records is given neighbouring records of one kind, in the order of their keys. It may be called by
	// several goroutines at a time, with parts that are numbered from 0 in the order of their keys, but only
	// ever for one kind at a time. What it is given is only there during the call.
	Records(kind Kind, part int, records []KeyValue) error
}

// VisitorFunc is a Visitor.
type VisitorFunc func(kind Kind, part int, records []KeyValue) error

// Records implements Visitor.
func (f VisitorFunc) Records(kind Kind, part int, records []KeyValue) error {
	return f(kind, part, records)
}

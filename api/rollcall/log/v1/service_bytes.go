package logv1

import (
	"bytes"
	"encoding/binary"
)

// ServiceBytes is an encoded ServiceRecord taken apart without a copy: a start reads millions of them,
// and neighbours differ in little but their names. Its slices are parts of what was parsed.
type ServiceBytes struct {
	Service    []byte // none if the record does not name it
	StatusTime int64
	Reported   bool // there is a report
	Status     Status
	Revision   int64
	// Origin is the report without Status and Revision, as two runs of encoded fields: for records that
	// are equal in it, why they are as they are is equal too. See Report.
	Origin [2][]byte
}

// maxStatus is the highest Status there is; they have no gaps.
const maxStatus = uint64(Status_STATUS_SERVICE_UNKNOWN)

// ParseService takes a payload apart. It takes what this package's own encoding of a ServiceRecord
// looks like; false: the payload is not of that form, and Open has to say what it is.
func ParseService(payload []byte) (s ServiceBytes, ok bool) {
	b := payload
	if len(b) > 0 && b[0] == 1<<3|2 {
		if s.Service, b, ok = cutBytes(b, 1); !ok {
			return s, false
		}
	}
	var report []byte
	if report, b, s.Reported = cutBytes(b, 2); s.Reported {
		var status, revision uint64
		if status, report, ok = cutVarint(report, 1); !ok || status > maxStatus {
			return s, false
		}
		s.Status = Status(status)
		why := report
		if report, ok = skipBytes(report, 2); !ok { // reason
			return s, false
		}
		if report, ok = skipBytes(report, 3); !ok { // actor
			return s, false
		}
		if _, report, ok = cutVarint(report, 4); !ok { // time
			return s, false
		}
		s.Origin[0] = why[:len(why)-len(report)]
		if revision, report, ok = cutVarint(report, 5); !ok {
			return s, false
		}
		s.Revision = int64(revision)
		s.Origin[1] = report
		if report, ok = skipBytes(report, 6); !ok { // request id
			return s, false
		}
		if report, ok = skipBytes(report, 7); !ok || len(report) > 0 { // lease id
			return s, false
		}
	} else if len(b) > 0 && b[0] == 2<<3|2 {
		return s, false
	}
	var since uint64
	if since, b, ok = cutVarint(b, 3); !ok {
		return s, false
	}
	s.StatusTime = int64(since)
	return s, len(b) == 0
}

// SameOrigin says whether s and o have the same Origin.
func (s *ServiceBytes) SameOrigin(o *ServiceBytes) bool {
	return bytes.Equal(s.Origin[0], o.Origin[0]) && bytes.Equal(s.Origin[1], o.Origin[1])
}

// Report decodes the Origin. Status and Revision are not set.
func (s *ServiceBytes) Report() (*Report, error) {
	r := new(Report)
	if err := r.UnmarshalVT(append(s.Origin[0][:len(s.Origin[0]):len(s.Origin[0])], s.Origin[1]...)); err != nil {
		return nil, err
	}
	return r, nil
}

// cutVarint takes field off b; 0 if b does not begin with it. False: it is not well-formed.
func cutVarint(b []byte, field byte) (uint64, []byte, bool) {
	if len(b) == 0 || b[0] != field<<3 {
		return 0, b, true
	}
	v, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return 0, b, false
	}
	return v, b[1+n:], true
}

// cutBytes takes field off b, which has to begin with it.
func cutBytes(b []byte, field byte) (value, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != field<<3|2 {
		return nil, b, false
	}
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)-1-k) {
		return nil, b, false
	}
	b = b[1+k:]
	return b[:n:n], b[n:], true
}

// skipBytes takes field off b if b begins with it. False: it is not well-formed.
func skipBytes(b []byte, field byte) ([]byte, bool) {
	if len(b) == 0 || b[0] != field<<3|2 {
		return b, true
	}
	_, rest, ok := cutBytes(b, field)
	return rest, ok
}

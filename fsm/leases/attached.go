package leases

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/tidwall/btree"
)

// idLength is how many hexadecimal digits the id of a lease has.
const idLength = 16

// IsID says whether a text can be the id of a lease: 16 hexadecimal digits in lower case.
func IsID(id string) bool {
	_, ok := parse(id)
	return ok
}

// parse returns the number that an id stands for.
func parse(id string) (uint64, bool) {
	if len(id) != idLength {
		return 0, false
	}
	var n uint64
	for i := range idLength {
		switch c := id[i]; {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

// format is the reverse of parse.
func format(n uint64) string {
	id := strconv.FormatUint(n, 16)
	return "0000000000000000"[len(id):] + id
}

// Attached are the reports that are attached to leases, by lease and revision. R is what stands for a report. Texts
// that cannot be the id of a lease are no leases: nothing is attached to them.
//
// The order by revision is the same on every node, also after a restart. So a command that changes only a part of
// what is attached to a lease changes the same part everywhere.
type Attached[R any] struct {
	reports *btree.BTreeG[Report[R]]
	newest  *Attached[R] // the newest snapshot, unless changed
	changed bool
}

// Report is a report that is attached to a lease.
type Report[R any] struct {
	lease    uint64
	Revision int64 // of the event that made the report
	Value    R
}

// Lease returns the id of the lease.
func (r Report[R]) Lease() string { return format(r.lease) }

func before[R any](a, b Report[R]) bool {
	return a.lease < b.lease || a.lease == b.lease && a.Revision < b.Revision
}

// New returns an empty Attached.
func New[R any]() *Attached[R] {
	return &Attached[R]{reports: btree.NewBTreeGOptions(before[R], btree.Options{NoLocks: true}), changed: true}
}

// Make returns a report of a lease. ok is false if lease cannot be the id of one.
func Make[R any](lease string, revision int64, value R) (r Report[R], ok bool) {
	n, ok := parse(lease)
	return Report[R]{n, revision, value}, ok
}

// Fill returns an Attached of all reports. It sorts them.
func Fill[R any](reports []Report[R]) *Attached[R] {
	slices.SortFunc(reports, func(a, b Report[R]) int {
		if a.lease != b.lease {
			return cmp.Compare(a.lease, b.lease)
		}
		return cmp.Compare(a.Revision, b.Revision)
	})
	a := New[R]()
	for _, r := range reports {
		a.reports.Load(r)
	}
	return a
}

// Add attaches a report to a lease.
func (a *Attached[R]) Add(lease string, revision int64, value R) {
	if r, ok := Make(lease, revision, value); ok {
		a.reports.Set(r)
		a.changed = true
	}
}

// Remove undoes an Add.
func (a *Attached[R]) Remove(lease string, revision int64) {
	if n, ok := parse(lease); ok {
		a.reports.Delete(Report[R]{lease: n, Revision: revision})
		a.changed = true
	}
}

// Snapshot returns a as it is now, for a view: it never changes. It is the same one until a changes.
func (a *Attached[R]) Snapshot() *Attached[R] {
	if a.changed {
		a.newest, a.changed = &Attached[R]{reports: a.reports.Copy()}, false
	}
	return a.newest
}

// Len is how many reports are attached to leases.
func (a *Attached[R]) Len() int { return a.reports.Len() }

// Ascend calls visit with the reports of a lease, the oldest first, until it returns false.
func (a *Attached[R]) Ascend(lease string, visit func(Report[R]) bool) {
	n, ok := parse(lease)
	if !ok {
		return
	}
	a.reports.Ascend(Report[R]{lease: n}, func(r Report[R]) bool { return r.lease == n && visit(r) })
}

// Scan calls visit with all reports, until it returns false.
func (a *Attached[R]) Scan(visit func(Report[R]) bool) { a.reports.Scan(visit) }

// Find returns the report of a lease with a revision.
func (a *Attached[R]) Find(lease string, revision int64) (value R, ok bool) {
	n, ok := parse(lease)
	if !ok {
		return value, false
	}
	r, ok := a.reports.Get(Report[R]{lease: n, Revision: revision})
	return r.Value, ok
}

// Newest is the revision of the newest report of a lease; 0: nothing is attached to it.
func (a *Attached[R]) Newest(lease string) (revision int64) {
	n, ok := parse(lease)
	if !ok {
		return 0
	}
	a.reports.Descend(Report[R]{lease: n, Revision: math.MaxInt64}, func(r Report[R]) bool {
		if r.lease == n {
			revision = r.Revision
		}
		return false
	})
	return revision
}

// Count is how many reports are attached to a lease. It takes the longer the more there are in all, but hardly:
// some microseconds.
func (a *Attached[R]) Count(lease string) int {
	n, ok := parse(lease)
	if !ok {
		return 0
	}
	return a.rank(Report[R]{lease: n, Revision: math.MaxInt64}) - a.rank(Report[R]{lease: n})
}

// rank returns how many reports come before one that is not there itself.
func (a *Attached[R]) rank(at Report[R]) int {
	low, high := 0, a.reports.Len()
	for low < high {
		middle := (low + high) / 2
		if r, _ := a.reports.GetAt(middle); before(r, at) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

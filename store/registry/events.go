package registry

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
	"strings"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Keys of events_by_key: of a record's name, 0x00 and the revision of an event. A name is the number of
// the kind, as a varint, and the key, which holds no 0x00: so all events of a record stand together, and
// records in the order of kind and key.
const (
	endOfName     = 0x00
	afterEvents   = 0x01 // name afterEvents: behind the name's events, not behind any other name
	revisionBytes = 8
)

func revisionKey(revision int64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, revisionBytes), uint64(revision))
}

// hasName says whether the index can have a record with this key.
func hasName(kind logv1.Kind, key string) bool {
	return kind > 0 && key != "" && strings.IndexByte(key, endOfName) < 0
}

// recordName names a record among those of all kinds. The index can have none for some keys: false.
func recordName(kind logv1.Kind, key string) (string, bool) {
	if !hasName(kind, key) {
		return "", false
	}
	return string(appendName(make([]byte, 0, maxKindBytes+len(key)), kind, key)), true
}

func appendName(b []byte, kind logv1.Kind, key string) []byte {
	return append(appendKind(b, kind), key...)
}

const maxKindBytes = binary.MaxVarintLen32

func appendKind(b []byte, kind logv1.Kind) []byte { return binary.AppendUvarint(b, uint64(kind)) }

// splitName is the reverse of recordName.
func splitName(name []byte) (kind logv1.Kind, key []byte, ok bool) {
	number, n := binary.Uvarint(name)
	if n <= 0 || n == len(name) || number == 0 || number > math.MaxInt32 {
		return 0, nil, false
	}
	return logv1.Kind(number), name[n:], true
}

// describeName is for people.
func describeName(name []byte) string {
	kind, key, ok := splitName(name)
	if !ok {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("%q of kind %d", key, kind)
}

// indexName is under which name an event is in the index; "": it is not.
func indexName(e *logv1.Event) string {
	name, _ := recordName(e.GetKind(), e.GetKey())
	return name
}

// indexKey is where the index has what happened to a name at a revision.
func indexKey(name string, revision int64) []byte {
	return appendRevision(append(make([]byte, 0, len(name)+1+revisionBytes), name...), revision)
}

// appendRevision makes an index key of a name.
func appendRevision(name []byte, revision int64) []byte {
	return binary.BigEndian.AppendUint64(append(name, endOfName), uint64(revision))
}

// splitIndexKey is the reverse of indexKey.
func splitIndexKey(key []byte) (name []byte, revision int64, err error) {
	end := len(key) - revisionBytes - 1
	if end < 1 || key[end] != endOfName {
		return nil, 0, fmt.Errorf("bucket %s, key %q: %w", bucketEventsByKey, key, vfs.ErrDamaged)
	}
	return key[:end], int64(binary.BigEndian.Uint64(key[end+1:])), nil
}

// Events visits the retained events of q in order, as of one moment, until visit answers that it wants
// no more. Events that are not durable yet are not among them. It is a read of the file as of one
// moment, which keeps pages of it from being used again: visit should only collect, and read on with
// another call, rather than feed somebody slow.
//
// From may be below what is kept whole, see the span: what is left there is visited.
//
// The error is ctx's, visit's, ErrScanEnded or vfs.ErrClosed, or says what is damaged. With an error of
// visit or ctx the span may be zero.
func (j *File) Events(ctx context.Context, q logv1.EventQuery, visit func(*logv1.Event) (more bool, err error)) (span logv1.EventSpan, err error) {
	err = j.readEvents(ctx, func(r *eventReader) error {
		span = r.span
		from, to := max(q.From, 1), q.To
		if to == 0 || to > span.Newest {
			to = span.Newest
		}
		if from > to {
			return nil
		}
		if q.Kind == logv1.Kind_KIND_UNSPECIFIED {
			return r.visitAll(from, to, q.Descending, visit)
		}
		name, ok := recordName(q.Kind, q.Key)
		if !ok {
			return nil
		}
		return r.visitRecord(name, from, to, q.Descending, visit)
	})
	return span, err
}

// EventsAt visits, by key, of each record of a kind whose key begins with prefix and comes after the key
// after, the newest event at or below revision; a record that was deleted by then can be missing or
// show its deletion. It ends after limit records, or when visit wants no more: fewer visits mean that
// there are no more. For revisions from Oldest-1 on what it visits is all of the registry at revision;
// below it is not. What Events says of visit and errors is true here.
func (j *File) EventsAt(ctx context.Context, kind logv1.Kind, revision int64, prefix, after string, limit int, visit func(*logv1.Event) (more bool, err error)) (span logv1.EventSpan, err error) {
	err = j.readEvents(ctx, func(r *eventReader) error {
		span = r.span
		return r.visitRecordsAt(kind, revision, prefix, after, limit, visit)
	})
	return span, err
}

// RevisionAt returns the registry's revision at a time, in Unix nanoseconds of log time: that of the
// newest durable event which is not later. It always ends an atomic write. The error is a
// *logv1.CompactedError if the time is before the oldest event that is kept; 0 means before the first
// of all.
func (j *File) RevisionAt(ctx context.Context, time int64) (revision int64, span logv1.EventSpan, err error) {
	err = j.readEvents(ctx, func(r *eventReader) (err error) {
		span = r.span
		revision, err = r.revisionAt(time)
		return err
	})
	return revision, span, err
}

// AwaitDurable returns when the registry file holds revision durably. What it waits for is written within
// FlushInterval, however long flushes take. The error is ctx's, vfs.ErrClosed, or why the registry file has failed.
func (j *File) AwaitDurable(ctx context.Context, revision int64) error {
	for {
		j.mu.Lock()
		durable, failed, closed, flushed := j.durable.GetRevision(), j.failed, j.closed, j.room
		hurry := durable < revision && !j.open.awaited
		j.open.awaited = j.open.awaited || hurry
		j.mu.Unlock()
		if hurry {
			j.wakeWriter()
		}
		switch {
		case durable >= revision:
			return nil
		case failed != nil:
			return failed
		case closed:
			return vfs.ErrClosed
		}
		select {
		case <-flushed:
		case <-j.failure:
		case <-j.stop:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// eventReader reads the events as of one moment.
type eventReader struct {
	ctx        context.Context
	scan       *scan
	meta       *logv1.RegistryMeta
	span       logv1.EventSpan
	all, byKey *bbolt.Bucket
	block      *eventBlock // read last; nil: none
}

// readEvents runs read in a transaction that ends early, as a Scan does.
func (j *File) readEvents(ctx context.Context, read func(*eventReader) error) error {
	s := &scan{done: make(chan struct{})}
	tx, err := j.beginScan(ctx, s)
	if err != nil {
		return fmt.Errorf("read events of %s: %w", j.path, err)
	}
	defer j.forgetScan(s)
	// The visitor's own errors are its own, and not this file's.
	var visitor *visitError
	err = boltfile.Guard(func() (err error) {
		defer func() { err = errors.Join(err, tx.Rollback()) }()
		meta, err := readMeta(tx)
		if err != nil {
			return err
		}
		return read(&eventReader{
			ctx: ctx, scan: s, meta: meta, span: spanOf(meta),
			all: tx.Bucket(bucketEvents), byKey: tx.Bucket(bucketEventsByKey),
		})
	})
	var compacted *logv1.CompactedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &visitor):
		return visitor.error
	case errors.As(err, &compacted):
		return compacted
	}
	return fmt.Errorf("read events of %s: %w", j.path, err)
}

func spanOf(meta *logv1.RegistryMeta) logv1.EventSpan {
	return logv1.EventSpan{Oldest: max(meta.GetHorizon(), 1), Newest: meta.GetRevision()}
}

// visitError is an error of who visits.
type visitError struct{ error }

// goOn is asked before each step.
func (r *eventReader) goOn() error {
	if r.scan.ending.Load() {
		return ErrScanEnded
	}
	return r.ctx.Err()
}

func missingEvent(revision int64) error {
	return fmt.Errorf("bucket %s: %w: revision %d is missing", bucketEvents, vfs.ErrDamaged, revision)
}

// hand hands an event to who visits.
func (r *eventReader) hand(e *logv1.Event, visit func(*logv1.Event) (bool, error)) (bool, error) {
	more, err := visit(e)
	if err != nil {
		return false, &visitError{err}
	}
	return more, nil
}

// walkIndex calls f for the keys from first to last, inclusive, until it answers false.
func (r *eventReader) walkIndex(first, last []byte, descending bool, f func(key []byte) (bool, error)) error {
	c := r.byKey.Cursor()
	next := c.Next
	key, _ := c.Seek(first)
	if descending {
		next = c.Prev
		key, _ = seekBack(c, last)
	}
	for ; key != nil && bytes.Compare(first, key) <= 0 && bytes.Compare(key, last) <= 0; key, _ = next() {
		if err := r.goOn(); err != nil {
			return err
		}
		if more, err := f(key); err != nil || !more {
			return err
		}
	}
	return nil
}

// seekBack moves to the last key that is not behind key.
func seekBack(c *bbolt.Cursor, key []byte) ([]byte, []byte) {
	at, value := c.Seek(key)
	switch {
	case at == nil:
		return c.Last()
	case !bytes.Equal(at, key):
		return c.Prev()
	}
	return at, value
}

func (r *eventReader) visitAll(from, to int64, descending bool, visit func(*logv1.Event) (bool, error)) error {
	low := max(from, r.span.Oldest) // from here to to there must be all
	next, end, step := low, to+1, int64(1)
	if descending {
		next, end, step = to, low-1, -1
	}
	if low > to {
		next = end
	}
	stopped := false
	err := r.walkBlocks(from, to, descending, func(b *eventBlock) (bool, error) {
		at, beyond := max(b.first, from), min(b.last(), to)+1
		if descending {
			at, beyond = beyond-1, at-1
		}
		for ; at != beyond; at += step {
			if err := r.goOn(); err != nil {
				return false, err
			}
			if at >= low {
				if at != next {
					return false, missingEvent(next)
				}
				next += step
			}
			e, err := b.event(at)
			if err != nil {
				return false, err
			}
			if more, err := r.hand(e, visit); err != nil || !more {
				stopped = true
				return false, err
			}
		}
		return true, nil
	})
	if err == nil && !stopped && next != end {
		return missingEvent(next)
	}
	return err
}

func (r *eventReader) visitRecord(name string, from, to int64, descending bool, visit func(*logv1.Event) (bool, error)) error {
	return r.walkIndex(indexKey(name, from), indexKey(name, to), descending, func(key []byte) (bool, error) {
		e, err := r.indexed(key)
		if err != nil {
			return false, err
		}
		return r.hand(e, visit)
	})
}

// indexed returns the event that a key of events_by_key leads to.
func (r *eventReader) indexed(key []byte) (*logv1.Event, error) {
	name, revision, err := splitIndexKey(key)
	if err != nil {
		return nil, err
	}
	e, err := r.at(revision)
	if err != nil {
		return nil, err
	}
	if indexName(e) != string(name) {
		return nil, fmt.Errorf("bucket %s, key %q: %w: revision %d is of %s", bucketEventsByKey, key, vfs.ErrDamaged, revision, describeName([]byte(indexName(e))))
	}
	return e, nil
}

func (r *eventReader) visitRecordsAt(kind logv1.Kind, revision int64, prefix, after string, limit int, visit func(*logv1.Event) (bool, error)) error {
	c := r.byKey.Cursor()
	from := appendKind(nil, kind)
	wanted := append(bytes.Clone(from), prefix...) // how names begin
	start := wanted
	if prefix <= after && after != "" {
		start = append(append(from, after...), afterEvents)
	}
	for key, _ := c.Seek(start); key != nil && limit > 0; {
		if err := r.goOn(); err != nil {
			return err
		}
		name, first, err := splitIndexKey(key)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(name, wanted) {
			return nil
		}
		behind := append(bytes.Clone(name), afterEvents)
		if first <= revision { // else it did not exist yet
			newest, _ := seekBack(c, indexKey(string(name), revision))
			e, err := r.indexed(newest)
			if err != nil {
				return err
			}
			limit--
			if more, err := r.hand(e, visit); err != nil || !more {
				return err
			}
		}
		key, _ = c.Seek(behind)
	}
	return nil
}

func (r *eventReader) revisionAt(time int64) (int64, error) {
	if time >= r.meta.GetLogTime() {
		return r.span.Newest, nil
	}
	// Times never fall, and all events of an atomic write have one time.
	var damage error
	count := r.span.Newest - r.span.Oldest + 1
	later := sort.Search(int(count), func(i int) bool {
		if damage != nil {
			return true
		}
		e, err := r.at(r.span.Oldest + int64(i))
		damage = err
		return err != nil || e.GetTime() > time
	})
	switch {
	case damage != nil:
		return 0, damage
	case later > 0:
		return r.span.Oldest + int64(later) - 1, nil
	case r.span.Oldest > 1:
		return 0, &logv1.CompactedError{Asked: r.span.Oldest - 1, Oldest: r.span.Oldest}
	}
	return 0, nil
}

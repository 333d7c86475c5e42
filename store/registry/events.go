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

// hasName says whether the index can hold a record with this key.
func hasName(kind logv1.Kind, key string) bool {
	return kind > 0 && key != "" && strings.IndexByte(key, endOfName) < 0
}

// recordName returns the name of a record in the index. false: the index cannot hold a record with this key.
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

// describeName returns a name in words, for people.
func describeName(name []byte) string {
	kind, key, ok := splitName(name)
	if !ok {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("%q of kind %d", key, kind)
}

// indexName returns the name under which an event is in the index; "": it is not in the index.
func indexName(e *logv1.Event) string {
	name, _ := recordName(e.GetKind(), e.GetKey())
	return name
}

// indexKey is the key in the index of the event of a name at a revision.
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

// Events visits the retained events of q in order, as of one moment, until visit returns false. Events that
// are not durable yet are not among them. It holds a read transaction, during which bbolt cannot use freed
// pages again. So visit should only collect events; sending them to a slow client must happen after the call.
//
// From may be below the span's Oldest, where not all events are kept. The events that are left there are
// visited.
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
		var names []string
		for _, n := range append([]logv1.RecordName{{Kind: q.Kind, Key: q.Key}}, q.Also...) {
			if name, ok := recordName(n.Kind, n.Key); ok {
				names = append(names, name)
			}
		}
		if len(names) == 1 {
			return r.visitRecord(names[0], from, to, q.Descending, visit)
		}
		return r.visitRecords(names, from, to, q.Descending, visit)
	})
	return span, err
}

// EventsAt visits records of a kind as of a revision, in the order of their keys: those whose key begins with
// prefix and comes after the key after. visit gets the newest event of each record at or below revision. A
// record that was deleted by then can be missing, or visit gets its deletion. It ends after limit records, or
// when visit returns false; after fewer records there are no more. If revision is at least Oldest-1, the
// visited records are the whole registry at that revision; below, some may be missing. visit and the error
// are as for Events.
func (j *File) EventsAt(ctx context.Context, kind logv1.Kind, revision int64, prefix, after string, limit int, visit func(*logv1.Event) (more bool, err error)) (span logv1.EventSpan, err error) {
	err = j.readEvents(ctx, func(r *eventReader) error {
		span = r.span
		return r.visitRecordsAt(kind, revision, prefix, after, limit, visit)
	})
	return span, err
}

// RevisionAt returns the registry's revision at a time, in Unix nanoseconds of log time: the revision of the
// newest durable event that is not later. An atomic write always ends there. The error is a
// *logv1.CompactedError if the time is before the oldest event that is kept. Revision 0 means that the time
// is before the first event of all.
func (j *File) RevisionAt(ctx context.Context, time int64) (revision int64, span logv1.EventSpan, err error) {
	err = j.readEvents(ctx, func(r *eventReader) (err error) {
		span = r.span
		revision, err = r.revisionAt(time)
		return err
	})
	return revision, span, err
}

// AwaitDurable returns when the registry file holds revision durably. While somebody waits, a flush begins
// within FlushInterval, even if flushes take long. The error is ctx's, vfs.ErrClosed, or why the registry
// file has failed.
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
	block      *eventBlock // the last one that was read; nil: none
}

// readEvents runs read in a read transaction. It ends early, as a Scan does, when the file is closed or
// replaced.
func (j *File) readEvents(ctx context.Context, read func(*eventReader) error) error {
	s := &scan{done: make(chan struct{})}
	tx, err := j.beginScan(ctx, s)
	if err != nil {
		return fmt.Errorf("read events of %s: %w", j.path, err)
	}
	defer j.forgetScan(s)
	// An error of the visitor is no damage of this file.
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

// visitError is an error that the visitor returned.
type visitError struct{ error }

// goOn returns why the reading must end; nil: it may go on. It is called before each step.
func (r *eventReader) goOn() error {
	if r.scan.ending.Load() {
		return ErrScanEnded
	}
	return r.ctx.Err()
}

func missingEvent(revision int64) error {
	return fmt.Errorf("bucket %s: %w: revision %d is missing", bucketEvents, vfs.ErrDamaged, revision)
}

// hand hands an event to the visitor.
func (r *eventReader) hand(e *logv1.Event, visit func(*logv1.Event) (bool, error)) (bool, error) {
	more, err := visit(e)
	if err != nil {
		return false, &visitError{err}
	}
	return more, nil
}

// walkIndex calls f for the keys from first to last, inclusive, until f returns false.
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

// seekBack moves to the last key that is at or before key.
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
	low := max(from, r.span.Oldest) // from low to to no event may be missing
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

// indexed returns the event that a key of events_by_key stands for.
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
	wanted := append(bytes.Clone(from), prefix...) // the beginning of the names that are wanted
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
		if first <= revision { // otherwise the record did not exist yet
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

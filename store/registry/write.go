package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/watchdog"
)

// recordOverhead is the estimate, in bytes, of what a waiting record costs beside its content.
const recordOverhead = 128

// backlog is what was appended and will be written by one flush.
type backlog struct {
	records map[logv1.Kind]map[string]waiting // only the newest version of each record
	events  []*logv1.Event
	bytes   int

	position position  // of the last Append into it; index 0: none
	dirty    bool      // it holds a change and not only a newer position
	since    time.Time // of the first change
	awaited  bool      // somebody waits for it, but no longer than FlushInterval
	urgent   bool      // somebody waits for it now

	done chan struct{} // closed when it is durable, dropped, or never will be (err)
	err  error         // set before done is closed
}

// waiting is a record to put, or nil for one to delete.
type waiting struct {
	value logv1.Value
	bytes int
}

// newBacklog returns an empty backlog, with room for as many records as the one before held; before may be
// nil.
func newBacklog(before *backlog) *backlog {
	b := &backlog{
		records: make(map[logv1.Kind]map[string]waiting),
		done:    make(chan struct{}),
	}
	if before != nil {
		for kind, records := range before.records {
			b.records[kind] = make(map[string]waiting, len(records))
		}
		b.events = make([]*logv1.Event, 0, len(before.events))
	}
	return b
}

// put takes records. Neighbours are mostly of one kind.
func (b *backlog) put(records []logv1.Record) {
	var kind logv1.Kind
	var to map[string]waiting
	for i := range records {
		r := &records[i]
		if to == nil || r.Kind != kind {
			if kind = r.Kind; b.records[kind] == nil {
				b.records[kind] = make(map[string]waiting)
			}
			to = b.records[kind]
		}
		size := recordOverhead + len(r.Key)
		if r.Value != nil {
			size += r.Value.SizeVT()
		}
		b.bytes += size - to[r.Key].bytes
		to[r.Key] = waiting{r.Value, size}
	}
}

// add merges a delta, which follows the position before.
func (b *backlog) add(d *logv1.Delta, before position) {
	b.position = position{d.Index, d.Term, d.Revision, d.LogTime, max(d.Horizon, before.horizon),
		max(logv1.LevelNumber(d.Level), before.level), d.ClusterID, d.StateHash}
	// Entries that changed nothing cause no write of their own. After a crash they are folded again, with the
	// same result.
	changed := len(d.Records)+len(d.Events) > 0 ||
		d.Revision != before.revision || d.ClusterID != before.clusterID || b.position.horizon != before.horizon ||
		b.position.level != before.level
	if changed && !b.dirty {
		b.dirty = true
		b.since = time.Now()
	}
	b.put(d.Records)
	for _, e := range d.Events {
		b.events = append(b.events, e)
		b.bytes += recordOverhead + e.SizeVT() + 2*len(e.GetKey())
	}
}

// Append takes what a run of log entries changed; it is written soon. Append blocks while too much waits to
// be written, for as long as the disk needs: a slow disk is no failure. On a file that has failed or is
// closed it does nothing. Then OnFailure was told, and nothing is lost, because raft's log keeps the entries.
func (j *File) Append(d *logv1.Delta) {
	if !j.lockWithRoom() {
		return
	}
	wasDirty := j.open.dirty
	j.open.add(d, j.last)
	j.last = j.open.position
	wake := j.open.dirty && !wasDirty || j.open.bytes >= j.opt.FlushBytes
	j.mu.Unlock()
	if wake {
		j.wakeWriter()
	}
}

// lockWithRoom locks mu when the backlog has room, or returns false.
func (j *File) lockWithRoom() bool {
	for {
		j.mu.Lock()
		if j.failed != nil || j.closed {
			j.mu.Unlock()
			return false
		}
		bytes := j.open.bytes
		if j.writing != nil {
			bytes += j.writing.bytes
		}
		if bytes < j.opt.MaxBacklogBytes {
			return true
		}
		room := j.room
		j.open.urgent = j.open.dirty // otherwise, with MaxBacklogBytes below FlushBytes, it would wait for the interval
		j.mu.Unlock()
		j.wakeWriter()
		select {
		case <-room:
		case <-j.failure: // closed also when the disk makes no progress, see flush
			return false
		}
	}
}

// wakeWriter makes the writer check whether something is due.
func (j *File) wakeWriter() {
	select {
	case j.kick <- struct{}{}:
	default: // it will check anyway
	}
}

// Flush returns when all that was appended before is durable, or the error of why it is not: the disk's, or
// ctx's, which does not undo anything. A disk that is stuck is waited for until ctx ends.
func (j *File) Flush(ctx context.Context) error {
	j.mu.Lock()
	if j.failed != nil || j.closed {
		defer j.mu.Unlock()
		return j.failed
	}
	b := j.open
	if b.position.index > 0 {
		b.urgent = true
	} else {
		b = j.writing
	}
	j.mu.Unlock()
	if b == nil {
		return nil
	}
	j.wakeWriter()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	case <-j.failure:
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.failed
	}
}

// write is the writer: it flushes what is due, and compacts a little between flushes, until it is
// stopped or the disk has failed.
func (j *File) write() {
	defer close(j.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var rested time.Time // when the next step of a compaction may begin
	for {
		select {
		case <-j.stop:
			return
		case <-j.failure:
			return
		case <-j.kick:
		case <-timer.C:
		}
		for {
			due, wait := j.due()
			if due {
				if err := j.flush(); err != nil {
					j.fail(err)
					return
				}
			}
			compacted, rest, err := j.compactIfRested(&rested)
			if err != nil {
				j.fail(err)
				return
			}
			if rest > 0 && (wait == 0 || rest < wait) {
				wait = rest
			}
			if !due && !compacted {
				if wait > 0 {
					timer.Reset(wait)
				}
				break
			}
		}
	}
}

// due reports whether the open backlog is to be written now and, if not, after how long (0: not before
// something is appended).
func (j *File) due() (bool, time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.open
	switch {
	case j.failed != nil:
		return false, 0
	case b.urgent, b.bytes >= j.opt.FlushBytes:
		return true, 0
	case !b.dirty:
		return false, 0
	}
	wait := j.interval() - time.Since(b.since)
	return wait <= 0, max(wait, 0)
}

// flushShare is the part of the time that flushes take, as 1/flushShare: what is flushed together shares
// pages and replaces each other, so that fewer flushes write less. Under load that is worth more than a
// registry file that is close behind.
const flushShare = 20

// interval is how long the open backlog is to gather changes. mu must be held.
func (j *File) interval() time.Duration {
	if j.open.awaited {
		return j.opt.FlushInterval
	}
	return max(j.opt.FlushInterval, min(flushShare*j.took, j.opt.MaxFlushInterval))
}

// flush writes the open backlog.
func (j *File) flush() error {
	j.mu.Lock()
	bytes := j.open.bytes
	j.mu.Unlock()
	defer watchdog.Watch(j.path, watchdog.Limit(bytes), j.fail)()
	// disk first: between a backlog being taken and written the file must not be replaced.
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	j.mu.Lock()
	b := j.open
	if b.position.index == 0 {
		j.mu.Unlock()
		return nil // dropped meanwhile
	}
	j.open = newBacklog(b)
	j.writing = b
	meta := proto.CloneOf(j.durable)
	j.mu.Unlock()

	meta.Index, meta.Term = b.position.index, b.position.term
	meta.Revision, meta.LogTime = b.position.revision, b.position.logTime
	meta.ClusterId = b.position.clusterID
	meta.Horizon = b.position.horizon
	meta.Level = b.position.level
	meta.StateHash = b.position.hash
	start := time.Now()
	err := j.commit(b, meta)
	took := time.Since(start)
	if err != nil {
		err = fmt.Errorf("%s cannot be written: %w", j.path, err)
	}

	j.mu.Lock()
	j.writing = nil
	j.took = took
	if err == nil {
		j.durable = meta
	}
	b.err = err
	if broken := (*boltfile.PanicError)(nil); errors.As(err, &broken) {
		j.wrecked = err
	}
	close(j.room)
	j.room = make(chan struct{})
	waiting := j.open.bytes
	j.mu.Unlock()
	if err == nil && j.opt.OnFlushed != nil {
		j.opt.OnFlushed(Flush{Took: took, Bytes: b.bytes, Waiting: waiting, Limit: j.opt.MaxBacklogBytes})
	}
	close(b.done) // who waits finds it in the metrics too
	return err
}

// commit writes a backlog in one transaction.
func (j *File) commit(b *backlog, meta *logv1.RegistryMeta) error {
	if j.opt.Intercept != nil {
		if err := j.opt.Intercept(); err != nil {
			return err
		}
	}
	defer j.memory.reset()
	kinds := slices.Sorted(maps.Keys(b.records))
	entries := make([][]entry, len(kinds))
	for i, kind := range kinds {
		var err error
		if entries[i], err = sealed(&j.memory, b.records[kind]); err != nil {
			return err
		}
	}
	return boltfile.Guard(func() error {
		err := j.db.Update(func(tx *bbolt.Tx) error {
			for i, kind := range kinds {
				if err := putRecords(tx, kind, entries[i]); err != nil {
					return err
				}
			}
			if err := putEvents(tx, &j.packer, &j.memory, b.events, compactedTo(meta)); err != nil {
				return err
			}
			return putMeta(tx, meta)
		})
		if err != nil {
			return err
		}
		return j.unmapOften()
	})
}

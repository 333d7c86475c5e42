package registry

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// FileName is the registry file's in a data directory.
const FileName = "registry.db"

// Buckets of registry.db, beside one for each kind of records, see kindBucket. Values are sealed, except
// where noted.
var (
	bucketMeta        = []byte("meta")          // keyMeta -> RegistryMeta; sums, see sums
	bucketEvents      = []byte("events")        // big-endian revision of the first -> EventBlock
	bucketEventsByKey = []byte("events_by_key") // see indexKey -> empty

	keyMeta = []byte("meta")
)

// Options configure a registry file. A zero field has its default.
type Options struct {
	FlushBytes       int           // a backlog of so many (estimated) bytes is written at once; 32 MiB
	FlushInterval    time.Duration // a change waits so long to be written, if writing is quick; 200 ms
	MaxFlushInterval time.Duration // and no longer than this, if it is not; 3 s
	MaxBacklogBytes  int           // Append blocks while so many bytes wait or are being written; 128 MiB
	Logger           *slog.Logger
	// OnFailure is called at most once, holding no lock, when the registry file cannot be written or the disk
	// makes no progress (package watchdog): the node must stop with that reason. It must not wait for Close.
	OnFailure func(error)
	// OnFlushed is called after each flush, holding no lock. It must not block. nil: nobody is told.
	OnFlushed func(Flush)
	// Intercept is for tests. It is called before each flush and each step of a compaction is written. An
	// error counts as an error of the disk.
	Intercept func() error

	// ClusterID returns the cluster that this node's identity names, "" if it names none yet. A snapshot of
	// another one is refused. nil: any is taken.
	ClusterID func() string

	// For tests.
	compactByHand bool  // the writer does not compact
	compactEvents int   // in one step; compactEvents
	hurryBehind   int64 // hurryBehind
}

// Flush is one backlog that was written durably.
type Flush struct {
	Took    time.Duration
	Bytes   int // of the backlog, estimated
	Waiting int // bytes that wait for the next one already
	Limit   int // MaxBacklogBytes
}

func (o Options) clusterID() string {
	if o.ClusterID == nil {
		return ""
	}
	return o.ClusterID()
}

func (o Options) withDefaults() Options {
	if o.FlushBytes <= 0 {
		o.FlushBytes = 32 << 20
	}
	if o.FlushInterval <= 0 {
		o.FlushInterval = 200 * time.Millisecond
	}
	if o.MaxFlushInterval <= 0 {
		o.MaxFlushInterval = 3 * time.Second
	}
	if o.MaxBacklogBytes <= 0 {
		o.MaxBacklogBytes = 128 << 20
	}
	if o.compactEvents <= 0 {
		o.compactEvents = compactEvents
	}
	if o.hurryBehind <= 0 {
		o.hurryBehind = hurryBehind
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// File is registry.db: the materialized registry and its events, written behind the fold. What it
// holds durably always ends at the boundary of a log entry, see Meta.
//
// Append, Snapshot and Replace are called by one goroutine, the fold's. The others may be called by
// any.
type File struct {
	path string
	opt  Options

	// disk is a semaphore of one: its holder may use and replace db. A channel and no mutex, because
	// a holder may wait (in tests, for virtual time). It is taken before mu.
	disk chan struct{}
	db   *boltfile.DB
	// Only the holder of disk uses the following, too.
	packer   eventPacker
	memory   byteArena
	unmapped int64 // what db had written when it was last unmapped

	mu        sync.Mutex    // guards the following; nobody waits, writes or calls out while holding it
	open      *backlog      // takes what is appended
	writing   *backlog      // being written; nil: none
	last      position      // of the last Append
	took      time.Duration // the last flush
	durable   *logv1.RegistryMeta
	room      chan struct{} // closed and replaced when a flush has ended
	failed    error
	closed    bool
	history   error                     // why compaction stopped: it found the history damaged
	wrecked   error                     // bbolt panicked while writing: its locks may be held for ever
	snapshots map[*fsmSnapshot]struct{} // those whose transaction is open
	scans     map[*scan]struct{}        // those whose transaction is open

	failure chan struct{} // closed with failed
	kick    chan struct{} // one token: the writer has to check whether something is due
	stop    chan struct{} // closed: the writer is to end
	stopped chan struct{} // closed by the writer

	closing  sync.Once
	closeErr error
}

// position is the place in the log up to which the registry file holds everything.
type position struct {
	index, term       uint64
	revision, logTime int64
	horizon           int64
	level             uint32 // as in RegistryMeta
	clusterID         string
	hash              *logv1.StateHash // nil: not known
}

func positionOf(m *logv1.RegistryMeta) position {
	return position{m.GetIndex(), m.GetTerm(), m.GetRevision(), m.GetLogTime(), m.GetHorizon(), m.GetLevel(), m.GetClusterId(), m.GetStateHash()}
}

func boltOptions() bbolt.Options {
	o := bbolt.Options{FreelistType: bbolt.FreelistMapType}
	// When the file outgrows its mapping, the writer waits for all readers. With a gigabyte of
	// address space reserved it rarely does; memory is used for what is there only. On Windows the
	// file itself would get that size, and 32 bits have no such room.
	if runtime.GOOS != "windows" && math.MaxInt > math.MaxInt32 {
		o.InitialMmapSize = 1 << 30
	}
	return o
}

// Open opens an intact registry file. Nothing is written to it before Start. The error wraps
// vfs.ErrDamaged, vfs.ErrNewer or vfs.ErrInUse, or is the disk's.
func Open(path string, opt Options) (*File, error) {
	db, err := boltfile.Open(path, boltOptions())
	if err != nil {
		return nil, err
	}
	stop := db.ReadAhead()
	meta, err := check(db)
	stop()
	if err == nil {
		// A process that was killed may have left its last flush in the page cache only. So it is synced
		// before it counts.
		err = boltfile.Guard(db.Sync)
	}
	if err != nil {
		db.CloseAfter(err)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newFile(path, db, meta, opt.withDefaults()), nil
}

func newFile(path string, db *boltfile.DB, meta *logv1.RegistryMeta, opt Options) *File {
	return &File{
		path:      path,
		opt:       opt,
		disk:      make(chan struct{}, 1),
		db:        db,
		open:      newBacklog(nil),
		last:      positionOf(meta),
		durable:   meta,
		room:      make(chan struct{}),
		snapshots: make(map[*fsmSnapshot]struct{}),
		scans:     make(map[*scan]struct{}),
		failure:   make(chan struct{}),
		kick:      make(chan struct{}, 1),
		stop:      make(chan struct{}),
		stopped:   make(chan struct{}),
	}
}

// Start starts the writer. It is called once.
func (j *File) Start() { go j.write() }

// Discard closes a file that was not started.
func (j *File) Discard() { j.db.CloseAfter(nil) }

// Meta returns what the registry file holds durably.
func (j *File) Meta() *logv1.RegistryMeta {
	j.mu.Lock()
	defer j.mu.Unlock()
	return proto.CloneOf(j.durable)
}

// DurableRevision returns the registry's revision that the registry file holds durably.
func (j *File) DurableRevision() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable.GetRevision()
}

// Backlog returns how many (estimated) bytes wait to be written, or are being.
func (j *File) Backlog() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	bytes := j.open.bytes
	if j.writing != nil {
		bytes += j.writing.bytes
	}
	return bytes
}

// Congested returns nil while less than half of the backlog's room is used. Otherwise it returns a channel
// that is closed when a flush has ended. A leader should wait for it before it makes another log entry,
// because an Append without room stops the fold.
func (j *File) Congested() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	bytes := j.open.bytes
	if j.writing != nil {
		bytes += j.writing.bytes
	}
	if bytes < j.opt.MaxBacklogBytes/2 || j.failed != nil || j.closed {
		return nil
	}
	return j.room
}

// DurableIndex returns the last log entry that the registry file holds durably.
func (j *File) DurableIndex() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable.GetIndex()
}

// Load hands out what the registry file holds durably, as of one moment. Each record is checked; the error
// of a damaged one names bucket and key.
func (j *File) Load(v logv1.Visitor) (*logv1.RegistryMeta, error) {
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	if j.db == nil {
		return nil, fmt.Errorf("load %s: %w", j.path, vfs.ErrClosed)
	}
	meta, err := load(j.db, v)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", j.path, err)
	}
	return meta, nil
}

// Close writes what was appended and closes the file. It waits for the writer, and for a snapshot
// that is just copying the file. Appending to a closed registry file does nothing. The error is that of an
// earlier failure, if there was one.
func (j *File) Close() error {
	j.closing.Do(func() { j.closeErr = j.close() })
	return j.closeErr
}

func (j *File) close() error {
	err := j.Flush(context.Background()) // what was appended must not be given up
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	close(j.stop)
	<-j.stopped
	j.endSnapshots()
	j.endScans()

	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	if j.db == nil {
		return err
	}
	db := j.db
	j.db = nil
	if wreck := j.wreck(); wreck != nil {
		db.CloseAfter(wreck)
		return err
	}
	if closeErr := boltfile.Guard(db.Close); closeErr != nil && err == nil {
		err = fmt.Errorf("close %s: %w", j.path, closeErr)
	}
	return err
}

// wreck returns the panic that ended the writer, if one did.
func (j *File) wreck() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.wrecked
}

// fail notes the first failure and reports it. Nothing is written after it.
func (j *File) fail(err error) {
	j.mu.Lock()
	first := j.failed == nil
	if first {
		j.failed = err
		close(j.failure)
	}
	j.mu.Unlock()
	if first && j.opt.OnFailure != nil {
		j.opt.OnFailure(err)
	}
}

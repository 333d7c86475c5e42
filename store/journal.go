package store

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// journalFormat is the format of journal.db that this code writes, and reads. One of an older format, down
// to oldestJournal, is migrated first, see migrateJournal.
//
//	1  an event stands alone, under its revision
//	2  events stand in blocks; a service's record does not name it again
const (
	journalFormat = 2
	oldestJournal = 1
)

// Buckets of journal.db. Values are sealed, except where noted.
var (
	bucketMeta            = []byte("meta")              // keyMeta -> JournalMeta; sums, see sums
	bucketServices        = []byte("services")          // name -> ServiceRecord
	bucketLeases          = []byte("leases")            // nothing yet
	bucketOverrides       = []byte("overrides")         // nothing yet
	bucketMembers         = []byte("members")           // name -> Member
	bucketRequests        = []byte("requests")          // see logv1.RequestKey -> RequestRecord
	bucketEvents          = []byte("events")            // big-endian revision of the first -> EventBlock
	bucketEventsByService = []byte("events_by_service") // see nameKey -> empty

	// registryBuckets are what Load reads: the state, not the history.
	registryBuckets = [][]byte{bucketServices, bucketLeases, bucketOverrides, bucketMembers, bucketRequests}

	keyMeta = []byte("meta")
)

// JournalOptions configure a Journal. A zero field has its default.
type JournalOptions struct {
	FlushBytes       int           // a backlog of so many (estimated) bytes is written at once; 32 MiB
	FlushInterval    time.Duration // a change waits so long to be written, if writing is quick; 200 ms
	MaxFlushInterval time.Duration // and no longer than this, if it is not; 3 s
	MaxBacklogBytes  int           // Append blocks while so many bytes wait or are being written; 128 MiB
	StallTimeout     time.Duration // an Append that is blocked longer fails the journal; 3 s
	Logger           *slog.Logger
	// OnFailure is called at most once, holding no lock, when the journal cannot be written or falls
	// too far behind: the node must stop with that reason. It must not wait for Close.
	OnFailure func(error)
	// OnFlushed is told, holding no lock, of each flush. It must not block; nil: nobody is.
	OnFlushed func(Flush)
	// Intercept is for tests: called before each flush, or step of a compaction, is written. An error
	// counts as one of the disk.
	Intercept func() error

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

func (o JournalOptions) withDefaults() JournalOptions {
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
	if o.StallTimeout <= 0 {
		o.StallTimeout = 3 * time.Second
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

// Journal is journal.db: the materialized registry and its events, written behind the fold. What it
// holds durably always ends at the boundary of a log entry, see Meta.
//
// Append, Snapshot and Replace are called by one goroutine, the fold's. The others may be called by
// any.
type Journal struct {
	dir  *Directory
	path string
	opt  JournalOptions

	// disk is a semaphore of one: its holder may use and replace db. A channel and no mutex, because
	// a holder may wait (in tests, for virtual time). It is taken before mu.
	disk chan struct{}
	db   *bolt
	// Disk's holder's, too.
	packer   eventPacker
	memory   slab
	unmapped int64 // what db had written when it was last unmapped

	mu        sync.Mutex    // guards the following; nobody waits, writes or calls out while holding it
	open      *backlog      // takes what is appended
	writing   *backlog      // being written; nil: none
	last      position      // of the last Append
	took      time.Duration // the last flush
	durable   *logv1.JournalMeta
	room      chan struct{} // closed and replaced when a flush has ended
	failed    error
	closed    bool
	history   error                         // found damaged by a compaction, which then stopped
	wrecked   error                         // bbolt panicked while writing: its locks may be held for ever
	snapshots map[*journalSnapshot]struct{} // with an open transaction
	scans     map[*scan]struct{}            // the same

	failure chan struct{} // closed with failed
	kick    chan struct{} // one token: the writer is to look whether something is due
	stop    chan struct{} // closed: the writer is to end
	stopped chan struct{} // closed by the writer

	closing  sync.Once
	closeErr error
}

// position is where the journal is in the log.
type position struct {
	index, term       uint64
	revision, logTime int64
	horizon           int64
	level             uint32 // as in JournalMeta
	clusterID         string
	hash              *logv1.StateHash // nil: not known
}

func positionOf(m *logv1.JournalMeta) position {
	return position{m.GetIndex(), m.GetTerm(), m.GetRevision(), m.GetLogTime(), m.GetHorizon(), m.GetLevel(), m.GetClusterId(), m.GetStateHash()}
}

func journalBoltOptions() bbolt.Options {
	o := bbolt.Options{FreelistType: bbolt.FreelistMapType}
	// When the file outgrows its mapping, the writer waits for all readers. With a gigabyte of
	// address space reserved it rarely does; memory is used for what is there only. On Windows the
	// file itself would get that size, and 32 bits have no such room.
	if runtime.GOOS != "windows" && math.MaxInt > math.MaxInt32 {
		o.InitialMmapSize = 1 << 30
	}
	return o
}

// newJournal starts the writer on an opened file.
func newJournal(dir *Directory, db *bolt, meta *logv1.JournalMeta, opt JournalOptions) *Journal {
	j := &Journal{
		dir:       dir,
		path:      dir.file(journalName),
		opt:       opt,
		disk:      make(chan struct{}, 1),
		db:        db,
		open:      newBacklog(nil),
		last:      positionOf(meta),
		durable:   meta,
		room:      make(chan struct{}),
		snapshots: make(map[*journalSnapshot]struct{}),
		scans:     make(map[*scan]struct{}),
		failure:   make(chan struct{}),
		kick:      make(chan struct{}, 1),
		stop:      make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	go j.write()
	return j
}

// Meta returns what the journal holds durably.
func (j *Journal) Meta() *logv1.JournalMeta {
	j.mu.Lock()
	defer j.mu.Unlock()
	return proto.CloneOf(j.durable)
}

// DurableRevision returns the registry's revision that the journal holds durably.
func (j *Journal) DurableRevision() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable.GetRevision()
}

// Backlog returns how many (estimated) bytes wait to be written, or are being.
func (j *Journal) Backlog() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	bytes := j.open.bytes
	if j.writing != nil {
		bytes += j.writing.bytes
	}
	return bytes
}

// Congested returns nil while less than half of the backlog's room is used, else what is closed when a
// flush has ended. Who makes log entries should wait for it: an Append that finds no room at all
// keeps the fold, and after StallTimeout the node, from going on.
func (j *Journal) Congested() <-chan struct{} {
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

// durableIndex returns the last log entry that the journal holds durably.
func (j *Journal) durableIndex() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable.GetIndex()
}

// Load hands out what the journal holds durably, as of one moment. Each record is checked; the error
// of a damaged one names bucket and key.
func (j *Journal) Load(v logv1.Visitor) (*logv1.JournalMeta, error) {
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	if j.db == nil {
		return nil, fmt.Errorf("load %s: %w", j.path, ErrClosed)
	}
	meta, err := loadJournal(j.db, v)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", j.path, err)
	}
	return meta, nil
}

// Close writes what was appended and closes the file. It waits for the writer, and for a snapshot
// that is just copying the file. Appending to a closed journal does nothing. The error is that of an
// earlier failure, if there was one.
func (j *Journal) Close() error {
	j.closing.Do(func() { j.closeErr = j.close() })
	return j.closeErr
}

func (j *Journal) close() error {
	err := j.Flush()
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
		db.letGo(wreck)
		return err
	}
	if closeErr := guard(db.Close); closeErr != nil && err == nil {
		err = fmt.Errorf("close %s: %w", j.path, closeErr)
	}
	return err
}

// wreck returns the panic that ended the writer, if one did.
func (j *Journal) wreck() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.wrecked
}

// fail notes the first failure and reports it. Nothing is written after it.
func (j *Journal) fail(err error) {
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

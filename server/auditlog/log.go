package auditlog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxWaiting bounds the lines that wait for the file, in bytes: about 30,000 lines.
	maxWaiting = 8 << 20
	// writeEvery is the pause between two writes: lines that come in it are written together.
	writeEvery = 10 * time.Millisecond
	// flushEvery is the pause between two fsyncs.
	flushEvery = time.Second
	// retryEvery is the pause before a write that failed is tried again.
	retryEvery = time.Second
	// warnEvery is the pause between two warnings.
	warnEvery = time.Minute
	// A stranger can have very many calls refused: there are at most so many lines a second of calls that were refused
	// for who the caller is, or by this node itself, and so many at once.
	refusalsPerSecond = 50
	refusalsAtOnce    = 500
)

// Config says where an audit log is.
type Config struct {
	// File is the path. The directory must be there. The file is made if it is missing, with mode 0600, and must be
	// a regular one.
	File   string
	Node   string // this node's name
	Logger *slog.Logger

	faults faults
}

// Log is an audit log that is open. Its methods may be called at the same time.
type Log struct {
	cfg      Config
	wake     chan struct{} // capacity 1: there is something to write
	reopen   chan struct{} // capacity 1
	closing  chan struct{}
	once     sync.Once
	done     chan struct{} // closed when the writer has ended
	closeErr error         // to be read after done
	refusals *rate.Limiter

	mu       sync.Mutex // guards what follows
	waiting  []byte     // lines that the writer has not taken
	lost     uint64     // lines that no line tells of yet: there was no room
	left     uint64     // the same of refusals above the limit
	toldLeft time.Time  // when a line told of these
	over     bool       // nothing is taken any more
	counters Stats
}

// Stats counts since the log was opened.
type Stats struct {
	Written    uint64 // lines that are in the file
	NotWritten uint64 // lines that are lost: the file could not be written for too long
	LeftOut    uint64 // refused calls that have no line: there were too many at once
}

// Open opens an audit log. The error says what is wrong with the file.
func Open(cfg Config) (*Log, error) {
	f := &file{path: cfg.File, faults: cfg.faults}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("open the audit log %s: %w", cfg.File, err)
	}
	l := &Log{
		cfg:      cfg,
		wake:     make(chan struct{}, 1),
		reopen:   make(chan struct{}, 1),
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
		refusals: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce),
	}
	w := &writer{log: l, file: f}
	go w.run()
	return l, nil
}

// Add adds a line. It does not wait. What e holds is not used after it.
func (l *Log) Add(e *Entry) {
	var scratch [1 << 10]byte
	line := e.append(scratch[:0], time.Now(), l.cfg.Node)
	l.mu.Lock()
	l.tell()
	if !l.put(line) {
		l.lost++
		l.counters.NotWritten++
	}
	l.mu.Unlock()
	signal(l.wake)
}

// AddRefusal is Add for a call whose refusal cost its caller nothing. Of very many at once some have no line.
func (l *Log) AddRefusal(e *Entry) {
	if l.refusals.Allow() {
		l.Add(e)
		return
	}
	l.mu.Lock()
	l.left++
	l.counters.LeftOut++
	l.mu.Unlock()
	signal(l.wake)
}

// put adds a line if there is room for it. mu is held.
func (l *Log) put(line []byte) bool {
	if l.over || len(l.waiting)+len(line) > maxWaiting {
		return false
	}
	l.waiting = append(l.waiting, line...)
	return true
}

// tell adds the lines that say how many are missing. mu is held.
func (l *Log) tell() {
	if l.lost == 0 && l.left == 0 {
		return
	}
	now := time.Now()
	if l.lost > 0 && l.put(appendLost(nil, now, l.cfg.Node, l.lost, "the file could not be written")) {
		l.lost = 0
	}
	if l.left > 0 && now.Sub(l.toldLeft) >= flushEvery && l.put(appendLost(nil, now, l.cfg.Node, l.left, "too many refused calls at once")) {
		l.left, l.toldLeft = 0, now
	}
}

// Reopen looks soon whether another file, or none, is at the path, and opens that one. It is found without it, too, at
// the next line.
func (l *Log) Reopen() { signal(l.reopen) }

// Stats returns the counts.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counters
}

// Close writes what waits, has the disk store it, and closes the file. It returns an error if ctx ends before, or
// lines are lost.
func (l *Log) Close(ctx context.Context) error {
	l.once.Do(func() { close(l.closing) })
	select {
	case <-l.done:
		return l.closeErr
	case <-ctx.Done():
		return fmt.Errorf("lines of the audit log may be lost: its file does not answer: %w", ctx.Err())
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

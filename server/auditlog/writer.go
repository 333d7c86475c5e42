package auditlog

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// writer is the goroutine that writes.
type writer struct {
	log  *Log
	file *file
	last []byte // the batch before, to be used again

	failing bool      // the last write failed
	warned  time.Time // when that was logged
	before  uint64    // lines that were lost before it began to fail
}

func (w *writer) run() {
	l := w.log
	defer close(l.done)
	var flush <-chan time.Time // nil: nothing is to be stored
	for {
		if w.failing {
			w.pause(retryEvery)
		}
		var err error
		select {
		case <-l.closing:
			l.closeErr = w.end()
			return
		default:
		}
		if !w.failing {
			select {
			case <-l.wake:
			case <-l.reopen:
				err = w.file.follow()
			case <-flush:
				flush, err = nil, w.file.flush()
			case <-l.closing:
				continue
			}
		}
		if err == nil {
			err = w.write()
		}
		w.report(err)
		if flush == nil && (w.file.sync || l.owes()) {
			flush = time.After(flushEvery)
		}
		if !w.failing {
			w.pause(writeEvery)
		}
	}
}

// pause waits until d is over, or there is no time to wait.
func (w *writer) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.log.closing:
	}
}

// write writes what waits.
func (w *writer) write() error {
	var lines []byte
	if len(w.file.rest) == 0 {
		lines = w.log.take(w.last)
		w.last = lines
	}
	n, err := w.file.write(lines)
	w.log.count(n, 0)
	return err
}

// report logs that writing fails, or works again.
func (w *writer) report(err error) {
	l, now := w.log, time.Now()
	log := l.cfg.Logger.With("file", l.cfg.File)
	lost := l.Stats().NotWritten
	switch {
	case err == nil && w.failing:
		w.failing = false
		log.Info("the audit log is written again", "lost", lost-w.before)
	case err == nil:
	case !w.failing || now.Sub(w.warned) >= warnEvery:
		if !w.failing {
			w.failing, w.before = true, lost
		}
		w.warned = now
		log.Warn("the audit log cannot be written: its lines wait, and are lost when there are too many", "error", err, "lost", lost-w.before)
	}
}

// end writes what waits for the last time.
func (w *writer) end() error {
	l := w.log
	l.mu.Lock()
	l.toldLeft = time.Time{}
	l.tell()
	l.over = true
	lines := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	written, err := w.file.write(lines)
	lost := bytes.Count(w.file.rest, []byte{'\n'})
	l.count(written, lost)
	err = errors.Join(err, w.file.close())
	if lost > 0 {
		return fmt.Errorf("%d lines of the audit log are lost: %w", lost, err)
	}
	return err
}

// maxKept is the largest batch whose memory is kept for the next one.
const maxKept = 1 << 20

// take returns the lines that wait. The next ones are gathered in the memory of last.
func (l *Log) take(last []byte) []byte {
	if cap(last) > maxKept {
		last = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell()
	lines := l.waiting
	l.waiting = last[:0]
	return lines
}

// owes reports whether a line about missing ones is due.
func (l *Log) owes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost > 0 || l.left > 0
}

// count counts lines.
func (l *Log) count(written, lost int) {
	l.mu.Lock()
	l.counters.Written += uint64(written)
	l.counters.NotWritten += uint64(lost)
	l.mu.Unlock()
}

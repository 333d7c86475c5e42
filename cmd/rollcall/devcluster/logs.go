package devcluster

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// linePrefixer writes whole lines to w, each with a prefix.
type linePrefixer struct {
	w      io.Writer
	prefix string

	mu      sync.Mutex // guards what follows
	rest    []byte     // of a line that has not ended
	holding bool
	held    bytes.Buffer // lines, with their prefix
}

const (
	maxLineBytes = 64 << 10  // kept of a line that does not end
	maxHeldBytes = 256 << 10 // of lines that are held back
)

func (l *linePrefixer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 {
			break
		}
		l.line(l.rest[:end])
		l.rest = l.rest[end+1:]
	}
	if len(l.rest) > maxLineBytes {
		l.flush()
	}
	// An error of our own output must not become one of the child.
	return len(p), nil
}

// hold keeps lines back from now on.
func (l *linePrefixer) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holding = true
}

// finish writes the last line, and with show also the lines that were held back.
func (l *linePrefixer) finish(show bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	if show && l.held.Len() > 0 {
		l.w.Write(l.held.Bytes())
	}
	l.held.Reset()
}

func (l *linePrefixer) line(s []byte) {
	if !l.holding {
		fmt.Fprintf(l.w, "%s%s\n", l.prefix, s)
	} else if l.held.Len() < maxHeldBytes {
		fmt.Fprintf(&l.held, "%s%s\n", l.prefix, s)
	}
}

func (l *linePrefixer) flush() {
	if len(l.rest) > 0 {
		l.line(l.rest)
		l.rest = nil
	}
}

// BlockedWriter is a writer whose Write blocks until Release.
type BlockedWriter struct {
	w        io.Writer
	released chan struct{}
}

// NewBlockedWriter returns a BlockedWriter in front of w.
func NewBlockedWriter(w io.Writer) *BlockedWriter {
	return &BlockedWriter{w: w, released: make(chan struct{})}
}

func (b *BlockedWriter) Write(p []byte) (int, error) {
	<-b.released
	return b.w.Write(p)
}

// Release lets all writes pass. It must be called once.
func (b *BlockedWriter) Release() { close(b.released) }

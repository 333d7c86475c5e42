package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// linePrefixer passes whole lines on, each with a prefix.
type linePrefixer struct {
	w      io.Writer
	prefix string

	mu      sync.Mutex // guards what follows
	rest    []byte     // the begin of a line
	holding bool
	held    bytes.Buffer // lines, with their prefix
}

// mostLine bounds what is kept of a line that does not end, and mostHeld what is held back; in bytes.
const (
	mostLine = 64 << 10
	mostHeld = 256 << 10
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
	if len(l.rest) > mostLine {
		l.flush()
	}
	// A terminal that is gone must not look to the child like a full disk.
	return len(p), nil
}

// hold keeps back what comes from now on.
func (l *linePrefixer) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holding = true
}

// finish passes the rest on, and with show what was held back.
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
	} else if l.held.Len() < mostHeld {
		fmt.Fprintf(&l.held, "%s%s\n", l.prefix, s)
	}
}

func (l *linePrefixer) flush() {
	if len(l.rest) > 0 {
		l.line(l.rest)
		l.rest = nil
	}
}

// gate is a writer that lets its callers wait until it is opened.
type gate struct {
	w      io.Writer
	opened chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.opened
	return g.w.Write(p)
}

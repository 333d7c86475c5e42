package boltfile

import (
	"os"
	"sync/atomic"
)

const (
	// readAheadStep is what Linux reads ahead at most for one request, unless told otherwise.
	readAheadStep = 128 << 10
	// maxReadAhead bounds what is read of a file that may be mostly history. It is what the registry file's
	// mapping reserves.
	maxReadAhead = 1 << 30
)

// ReadAhead has the system read a file that is about to be read from one end to the other, until stop,
// which has to be called. bbolt tells the system that it will read single pages here and there, so that
// after a reboot a start would wait for each of hundreds of thousands of them. What is in memory already
// costs a look-up a step.
func ReadAhead(f *os.File) (stop func()) {
	info, err := f.Stat()
	if err != nil {
		return func() {} // who reads will say what is wrong
	}
	size := min(info.Size(), maxReadAhead)
	var stopping atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for at := int64(0); at < size && !stopping.Load(); at += readAheadStep {
			if adviseWillRead(f, at, min(readAheadStep, size-at)) != nil {
				return // it was advice
			}
		}
	}()
	return func() {
		stopping.Store(true)
		<-ended
	}
}

// ReadAhead is ReadAhead of the file.
func (b *DB) ReadAhead() (stop func()) { return ReadAhead(b.file) }

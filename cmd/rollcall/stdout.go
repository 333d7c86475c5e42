package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"google.golang.org/grpc/codes"
)

// output is standard output. It keeps the first error of writing, and writes nothing after it: so a command may
// go on to its end, and finish reports the error once.
type output struct {
	mu  sync.Mutex // guards the rest
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	if err != nil {
		o.err = &outputError{err}
	}
	return n, o.err
}

func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// outputError is an error of writing to standard output.
type outputError struct{ err error }

func (e *outputError) Error() string {
	err := e.err
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return "the output cannot be written: " + err.Error()
}

func (e *outputError) Unwrap() error { return e.err }

// hungUp reports that who reads the output has had enough: "| head".
func hungUp(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) }

// terminalOf returns what is written to in the end.
func terminalOf(w io.Writer) io.Writer {
	switch v := w.(type) {
	case *output:
		return v.w
	case *lockedWriter:
		return v.w
	}
	return w
}

// finish reports how a command ended, and returns its exit status. An error of the output is reported once,
// however often it was met. It is no error that who reads the output has gone.
func (a *app) finish(err error, written error, asJSON bool) int {
	var f *failure
	if err != nil && !onlyOutput(err) {
		f = a.explain(err)
	}
	switch {
	case f == nil && (written == nil || hungUp(written)):
		return exitDone
	case f == nil:
		f = a.unprinted(written)
	case written != nil && !hungUp(written):
		f.err = fmt.Errorf("%w; besides, %w", f.err, written)
	}
	a.report(f, asJSON)
	return f.exit
}

// onlyOutput reports whether err is an error of the output, and nothing else.
func onlyOutput(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if !onlyOutput(e) {
				return false
			}
		}
		return true
	}
	_, ok := errors.AsType[*outputError](err)
	return ok
}

// unprinted is the failure of a command that has done what it was to do, and could not say so.
func (a *app) unprinted(written error) *failure {
	f := &failure{exit: exitNotDone, code: codes.Internal, reason: reasonOutput, err: written}
	if a.did != "" {
		f.exit, f.made = exitNotPrinted, true
		f.err = fmt.Errorf("%w; the change was made: %s", written, a.did)
	}
	return f
}

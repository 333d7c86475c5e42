package auditlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// file is the file at a path. It is the writer's alone.
type file struct {
	path string
	f    *os.File // nil: none is open
	torn bool     // the last line of f has no end: who wrote it was killed
	rest []byte   // of the lines that were given to write and are not all in the file
	sent int      // bytes of rest that are in f, from the beginning of a line on
	sync bool     // something was written since the last fsync

	faults faults
}

// faults are for tests: nil in production.
type faults struct {
	write func(*os.File, []byte) (int, error) // what writing fails with; it may write a part
	sync  func() error                        // what storing fails with
}

// open opens the file at the path, and makes it if there is none. Only its owner may read one that is made.
func (f *file) open() error {
	switch info, err := os.Stat(f.path); {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", f.path)
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(f.path)); err != nil {
			return fmt.Errorf("its directory is not there: %w", err)
		}
	}
	// Without O_NONBLOCK, opening what has become a named pipe would wait for a reader.
	opened, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	info, err := opened.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", f.path)
	}
	torn := false
	if err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		_, err = opened.ReadAt(last, info.Size()-1)
		torn = last[0] != '\n'
	}
	if err != nil {
		opened.Close()
		return err
	}
	_ = f.close()                         // what it has is written, and stored as far as it can be
	f.f, f.torn, f.sent = opened, torn, 0 // a line that is half in the old file is written to the new one as a whole
	return nil
}

// follow opens the file anew if another one, or none, is at the path: it was moved or deleted.
func (f *file) follow() error {
	if f.f != nil {
		held, err := f.f.Stat()
		if err != nil {
			return err
		}
		if there, err := os.Stat(f.path); err == nil && os.SameFile(held, there) {
			return nil
		}
	}
	return f.open()
}

// write writes lines after those that are left of the calls before, and keeps what is left then. It returns how many
// lines are in the file now that were not. lines is not to be changed while something is left.
func (f *file) write(lines []byte) (written int, err error) {
	if len(f.rest) == 0 {
		f.rest, f.sent = lines, 0
	} else {
		f.rest = append(f.rest, lines...)
	}
	if err := f.follow(); err != nil {
		return 0, err
	}
	if f.torn && len(f.rest) > 0 {
		if _, err := f.put([]byte{'\n'}); err != nil {
			return 0, err
		}
		f.torn = false
	}
	for f.sent < len(f.rest) {
		n, err := f.put(f.rest[f.sent:])
		f.sync = f.sync || n > 0
		f.sent += n
		whole := bytes.LastIndexByte(f.rest[:f.sent], '\n') + 1
		written += bytes.Count(f.rest[:whole], []byte{'\n'})
		f.rest, f.sent = f.rest[whole:], f.sent-whole
		if err != nil {
			return written, err
		}
	}
	f.rest = nil
	return written, nil
}

func (f *file) put(b []byte) (int, error) {
	if f.faults.write != nil {
		if n, err := f.faults.write(f.f, b); err != nil {
			return n, err
		}
	}
	return f.f.Write(b)
}

// flush has the disk store what was written.
func (f *file) flush() error {
	if f.f == nil || !f.sync {
		return nil
	}
	f.sync = false
	if f.faults.sync != nil {
		if err := f.faults.sync(); err != nil {
			return err
		}
	}
	return f.f.Sync()
}

// close closes the file, once what was written is stored.
func (f *file) close() error {
	if f.f == nil {
		return nil
	}
	err := errors.Join(f.flush(), f.f.Close())
	f.f = nil
	return err
}

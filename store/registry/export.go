package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// ErrNothing means that a registry file is empty, so that there is nothing to export.
var ErrNothing = errors.New("this node holds no registry yet")

// Export is a copy of the registry file on this node's disk, to be written as a snapshot stream. It does not
// hold up the writer. It must be closed.
type Export struct {
	meta *logv1.RegistryMeta
	file *os.File
	size int64 // of file
	all  int64 // of the stream
}

// Export flushes what was appended and copies the file. The copy's space is free again when the Export is
// closed or the process ends, even if it is killed. The error is ctx's, ErrNothing, ErrScanEnded or
// vfs.ErrClosed, or the disk's.
func (j *File) Export(ctx context.Context) (_ *Export, err error) {
	if err := j.Flush(ctx); err != nil {
		return nil, fmt.Errorf("export %s: %w", j.path, err)
	}
	s := &scan{done: make(chan struct{})}
	tx, err := j.beginScan(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", j.path, err)
	}
	defer j.forgetScan(s)
	e := &Export{}
	err = boltfile.Guard(func() (err error) {
		defer func() { err = errors.Join(err, tx.Rollback()) }()
		if e.meta, err = readMeta(tx); err != nil {
			return err
		}
		if e.meta.GetIndex() == 0 {
			return ErrNothing
		}
		if e.file, err = vfs.CreateTemp(filepath.Dir(j.path)); err != nil {
			return err
		}
		// The name is removed; the bytes stay until the file is closed. On systems where an open file cannot
		// be removed, Close removes it.
		_ = os.Remove(e.file.Name())
		e.size, err = tx.WriteTo(&scanWriter{ctx, s, e.file})
		return err
	})
	if err == nil {
		e.all, err = snapshot.Size(e.meta, e.size)
	}
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("export %s: %w", j.path, err)
	}
	return e, nil
}

// scanWriter makes a copy end early, as a Scan does.
type scanWriter struct {
	ctx  context.Context
	scan *scan
	w    io.Writer
}

func (w *scanWriter) Write(p []byte) (int, error) {
	switch {
	case w.scan.ending.Load():
		return 0, ErrScanEnded
	case w.ctx.Err() != nil:
		return 0, w.ctx.Err()
	}
	return w.w.Write(p)
}

// Size is how many bytes WriteTo writes.
func (e *Export) Size() int64 { return e.all }

// WriteTo writes the snapshot stream: header, registry file, SHA-256.
func (e *Export) WriteTo(w io.Writer) (int64, error) {
	if _, err := e.file.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	if err := snapshot.Write(w, e.meta, e.size, e.file); err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	return e.all, nil
}

// Close gives the space back. It may be called any number of times.
func (e *Export) Close() error {
	if e.file == nil {
		return nil
	}
	err := e.file.Close()
	if removeErr := os.Remove(e.file.Name()); !errors.Is(removeErr, os.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	e.file = nil
	return err
}

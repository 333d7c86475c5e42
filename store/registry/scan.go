package registry

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// ErrScanEnded means that a Scan was ended because the registry file is being closed or replaced.
var ErrScanEnded = errors.New("the registry file is being closed or replaced")

// scan is a Scan under way. It has a read transaction open for long.
type scan struct {
	ending atomic.Bool   // the scan has to end
	done   chan struct{} // closed when its transaction has ended
}

// Scan visits what the registry file holds durably as of one moment, like Load, but keeps nobody from
// writing: a visitor may take its time, within reason. While it does the file only grows, and its
// writer waits should the file outgrow its mapping. It ends early with ctx's error or with ErrScanEnded,
// within scanRecords records.
func (j *File) Scan(ctx context.Context, v logv1.Visitor) (*logv1.RegistryMeta, error) {
	s := &scan{done: make(chan struct{})}
	tx, err := j.beginScan(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", j.path, err)
	}
	defer j.forgetScan(s)
	var meta *logv1.RegistryMeta
	err = boltfile.Guard(func() (err error) {
		defer func() { err = errors.Join(err, tx.Rollback()) }()
		defer boltfile.Unmap(tx)
		meta, err = scanAll(ctx, s, tx, v)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", j.path, err)
	}
	return meta, nil
}

func (j *File) beginScan(ctx context.Context, s *scan) (tx *bbolt.Tx, err error) {
	select {
	case j.disk <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-j.disk }()
	if j.db == nil || j.wreck() != nil {
		return nil, vfs.ErrClosed
	}
	err = boltfile.Guard(func() (err error) {
		tx, err = j.db.Begin(false)
		return err
	})
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	closed := j.closed
	if !closed {
		j.scans[s] = struct{}{}
	}
	j.mu.Unlock()
	if closed {
		return nil, errors.Join(vfs.ErrClosed, boltfile.Guard(tx.Rollback))
	}
	return tx, nil
}

func (j *File) forgetScan(s *scan) {
	close(s.done)
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.scans, s)
}

// endScans ends all scans and waits for them: bbolt cannot be closed while a transaction is open.
func (j *File) endScans() {
	j.mu.Lock()
	var open []*scan
	for s := range j.scans {
		open = append(open, s)
	}
	j.mu.Unlock()
	for _, s := range open {
		s.ending.Store(true)
		<-s.done
	}
}

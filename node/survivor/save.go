package survivor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Point is the last entry that Save and Build take: with committedOnly, the last one that is known to be committed.
func (s *Survivor) Point(committedOnly bool) Point {
	if committedOnly {
		return s.Committed
	}
	return s.Last
}

// Build makes a registry file of the survivor, in a temporary file in dir, durable, to be installed. It holds all entries
// up to Point(committedOnly).
func (s *Survivor) Build(dir string, committedOnly bool) (name string, _ *logv1.RegistryMeta, err error) {
	if name, err = s.base.build(dir); err != nil {
		return "", nil, fmt.Errorf("make a registry file of %s: %w", s.Path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(name)
			err = fmt.Errorf("make a registry file of %s: %w", s.Path, err)
		}
	}()
	if err := s.fold(name, s.Point(committedOnly)); err != nil {
		return "", nil, err
	}
	f, err := registry.OpenReader(name)
	if err != nil {
		return "", nil, err
	}
	meta := f.Meta()
	if err := f.Close(); err != nil {
		return "", nil, err
	}
	if want := s.Point(committedOnly); meta.GetRevision() != want.Revision || meta.GetClusterId() == "" {
		return "", nil, fmt.Errorf("it is at revision %d, not %d, of cluster %q", meta.GetRevision(), want.Revision, meta.GetClusterId())
	}
	return name, meta, nil
}

// fold folds the log onto a registry file.
func (s *Survivor) fold(name string, to Point) error {
	var failed error
	failure := make(chan error, 1)
	file, err := registry.Open(name, registry.Options{OnFailure: func(err error) { failure <- err }})
	if err != nil {
		return err
	}
	file.Start()
	r, err := newReplay(s, s.base, file)
	if err == nil {
		err = r.run(to.Index, to.Index)
		r.close()
	}
	err = errors.Join(err, file.Close())
	select {
	case failed = <-failure:
	default:
	}
	return cmp.Or(err, failed)
}

// Save writes a backup of the survivor to file, whole and durable or not at all. It needs room for it three times, in
// the directory of file. Without replace, a file that is there stays (os.ErrExist).
func (s *Survivor) Save(ctx context.Context, file string, replace, committedOnly bool) (snapshot.Backup, error) {
	var b snapshot.Backup
	dir, err := os.MkdirTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.tmp")
	if err != nil {
		return b, err
	}
	err = s.save(ctx, dir, file, replace, committedOnly, &b)
	return b, errors.Join(err, os.RemoveAll(dir))
}

func (s *Survivor) save(ctx context.Context, dir, file string, replace, committedOnly bool, b *snapshot.Backup) error {
	name, meta, err := s.Build(dir, committedOnly)
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return vfs.WriteFile(file, replace, func(to *os.File) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := snapshot.Write(to, meta, info.Size(), f); err != nil {
			return err
		}
		*b, err = snapshot.CheckBackup(to.Name())
		return err
	})
}

// copyFile copies a file to a temporary one in dir.
func copyFile(from, dir string) (name string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := vfs.CreateTemp(dir)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		os.Remove(out.Name())
		return "", err
	}
	return out.Name(), nil
}

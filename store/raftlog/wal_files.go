package raftlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft-wal/types"

	"github.com/rollcallhq/rollcall/store/vfs"
)

const segmentSuffix = ".wal"

// segmentFiles is the file system as raft-wal's segments see it. It differs from raft-wal's own: files
// are readable by their owner only, a new one is durable, whole length and name, before it is used,
// and an append syncs data only: its length never changes.
type segmentFiles struct{}

var _ types.VFS = segmentFiles{}

type segmentFile struct{ *os.File }

// Sync stores what was written; of the metadata only what reading it back needs.
func (f segmentFile) Sync() error { return vfs.SyncData(f.File) }

func (segmentFiles) Create(dir, name string, size uint64) (_ types.WritableFile, err error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(path)
		}
	}()
	if err := vfs.Preallocate(f, int64(size)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := vfs.SyncDir(dir); err != nil {
		return nil, err
	}
	return segmentFile{f}, nil
}

func (segmentFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return segmentFile{f}, nil
}

func (segmentFiles) OpenReader(dir, name string) (types.ReadableFile, error) {
	return os.Open(filepath.Join(dir, name))
}

func (segmentFiles) Delete(dir, name string) error { return os.Remove(filepath.Join(dir, name)) }

func (segmentFiles) ListDir(dir string) ([]string, error) { return segmentNames(dir) }

// segmentNames lists the segment files of a directory that may be missing.
func segmentNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Usage is how much disk a data directory takes, in bytes.
type Usage struct {
	Registry  int64 // registry.db
	Log       int64 // raft.db and wal/
	Snapshots int64 // snapshots/
	Free      int64 // what the node may still write; -1 if the system does not tell
}

// Usage looks at the files: some system calls, and no reading. What comes and goes meanwhile is counted or not.
func (d *Directory) Usage() (Usage, error) {
	var u Usage
	for _, part := range []struct {
		size  *int64
		names []string
	}{
		{&u.Registry, []string{registry.FileName}},
		{&u.Log, []string{raftlog.FileName, raftlog.DirName}},
		{&u.Snapshots, []string{snapshot.DirName}},
	} {
		for _, name := range part.names {
			size, err := sizeBelow(d.file(name))
			if err != nil {
				return Usage{}, err
			}
			*part.size += size
		}
	}
	free, err := vfs.FreeSpace(d.path)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		free = -1
	case err != nil:
		return Usage{}, err
	}
	u.Free = free
	return u, nil
}

// sizeBelow is the size of a file, or of all files below a directory. What is missing has size 0.
func sizeBelow(path string) (total int64, err error) {
	err = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		var info os.FileInfo
		if err == nil && !entry.IsDir() {
			info, err = entry.Info()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case info != nil:
			total += info.Size()
		}
		return nil
	})
	return total, err
}

package snapshot

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

// Found is a snapshot that Verify read.
type Found struct {
	Path  string
	Index uint64 // of the log entry it ends at
	Err   error  // what is wrong with it; nil: it is whole and right
}

// Verify reads all snapshots of a data directory and changes nothing. What was never finished is left
// out: it is removed at the next start. An error is of those that it does not return.
func Verify(dataDir string) (found []Found, err error) {
	dir := filepath.Join(dataDir, DirName)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(dataDir, len(entries)+1, raftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	metas, err := files.List()
	readable := map[string]*raft.SnapshotMeta{}
	for _, meta := range metas {
		readable[meta.ID] = meta
	}
	s := &Store{files: files, dir: dir, logger: slog.New(slog.DiscardHandler)}
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasSuffix(entry.Name(), ".tmp") {
			continue
		}
		f := Found{Path: filepath.Join(dir, entry.Name())}
		if meta := readable[entry.Name()]; meta == nil {
			f.Err = errors.New("meta.json cannot be read")
		} else {
			f.Index, f.Err = meta.Index, s.verify(meta).Err
		}
		found = append(found, f)
	}
	return found, err
}

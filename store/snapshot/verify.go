package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Found is a snapshot that Verify read.
type Found struct {
	Path  string
	Index uint64 // of the log entry it ends at
	Err   error  // what is wrong with it; nil: it is whole and right
	// Of one that is whole and right:
	Term          uint64 // of the log entry it ends at
	Configuration raft.Configuration
	Header        *logv1.SnapshotHeader
}

// Stream opens the snapshot stream. The caller closes it.
func (f Found) Stream() (*os.File, error) { return os.Open(filepath.Join(f.Path, stateName)) }

// Verify reads all snapshots of a data directory and changes nothing. What was never finished is left
// out: it is removed at the next start. An error is of those that it does not return.
//
// It does not use FileSnapshotStore, which writes a file to find out whether it can.
func Verify(dataDir string) (found []Found, err error) {
	dir := filepath.Join(dataDir, DirName)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasSuffix(entry.Name(), ".tmp") {
			continue
		}
		f := Found{Path: filepath.Join(dir, entry.Name())}
		f.Err = f.verify()
		found = append(found, f)
	}
	return found, nil
}

// verify reads a snapshot through, as Store does.
func (f *Found) verify() error {
	data, err := os.ReadFile(filepath.Join(f.Path, metaName))
	if err != nil {
		return err
	}
	var meta struct { // as FileSnapshotStore writes it
		raft.SnapshotMeta
		CRC []byte
	}
	if json.NewDecoder(bytes.NewReader(data)).Decode(&meta) != nil {
		return fmt.Errorf("%w: %s is cut short or overwritten", vfs.ErrDamaged, metaName)
	}
	f.Index = meta.Index
	state, err := f.Stream()
	if err != nil {
		return err
	}
	defer state.Close()
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	if _, err := io.Copy(sum, state); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), meta.CRC) {
		return fmt.Errorf("%w: %s does not have the checksum that %s names", vfs.ErrDamaged, stateName, metaName)
	}
	if _, err := state.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if meta.ID != filepath.Base(f.Path) {
		return fmt.Errorf("%w: %s is of snapshot %q", vfs.ErrDamaged, metaName, meta.ID)
	}
	f.Term, f.Configuration = meta.Term, meta.Configuration
	f.Header, err = verifyStream(&meta.SnapshotMeta, state)
	return err
}

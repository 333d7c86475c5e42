package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

const damagedInfix = ".damaged-"

// OpenLog opens the raft log of a data directory.
func OpenLog(d *Directory, opt raftlog.Options) (*raftlog.Log, error) {
	return raftlog.Open(d.path, d.LogOwner(), opt)
}

// LogOwner says to raftlog whose log it opens.
func (d *Directory) LogOwner() raftlog.Owner {
	id := d.Identity()
	return raftlog.Owner{DirectoryID: id.DirectoryID, Founded: id.Founding != nil}
}

// OpenSnapshots opens the snapshots of a data directory.
func OpenSnapshots(d *Directory, logger *slog.Logger) (*snapshot.Store, error) {
	return snapshot.Open(d.path, logger)
}

// OpenRegistry opens the registry file of a data directory and makes it if it is missing. The file is
// used only if what the fold reads of it is intact, if it is not quarantined (see QuarantineRegistry), if
// it is of this directory, and if it is not behind the newest verified snapshot, from which raft would
// go on. Otherwise it is rebuilt from that snapshot, or begun anew if raft's log still holds everything;
// a damaged file is kept aside as registry.db.damaged-N.
//
// It refuses, because starting would lose or invent something: a registry file of a newer format, one
// that is ahead of all that raft has, and a raft log that neither begins at its first entry nor follows
// an intact snapshot.
func OpenRegistry(d *Directory, log *raftlog.Log, snaps *snapshot.Store, opt registry.Options) (*registry.File, error) {
	opt.ClusterID = d.clusterID
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	r := recovery{
		dir:  d,
		path: d.file(registry.FileName),
		log:  log,
		opt:  opt,
		id:   d.Identity(),
	}
	var err error
	if r.newest, err = snaps.Newest(); err != nil {
		return nil, err
	}
	f, err := r.open(snaps)
	if err != nil {
		return nil, err
	}
	f.Start()
	log.SetDurable(func() uint64 { return heldIndex(f.DurableIndex(), snaps) })
	return f, nil
}

// heldIndex is the log entry up to which raft's log may be compacted. durable is that of the registry
// file. One that holds what the newest snapshot holds, holds everything up to the snapshot's index in the
// log: the entries between are raft's own, which never reach the fold.
func heldIndex(durable uint64, snaps *snapshot.Store) uint64 {
	newest, err := snaps.Newest()
	if err == nil && newest != nil && durable >= newest.Header.GetMeta().GetIndex() {
		return max(durable, newest.Meta.Index)
	}
	return durable
}

// recovery decides whether registry.db is used, rebuilt or refused.
type recovery struct {
	dir    *Directory
	path   string
	log    *raftlog.Log
	newest *snapshot.Verified // nil: there is no snapshot
	opt    registry.Options
	id     Identity
}

func (r *recovery) open(snaps *snapshot.Store) (*registry.File, error) {
	last, err := r.log.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("open registry file: %w", err)
	}
	var base uint64
	if r.newest != nil {
		base = r.newest.Meta.Index
	}
	if first := r.log.Contiguous(); last > base && first > base+1 {
		return nil, fmt.Errorf("%s lacks the entries %d to %d, and no intact snapshot holds them; %s",
			r.log.Path(), base+1, first-1, raftlog.LostMember)
	}

	f, err := r.openIfIntact()
	switch {
	case errors.Is(err, vfs.ErrNewer), errors.Is(err, vfs.ErrInUse):
		return nil, err
	case err == nil:
		if index := f.Meta().GetIndex(); index > max(last, base) {
			f.Discard()
			return nil, fmt.Errorf("%s holds log entry %d, but %s and the snapshots end at %d: they are not of the same time, "+
				"as after restoring only one of them; %s", r.path, index, raftlog.FileName, max(last, base), raftlog.LostMember)
		}
		return f, nil
	}
	var unreadable *os.PathError
	if errors.As(err, &unreadable) && !errors.Is(err, os.ErrNotExist) {
		return nil, err // not the file's fault
	}
	return r.rebuild(snaps, err)
}

// errBehind is not damage: the file needs not be kept.
var errBehind = errors.New("behind the newest snapshot")

// openIfIntact opens the registry file if it can be used, or says why not.
func (r *recovery) openIfIntact() (*registry.File, error) {
	if _, err := os.Lstat(r.path); err != nil {
		return nil, err
	}
	if err := r.dir.Quarantined(); err != nil {
		return nil, err
	}
	f, err := registry.Open(r.path, r.opt)
	if err != nil {
		return nil, err
	}
	switch meta := f.Meta(); {
	case meta.GetDirectoryId() != r.id.DirectoryID:
		err = fmt.Errorf("%s belongs to data directory %q, not to this one (%s)", r.path, meta.GetDirectoryId(), r.id.DirectoryID)
	case r.foreign(meta.GetClusterId()):
		err = fmt.Errorf("%s is of cluster %q, not of %q", r.path, meta.GetClusterId(), r.id.Founding.ClusterID)
	case r.newest != nil && meta.GetIndex() < r.newest.Header.GetMeta().GetIndex():
		err = fmt.Errorf("%s ends at log entry %d: %w, which holds entry %d",
			r.path, meta.GetIndex(), errBehind, r.newest.Header.GetMeta().GetIndex())
	}
	if err != nil {
		f.Discard()
		return nil, err
	}
	return f, nil
}

func (r *recovery) foreign(clusterID string) bool {
	return clusterID != "" && r.id.Founding != nil && r.id.Founding.ClusterID != "" && r.id.Founding.ClusterID != clusterID
}

// rebuild makes a new registry file in the place of one that is not used for reason.
func (r *recovery) rebuild(snaps *snapshot.Store, reason error) (*registry.File, error) {
	name, meta, err := r.make(snaps)
	if err != nil {
		return nil, fmt.Errorf("rebuild %s (because %w): %w", r.path, reason, err)
	}
	defer os.Remove(name) // if it was not installed
	missing := errors.Is(reason, os.ErrNotExist)
	if !missing && !errors.Is(reason, errBehind) {
		if err := keepAside(r.path); err != nil {
			return nil, fmt.Errorf("rebuild %s (because %w): %w", r.path, reason, err)
		}
	}
	if err := vfs.Install(name, r.path); err != nil {
		return nil, fmt.Errorf("rebuild %s (because %w): %w", r.path, reason, err)
	}
	if err := r.dir.releaseRegistry(); err != nil {
		return nil, fmt.Errorf("rebuild %s: %w", r.path, err)
	}
	if last, err := r.log.LastIndex(); err != nil || !missing || last > 0 || r.newest != nil { // else: a first start
		r.opt.Logger.Warn("registry file rebuilt; the raft log is applied again from where it ends",
			"reason", reason, "index", meta.GetIndex(), "revision", meta.GetRevision())
	}
	f, err := registry.Open(r.path, r.opt)
	if err != nil {
		return nil, fmt.Errorf("rebuild registry file: %w", err)
	}
	return f, nil
}

// make writes a registry file under a temporary name: the newest snapshot's, or an empty one.
func (r *recovery) make(snaps *snapshot.Store) (string, *logv1.RegistryMeta, error) {
	if r.newest == nil {
		return registry.Create(r.dir.path, r.id.DirectoryID)
	}
	_, stream, err := snaps.Open(r.newest.Meta.ID)
	if err != nil {
		return "", nil, err
	}
	defer stream.Close()
	return registry.Receive(r.dir.path, stream, r.id.DirectoryID, r.dir.clusterID())
}

// keepAside renames a registry file that is not used, and removes the one kept before.
func keepAside(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	var (
		old  []string
		next = 1
	)
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), registry.FileName+damagedInfix)
		if !ok {
			continue
		}
		old = append(old, filepath.Join(filepath.Dir(path), e.Name()))
		if n, err := strconv.Atoi(number); err == nil {
			next = max(next, n+1)
		}
	}
	if err := os.Rename(path, path+damagedInfix+strconv.Itoa(next)); err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

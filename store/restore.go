package store

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Restoration says what Restore makes.
type Restoration struct {
	Path        string // of the data directory: missing, or empty
	Node        string
	DirectoryID string
	Founding    Founding     // of the new cluster; Node is among its members, with DirectoryID
	LogKind     raftlog.Kind // "": raftlog.DefaultKind
	Term        uint64       // the new cluster's terms are later than this one; 0: than the content's
	Kinds       registry.Kinds
	// Rehash returns the state hash of the registry in a registry file if it were of the new cluster and had no
	// records of kinds that belong to a cluster. Its error means that the backup is not used.
	Rehash func(*registry.Reader) (*logv1.StateHash, error)
}

// ErrNotEmpty means that a directory which has to be empty is not.
var ErrNotEmpty = errors.New("not empty")

// Restore makes of the backup in file the data directory of a member of a new cluster. It ends at the
// log entry, term and revision that the backup ends at; its history and request ids are the backup's, its
// members none, until they announce themselves. identity.json comes last: without it no node starts. If it
// fails, what it made is removed.
func Restore(file string, r Restoration) (_ snapshot.Backup, err error) {
	if err := r.setKind(); err != nil {
		return snapshot.Backup{}, err
	}
	if err := refuseCutOff(r.Path); err != nil {
		return snapshot.Backup{}, err
	}
	// Before anything is made: the file may be nothing of ours.
	if _, err := snapshot.CheckBackup(file); err != nil {
		return snapshot.Backup{}, err
	}
	d, made, err := r.claim()
	if err != nil {
		return snapshot.Backup{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.empty(made))
		}
		err = errors.Join(err, d.Close())
	}()
	return r.extract(d, file)
}

func (r *Restoration) setKind() error {
	r.LogKind = cmp.Or(r.LogKind, raftlog.DefaultKind)
	return r.LogKind.Validate()
}

// claim locks the directory and makes sure that it is empty. made: it was missing.
func (r Restoration) claim() (_ *Directory, made bool, err error) {
	there, err := vfs.Exists(r.Path)
	if err == nil {
		err = vfs.MkdirAll(r.Path)
	}
	if err != nil {
		return nil, false, fmt.Errorf("data directory %s cannot be used: %w", r.Path, err)
	}
	// Looked at before LOCK is made in it, and again when nobody else can.
	if err := checkEmpty(r.Path); err != nil {
		return nil, false, err
	}
	lock, err := lockFile(filepath.Join(r.Path, lockName))
	if errors.Is(err, vfs.ErrInUse) {
		return nil, false, fmt.Errorf("data directory %s is %w", r.Path, vfs.ErrInUse)
	}
	if err != nil {
		return nil, false, fmt.Errorf("data directory %s cannot be used: %w", r.Path, err)
	}
	if err := checkEmpty(r.Path); err != nil {
		lock.Close()
		return nil, false, err
	}
	id := Identity{Node: r.Node, DirectoryID: r.DirectoryID, Created: time.Now().UTC().Truncate(time.Second), Founding: r.Founding.clone()}
	return &Directory{path: r.Path, lock: lock, identity: id}, !there, nil
}

// A directory that holds no more than these is empty: an earlier try's lock, and what a file system has at
// its root.
var notContent = []string{lockName, "lost+found"}

func checkEmpty(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	for _, e := range entries {
		if !slices.Contains(notContent, e.Name()) {
			return notEmpty(path, entries)
		}
	}
	return nil
}

// notEmpty says what a directory holds, and what to do about it.
func notEmpty(path string, entries []os.DirEntry) error {
	is := func(format string, args ...any) error {
		return fmt.Errorf("data directory %s is %w: %s", path, ErrNotEmpty, fmt.Sprintf(format, args...))
	}
	lock, err := lockShared(filepath.Join(path, lockName))
	if errors.Is(err, ErrInUse) {
		return is("a node runs on it; stop the node first, or name another directory")
	}
	if lock != nil {
		lock.Close()
	}
	save := fmt.Sprintf("\"rollcall snapshot save --data %s FILE\" saves what it holds", path)
	id, err := readIdentity(path)
	switch {
	case err == nil && id.Founding != nil:
		return is("it is the data directory of %s of cluster %s; %s, and \"rollcall recover --data %s\" makes a new cluster of it; "+
			"to restore the backup all the same, move the directory away first", id.Node, id.Founding.ClusterID, save, path)
	case err == nil:
		return is("it is the data directory of %s, which belongs to no cluster yet; remove it first, or name another one", id.Node)
	}
	found, err := contents(path)
	identity, _ := vfs.Exists(filepath.Join(path, identityName))
	spool := slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), vfs.TempPrefix) })
	switch {
	case identity || len(found) > 0 && (err != nil || raftlog.HoldsEntries(path)):
		return is("it holds the data of a node whose %s is damaged or lost; %s; to restore the backup all the same, move the directory away first", identityName, save)
	case len(found) > 0 || spool:
		return is("a restore of it was cut off; remove it, and restore again")
	}
	return is("it holds %s, which is none of a node's; name another one", entries[0].Name())
}

// empty removes all of a directory that was empty, and itself if it was missing. The lock is held.
func (d *Directory) empty(made bool) error {
	var errs []error
	entries, err := os.ReadDir(d.path)
	errs = append(errs, err)
	for _, e := range entries {
		if e.Name() == lockName || !slices.Contains(notContent, e.Name()) {
			errs = append(errs, os.RemoveAll(d.file(e.Name())))
		}
	}
	if made {
		errs = append(errs, os.RemoveAll(d.path))
	}
	return errors.Join(errs...)
}

// extract takes the registry file out of a backup and makes a directory of it.
func (r Restoration) extract(d *Directory, file string) (snapshot.Backup, error) {
	b, registryFile, err := registry.ExtractBackup(file, d.path)
	if err != nil {
		return snapshot.Backup{}, err
	}
	name := registryFile.Path()
	if err := registryFile.Close(); err != nil {
		return snapshot.Backup{}, err
	}
	if err := r.fill(d, name, b.Meta); err != nil {
		return snapshot.Backup{}, fmt.Errorf("restore %s: %w", file, err)
	}
	return b, nil
}

// fill makes a directory of the registry file name, a temporary one in it whose content meta describes.
func (r Restoration) fill(d *Directory, name string, meta *logv1.RegistryMeta) error {
	registryFile, err := registry.OpenReader(name)
	if err != nil {
		return err
	}
	hash, err := r.Rehash(registryFile)
	if closeErr := registryFile.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	meta = proto.CloneOf(meta)
	meta.ClusterId, meta.DirectoryId, meta.StateHash = r.Founding.ClusterID, r.DirectoryID, hash
	meta.RestoredRevision = meta.GetRevision()
	if err := registry.Refound(name, meta, r.Kinds); err != nil {
		return err
	}
	if err := r.raft(d, meta, name); err != nil {
		return err
	}
	if err := vfs.Install(name, d.file(registry.FileName)); err != nil {
		return err
	}
	return d.identity.write(d.path)
}

// raft makes what raft starts from: a snapshot of the registry file in the file name, whose configuration is the
// new members, and a log without entries that knows the snapshot's term, so that the next is a later one.
func (r Restoration) raft(d *Directory, meta *logv1.RegistryMeta, name string) (err error) {
	snapshots, err := snapshot.Open(d.path, nil)
	if err != nil {
		return err
	}
	var configuration raft.Configuration
	for _, m := range r.Founding.Members {
		configuration.Servers = append(configuration.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(m.Name), Address: raft.ServerAddress(m.Name),
		})
	}
	_, codec := raft.NewInmemTransport("") // only encodes the addresses, for raft's first protocol
	defer codec.Close()
	sink, err := snapshots.Create(raft.SnapshotVersionMax, meta.GetIndex(), meta.GetTerm(), configuration, meta.GetIndex(), codec)
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = snapshot.Write(sink, meta, info.Size(), f)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	return raftlog.Create(d.path, r.DirectoryID, r.LogKind, max(r.Term, meta.GetTerm()))
}

package survivor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
)

// base is what the log can be folded onto.
type base struct {
	name      string
	held      Point
	directory string // that the registry file names
	chain     chain

	file     *registry.Reader // an open registry file; nil: none yet
	made     bool             // file was made for this, and is removed
	snapshot *snapshot.Found  // nil: file, or nothing at all
}

func (b *base) close() {
	switch {
	case b.file == nil:
	case b.made:
		path := b.file.Path()
		b.file.Close()
		os.RemoveAll(filepath.Dir(path))
	default:
		b.file.Close()
	}
	b.file = nil
}

func pointOf(m *logv1.RegistryMeta) Point {
	p := Point{Index: m.GetIndex(), Term: m.GetTerm(), Revision: m.GetRevision()}
	if m.GetLogTime() > 0 {
		p.Time = time.Unix(0, m.GetLogTime()).UTC()
	}
	return p
}

// bases returns what the log could be folded onto, the best first, and what is wrong with what it could not.
func (s *Survivor) bases(snapshots []snapshot.Found) (bases []*base, faults []string, err error) {
	var good []snapshot.Found
	for _, f := range snapshots {
		switch {
		case errors.Is(f.Err, store.ErrNewer):
			return nil, nil, fmt.Errorf("snapshot %s: %w", f.Path, f.Err)
		case f.Err != nil:
			faults = append(faults, fmt.Sprintf("snapshot %s: %v", f.Path, f.Err))
		case s.foreign(f.Header.GetMeta().GetClusterId()):
			faults = append(faults, fmt.Sprintf("snapshot %s is of cluster %s, not of %s", f.Path, f.Header.GetMeta().GetClusterId(), s.ClusterID))
		default:
			good = append(good, f)
		}
	}
	slices.SortStableFunc(good, func(a, b snapshot.Found) int { return cmp.Compare(b.Index, a.Index) })
	var newest snapshot.Found
	if len(good) > 0 {
		newest = good[0]
	}

	b, fault, err := s.registryFile(newest)
	if err != nil {
		return nil, nil, err
	}
	if b != nil {
		bases = append(bases, b)
	}
	if fault != "" {
		faults = append(faults, fault)
	}
	for _, f := range good {
		meta := f.Header.GetMeta()
		b := &base{name: f.Path, held: pointOf(meta), snapshot: &f, directory: meta.GetDirectoryId()}
		b.chain = newChain(b.held, f)
		bases = append(bases, b)
	}
	nothing := &base{name: "the log alone"}
	nothing.chain = newChain(Point{}, snapshot.Found{})
	return append(bases, nothing), faults, nil
}

// registryFile opens the registry file if it can be used, as a start of the node would; else fault says why not. There
// may be none, which is no fault.
func (s *Survivor) registryFile(newest snapshot.Found) (_ *base, fault string, err error) {
	path := filepath.Join(s.Path, registry.FileName)
	if err := s.dir.Quarantined(); err != nil {
		return nil, err.Error(), nil
	}
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil, path + " is missing", nil
	}
	f, err := registry.OpenReader(path)
	switch {
	case errors.Is(err, store.ErrNewer), errors.Is(err, store.ErrInUse):
		return nil, "", err
	case err != nil:
		return nil, err.Error(), nil
	}
	meta := f.Meta()
	switch {
	case s.Directory != "" && meta.GetDirectoryId() != s.Directory:
		fault = fmt.Sprintf("%s belongs to data directory %s, not to this one (%s)", path, meta.GetDirectoryId(), s.Directory)
	case s.foreign(meta.GetClusterId()):
		fault = fmt.Sprintf("%s is of cluster %s, not of %s", path, meta.GetClusterId(), s.ClusterID)
	case newest.Header != nil && meta.GetIndex() < newest.Header.GetMeta().GetIndex():
		f.Close()
		return nil, "", nil // a start would use the snapshot, too
	}
	if fault != "" {
		f.Close()
		return nil, fault, nil
	}
	b := &base{name: registry.FileName, held: pointOf(meta), file: f, directory: meta.GetDirectoryId()}
	// One that holds what the newest snapshot holds, holds all up to the snapshot's entry: those between are raft's own.
	b.chain = newChain(b.held, newest)
	return b, "", nil
}

func (s *Survivor) foreign(clusterID string) bool {
	return clusterID != "" && s.ClusterID != "" && clusterID != s.ClusterID
}

// open makes sure that there is an open registry file with what the base holds.
func (b *base) open() (err error) {
	if b.file != nil {
		return nil
	}
	dir, err := os.MkdirTemp("", "rollcall-survivor-")
	if err != nil {
		return err
	}
	name, err := b.build(dir)
	if err == nil {
		b.file, err = registry.OpenReader(name)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	b.made = true
	return nil
}

// build writes a registry file with what the base holds to a temporary file in dir.
func (b *base) build(dir string) (name string, err error) {
	switch {
	case b.file != nil:
		return copyFile(b.file.Path(), dir)
	case b.snapshot == nil:
		name, _, err = registry.Create(dir, b.directory)
		return name, err
	}
	stream, err := b.snapshot.Stream()
	if err != nil {
		return "", err
	}
	defer stream.Close()
	name, _, err = registry.Receive(dir, stream, b.directory, "")
	return name, err
}

package verify

import (
	"errors"
	"fmt"
	"path/filepath"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
)

// Check is one thing that was looked at, and what is wrong with it.
type Check = registry.Check

// Directory reads all of a stopped node's data directory, and changes nothing. inspect is asked about the
// registry in the registry file, if that can be opened. The error is store.ErrInUse, or says why nothing
// could be read.
func Directory(path string, kinds registry.Kinds, inspect func(*registry.Reader) Check) ([]Check, error) {
	identity := Check{Name: "identity"}
	d, err := store.OpenReadOnly(path)
	if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrNewer) {
		identity.Fail("%v", err)
		return []Check{identity}, nil // whose the rest should be is not known
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	id := d.Identity()
	identity.Looked = fmt.Sprintf("node %s, no cluster yet", id.Node)
	if id.Founding != nil {
		identity.Looked = fmt.Sprintf("node %s of cluster %s", id.Node, id.Founding.ClusterID)
	}
	v := &verification{dir: d, id: id}
	checks := append([]Check{identity}, v.registry(kinds, inspect)...)
	snapshots := v.checkSnapshots()
	return append(checks, v.checkLog(), snapshots), nil
}

// verification is one Directory.
type verification struct {
	dir *store.Directory
	id  store.Identity

	meta *logv1.RegistryMeta // nil: the registry file cannot be read
	base uint64              // index of the newest intact snapshot; 0: none
}

func (v *verification) file(name string) string { return filepath.Join(v.dir.Path(), name) }

func (v *verification) registry(kinds registry.Kinds, inspect func(*registry.Reader) Check) []Check {
	check := Check{Name: "registry file"}
	path := v.file(registry.FileName)
	if err := v.dir.Quarantined(); err != nil {
		check.Fail("%v", err)
	}
	f, err := registry.OpenReader(path)
	if err != nil {
		check.Fail("%v", err)
		return []Check{check}
	}
	defer f.Close()
	v.meta = f.Meta()
	if f.Meta().GetDirectoryId() != v.id.DirectoryID {
		check.Fail("%s belongs to data directory %q, not to this one (%s)", path, f.Meta().GetDirectoryId(), v.id.DirectoryID)
	}
	founded := ""
	if v.id.Founding != nil {
		founded = v.id.Founding.ClusterID
	}
	if theirs := f.Meta().GetClusterId(); theirs != "" && theirs != founded {
		check.Fail("%s is of cluster %q, not of %q", path, theirs, founded)
	}
	checks := f.Check(kinds, inspect)
	checks[0].Problems = append(check.Problems, checks[0].Problems...)
	return checks
}

// checkSnapshots reads all snapshots through.
func (v *verification) checkSnapshots() Check {
	check := Check{Name: "snapshots", Looked: "none"}
	found, err := snapshot.Verify(v.dir.Path())
	if err != nil {
		check.Fail("%v", err)
	}
	for _, s := range found {
		if s.Err != nil {
			check.Fail("%s: %v", s.Path, s.Err)
			continue
		}
		v.base = max(v.base, s.Index)
	}
	if len(found) > 0 {
		check.Looked = fmt.Sprintf("%d, the newest intact one of log entry %d", len(found), v.base)
	}
	return check
}

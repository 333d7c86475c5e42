package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"

	"github.com/rollcallhq/rollcall/store/vfs"
)

const (
	lockName     = "LOCK"
	identityName = "identity.json"
)

// Errors of this package and those beneath it.
var (
	ErrInUse   = vfs.ErrInUse
	ErrDamaged = vfs.ErrDamaged
	ErrNewer   = vfs.ErrNewer
	ErrClosed  = vfs.ErrClosed
)

// Directory is an open data directory. Only one process has it open.
type Directory struct {
	path string
	lock *os.File // nil: opened to be read, and there is no LOCK

	mu       sync.Mutex // guards identity, and its file
	identity Identity
	closed   bool
}

// OpenDirectory opens the data directory of a node and makes it if it is missing. It fails at once
// when another process has it (vfs.ErrInUse), when it belongs to another node, when its identity is
// damaged, lost or of a newer format (vfs.ErrNewer), and when it cannot be written.
func OpenDirectory(path, node string) (_ *Directory, err error) {
	if node == "" {
		return nil, errors.New("open data directory: no node name")
	}
	if err := refuseCutOff(path); err != nil {
		return nil, err
	}
	if err := vfs.MkdirAll(path); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	lock, err := lockFile(filepath.Join(path, lockName))
	if errors.Is(err, vfs.ErrInUse) {
		return nil, fmt.Errorf("data directory %s is %w", path, vfs.ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := vfs.RemoveTemps(path); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	// A process that was killed may have renamed files and not synced their names: what is seen here must
	// not be lost after something was built on it.
	if err := vfs.SyncDir(path); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	id, err := openIdentity(path, node)
	if err != nil {
		return nil, err
	}
	return &Directory{path: path, lock: lock, identity: id}, nil
}

// OpenReadOnly opens the data directory of a stopped node to be read: nothing in it is changed, and it need not
// be writable. Several processes may read it at once. The error is ErrInUse, says that it is not the data
// directory of a node, is an IdentityError, or is the disk's.
func OpenReadOnly(path string) (*Directory, error) {
	d, lost, err := OpenDamaged(path)
	if err == nil && lost != nil {
		err = errors.Join(lost, d.Close())
	}
	if lost != nil && !errors.As(lost, new(*IdentityError)) {
		return nil, errNoNode{path, "it has no " + identityName}
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// OpenDamaged is OpenReadOnly, but opens a directory whose identity is damaged or lost, too: lost says so, and the
// Identity is then empty. err is ErrInUse, os.ErrNotExist if the directory holds nothing of a node, an IdentityError
// that wraps ErrNewer, or the disk's.
func OpenDamaged(path string) (_ *Directory, lost, err error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist) && refuseCutOff(path) != nil:
		return nil, nil, errNoNode{path, refuseCutOff(path).Error()}
	case errors.Is(err, os.ErrNotExist):
		return nil, nil, errNoNode{path, "it does not exist"}
	case err == nil && !info.IsDir():
		return nil, nil, fmt.Errorf("%s is not the data directory of a node: it is a file", path)
	}
	name := filepath.Join(path, identityName)
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		found, err := contents(path)
		if err != nil {
			return nil, nil, fmt.Errorf("data directory %s cannot be read: %w", path, err)
		}
		if len(found) == 0 {
			return nil, nil, errNoNode{path, "it has no " + identityName}
		}
		lost = fmt.Errorf("%s is missing", name)
	} else if err != nil {
		return nil, nil, fmt.Errorf("data directory %s cannot be read: %w", path, err)
	}
	lock, err := lockShared(filepath.Join(path, lockName))
	if errors.Is(err, ErrInUse) {
		return nil, nil, fmt.Errorf("data directory %s is %w", path, ErrInUse)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("data directory %s cannot be locked: %w", path, err)
	}
	d := &Directory{path: path, lock: lock}
	if lost == nil {
		d.identity, err = parseIdentity(data)
		if errors.Is(err, ErrNewer) {
			return nil, nil, errors.Join(&IdentityError{name, err}, d.Close())
		}
		if err != nil {
			lost = &IdentityError{name, err}
		}
	}
	return d, lost, nil
}

// IsDataDirectory reports whether a directory is the data directory of a node, which runs or not.
func IsDataDirectory(path string) bool {
	if there, err := vfs.Exists(filepath.Join(path, identityName)); err != nil || !there {
		return false
	}
	found, err := contents(path)
	return err == nil && len(found) > 0
}

// errNoNode means that a directory holds nothing of a node.
type errNoNode struct{ path, why string }

func (e errNoNode) Error() string {
	return fmt.Sprintf("%s is not the data directory of a node: %s", e.path, e.why)
}
func (e errNoNode) Unwrap() error { return os.ErrNotExist }

// Path returns the path the directory was opened by.
func (d *Directory) Path() string { return d.path }

func (d *Directory) file(name string) string { return filepath.Join(d.path, name) }

// Identity returns whose directory this is.
func (d *Directory) Identity() Identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.identity.clone()
}

// clusterID is the cluster that the identity names; "": none yet.
func (d *Directory) clusterID() string {
	if f := d.Identity().Founding; f != nil {
		return f.ClusterID
	}
	return ""
}

// SetFounding notes, durably when it returns, that this node took part in forming a cluster. It can
// be set once; setting the same again changes nothing.
func (d *Directory) SetFounding(f Founding) error {
	return d.change("set founding", func(id *Identity) (bool, error) {
		if have := id.Founding; have != nil {
			if reflect.DeepEqual(have, f.clone()) {
				return false, nil
			}
			return false, fmt.Errorf("data directory %s already belongs to cluster %q, not %q or with other members",
				d.path, have.ClusterID, f.ClusterID)
		}
		id.Founding = f.clone()
		return true, nil
	})
}

// Close lets another process open the directory. Everything opened on it must be closed before.
func (d *Directory) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if d.lock == nil {
		return nil
	}
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("close data directory %s: %w", d.path, err)
	}
	return nil
}

package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// source makes the directory that recoverIt recovers.
func (d *directory) source() error {
	if err := d.open(); err != nil {
		return err
	}
	err := d.dir.SetFounding(store.Founding{ClusterID: "3f9a", Members: []store.FoundingMember{{Name: "n1"}}})
	if err != nil {
		return err
	}
	for range 3 {
		if err := errors.Join(d.append(), d.catchUp()); err != nil {
			return err
		}
	}
	say("source", d.dir.Identity().DirectoryID)
	return d.close()
}

// recovery makes of a directory the only member of a new cluster.
func recovery(path string, from store.Identity) store.Recovery {
	return store.Recovery{
		Restoration: store.Restoration{
			Path: path, Node: "n1", DirectoryID: restoredID, Kinds: storetest.Kinds{}, Term: 7,
			Founding: store.Founding{ClusterID: "4a0b", Members: []store.FoundingMember{{Name: "n1", DirectoryID: restoredID}}},
			Rehash:   func(*registry.Reader) (*logv1.StateHash, error) { return nil, nil },
		},
		From: store.Recovered{Node: "n1", ClusterID: "3f9a", DirectoryID: from.DirectoryID},
		Build: func(dir string) (string, *logv1.RegistryMeta, error) {
			f, err := vfs.CreateTemp(dir)
			if err == nil {
				err = errors.Join(f.Close(), storetest.CopyFile(filepath.Join(path, registry.FileName), f.Name()))
			}
			if err != nil {
				return "", nil, err
			}
			r, err := registry.OpenReader(f.Name())
			if err != nil {
				return "", nil, err
			}
			return f.Name(), r.Meta(), r.Close()
		},
	}
}

// recoverInTwo is recoverIt where two directories cannot be exchanged.
func (d *directory) recoverInTwo() error {
	return d.recoverBy(func(step string) error {
		if step == "exchange" {
			return errors.ErrUnsupported
		}
		return nil
	})
}

func (d *directory) recoverIt() error { return d.recoverBy(nil) }

// recoverBy recovers the directory, as often as the process is started.
func (d *directory) recoverBy(step func(string) error) error {
	if finished, err := store.FinishRecovery(d.path, false); finished != nil || err != nil {
		return err
	}
	dir, err := store.OpenReadOnly(d.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if dir.Identity().DirectoryID == restoredID {
		return nil
	}
	r := recovery(d.path, dir.Identity())
	r.Step = step
	if _, err := store.Recover(r); err != nil {
		return err
	}
	say("recovered", 1)
	return nil
}

// settle ends a recovery, and says what is there.
func (d *directory) settle() error {
	if _, err := store.FinishRecovery(d.path, false); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filepath.Base(d.path)+".before-recover-") {
			if e.Name() != filepath.Base(d.path) {
				return fmt.Errorf("%s is left over", e.Name())
			}
			continue
		}
		beside, err := store.OpenReadOnly(filepath.Join(filepath.Dir(d.path), e.Name()))
		if err != nil {
			return err
		}
		say("beside", beside.Identity().DirectoryID)
		beside.Close()
	}
	return d.read()
}

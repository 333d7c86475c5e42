package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
)

// Rewritten is how large journal.db was and is, in bytes.
type Rewritten struct{ Before, After int64 }

// rewriteTxBytes bounds what one transaction of a rewriting holds in memory.
const rewriteTxBytes = 16 << 20

// RewriteJournal gives back the space in journal.db that compaction has left free: the content is
// copied into a new file, which then takes the old one's place. The data directory must be there, and
// no process may have it open (ErrInUse). If anything fails the journal is as it was. It needs room for
// both files.
func RewriteJournal(path string) (Rewritten, error) {
	d, err := openExisting(path)
	if err != nil {
		return Rewritten{}, err
	}
	sizes, err := d.rewriteJournal()
	if err != nil {
		err = fmt.Errorf("rewrite %s: %w", d.file(journalName), err)
	}
	return sizes, errors.Join(err, d.Close())
}

// openExisting opens a data directory without knowing whose it is, and makes none.
func openExisting(path string) (*Directory, error) {
	name := filepath.Join(path, identityName)
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is not the data directory of a node: it has no %s", path, identityName)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	id, err := parseIdentity(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return OpenDirectory(path, id.Node)
}

func (d *Directory) rewriteJournal() (sizes Rewritten, err error) {
	if sizes.Before, err = fileSize(d.file(journalName)); err != nil {
		return sizes, err
	}
	old, err := openBolt(d.file(journalName), bbolt.Options{ReadOnly: true})
	if err != nil {
		return sizes, err
	}
	name, err := copyJournal(d.path, old)
	old.letGo(err)
	if err != nil {
		return sizes, err
	}
	if sizes.After, err = fileSize(name); err == nil {
		err = install(name, d.file(journalName))
	}
	if err != nil {
		os.Remove(name)
	}
	return sizes, err
}

// copyJournal makes a spool file in dir that holds what an intact journal holds, checked and fsynced.
func copyJournal(dir string, old *bolt) (name string, err error) {
	want, err := checkJournal(old)
	if err != nil {
		return "", err
	}
	f, err := spool(dir)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := f.Close(); err != nil {
		return "", err
	}
	// Synced once, at the end.
	db, err := openBolt(f.Name(), bbolt.Options{FreelistType: bbolt.FreelistMapType, NoSync: true})
	if err != nil {
		return "", err
	}
	err = guard(func() error { return bbolt.Compact(db.DB, old.DB, rewriteTxBytes) })
	if err == nil {
		meta, checkErr := checkJournal(db)
		if err = checkErr; err == nil && !proto.Equal(meta, want) {
			err = fmt.Errorf("%w: the copy is another journal", ErrDamaged)
		}
	}
	if err == nil {
		err = guard(db.Sync)
	}
	db.letGo(err)
	if err != nil {
		return "", err
	}
	return f.Name(), nil
}

func fileSize(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

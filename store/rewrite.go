package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
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
	name, _, err := copyJournal(d.path, old)
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

// copyJournal makes a spool file in dir that holds what an intact journal holds, checked and fsynced. It
// is of the newest format, whatever the old one is of.
func copyJournal(dir string, old *bolt) (name string, meta *logv1.JournalMeta, err error) {
	want, err := checkJournal(old)
	if err != nil {
		return "", nil, err
	}
	f, err := spool(dir)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := f.Close(); err != nil {
		return "", nil, err
	}
	// Synced once, at the end.
	db, err := openBolt(f.Name(), bbolt.Options{FreelistType: bbolt.FreelistMapType, NoSync: true})
	if err != nil {
		return "", nil, err
	}
	err = guard(func() error {
		if want.GetFormat() == journalFormat {
			return bbolt.Compact(db.DB, old.DB, rewriteTxBytes)
		}
		return old.View(func(tx *bbolt.Tx) error { return migrateInto(db, tx, want) })
	})
	if err == nil {
		if meta, err = checkJournal(db); err == nil && !proto.Equal(meta, want) {
			err = fmt.Errorf("%w: the copy is another journal", ErrDamaged)
		}
	}
	if err == nil {
		err = guard(db.Sync)
	}
	db.letGo(err)
	if err != nil {
		return "", nil, err
	}
	return f.Name(), meta, nil
}

func fileSize(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Backup is a file that holds a snapshot stream.
type Backup struct {
	Meta   *logv1.JournalMeta // of what it holds
	Bytes  int64
	SHA256 string // hexadecimal: the one that stands at its end, and is right
}

// CheckBackup reads a file through and says whose it is. The error wraps ErrDamaged if it is not a whole,
// right snapshot stream, ErrNewer, or is the disk's.
func CheckBackup(path string) (Backup, error) { return readBackup(path, nil) }

func readBackup(path string, journal io.Writer) (Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return Backup{}, err
	}
	defer f.Close()
	check := newStreamCheck(journal)
	n, err := io.Copy(check, f)
	if err == nil {
		err = check.finish()
	}
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", path, err)
	}
	meta := check.header.GetMeta()
	if meta.GetIndex() == 0 || meta.GetTerm() == 0 || meta.GetClusterId() == "" {
		return Backup{}, fmt.Errorf("%s: %w: it is of no cluster", path, ErrDamaged)
	}
	return Backup{Meta: meta, Bytes: n, SHA256: hex.EncodeToString(check.tail)}, nil
}

// ExtractBackup takes the journal out of a backup, into a file of its own in dir. If it is of an older
// format it is migrated there, and what Backup says is of that.
func ExtractBackup(path, dir string) (_ Backup, _ *JournalFile, err error) {
	f, err := spool(dir)
	if err != nil {
		return Backup{}, nil, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	b, err := readBackup(path, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return Backup{}, nil, err
	}
	if b.Meta.GetFormat() < journalFormat {
		if _, err := migrateJournal(f.Name()); err != nil {
			return Backup{}, nil, fmt.Errorf("%s: the journal in it: %w", path, err)
		}
		b.Meta.Format = journalFormat
	}
	journal, err := OpenJournalFile(f.Name())
	if err != nil {
		return Backup{}, nil, fmt.Errorf("%s: the journal in it: %w", path, err)
	}
	if !proto.Equal(journal.meta, b.Meta) {
		journal.Close()
		return Backup{}, nil, fmt.Errorf("%s: %w: the journal in it is not the one its header describes", path, ErrDamaged)
	}
	return b, journal, nil
}

// Remove closes the file and removes it.
func (f *JournalFile) Remove() error { return errors.Join(f.Close(), os.Remove(f.path)) }

// Events is how many readable events the file holds.
func (f *JournalFile) Events() (n int, err error) {
	err = guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			var block eventBlock
			return tx.Bucket(bucketEvents).ForEach(func(key, value []byte) error {
				if openBlock(key, value, &block) == nil { // else Check says so
					n += len(block.events)
				}
				return nil
			})
		})
	})
	f.note(err)
	return n, err
}

// WriteFile writes what write writes to a file, whole and durable or not at all. Without replace, a file
// that is there stays (os.ErrExist).
func WriteFile(name string, replace bool, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		return install(f.Name(), name)
	}
	// A link, unlike a rename, never replaces.
	if err := os.Link(f.Name(), name); err != nil {
		if there, existsErr := exists(name); there || existsErr != nil || errors.Is(err, os.ErrExist) {
			return &os.PathError{Op: "create", Path: name, Err: os.ErrExist}
		}
		return install(f.Name(), name) // a file system without links
	}
	return errors.Join(os.Remove(f.Name()), syncDir(filepath.Dir(name)))
}

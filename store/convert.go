package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// convertBatch is how many entries are copied with one sync.
const convertBatch = 256

// Conversion is what ConvertLog did.
type Conversion struct {
	From, To LogKind // equal: nothing had to be done
	Entries  int
}

// ConvertLog moves the log of a data directory that no process uses from one kind to the other. All is
// read, written anew, read again and compared; then one rename of raft.db switches, and only after it
// what was before is removed. A crash leaves one log or the other, whole, and running it again goes on.
func ConvertLog(path string, to LogKind) (Conversion, error) {
	return convertLog(path, to, func(string) error { return nil })
}

// convertLog calls step after each step: an error of it is a crash there.
func convertLog(path string, to LogKind, step func(string) error) (c Conversion, err error) {
	if err := to.validate(); err != nil {
		return c, err
	}
	data, err := os.ReadFile(filepath.Join(path, identityName))
	if errors.Is(err, os.ErrNotExist) {
		return c, fmt.Errorf("%s is no data directory of a node: it has no %s", path, identityName)
	}
	if err != nil {
		return c, fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	id, err := parseIdentity(data)
	if err != nil {
		return c, fmt.Errorf("%s: %w", filepath.Join(path, identityName), err)
	}
	d, err := OpenDirectory(path, id.Node)
	if err != nil {
		return c, err
	}
	defer d.Close()
	from, err := OpenLog(d, LogOptions{})
	if err != nil {
		return c, err
	}
	defer from.Close()
	c = Conversion{From: from.kind, To: to}
	if from.kind == to {
		return c, nil
	}
	v := conversion{dir: d, id: id, from: from, step: step}
	if c.Entries, err = v.run(to); err != nil {
		return c, fmt.Errorf("convert the log of %s to %s: %w", path, to, err)
	}
	return c, nil
}

type conversion struct {
	dir  *Directory
	id   Identity
	from *Log
	step func(string) error
}

func (c *conversion) run(to LogKind) (count int, err error) {
	spooled, err := spool(c.dir.path)
	if err != nil {
		return 0, err
	}
	name := spooled.Name()
	defer os.Remove(name) // if it was not installed
	if err := spooled.Close(); err != nil {
		return 0, err
	}
	next, err := openBoltStore(name)
	if err != nil {
		return 0, err
	}
	defer next.Close()
	if to == LogWAL {
		count, err = c.toWAL(next)
	} else {
		count, err = c.toBoltDB(next)
	}
	if err != nil {
		return 0, err
	}
	if err := errors.Join(next.Close(), c.from.Close()); err != nil {
		return 0, err
	}
	if err := c.copyStable(name); err != nil {
		return 0, err
	}
	if err := c.step("copied"); err != nil {
		return 0, err
	}
	if err := install(name, c.dir.file(logName)); err != nil {
		return 0, err
	}
	if err := c.step("switched"); err != nil {
		return 0, err
	}
	// Opening checks it once more, and removes what is left over.
	l, err := OpenLog(c.dir, LogOptions{Kind: to})
	if err != nil {
		return 0, err
	}
	return count, l.Close()
}

// toWAL copies the entries to wal/, which is marked as none of this log's until raft.db is switched.
func (c *conversion) toWAL(next *raftboltdb.BoltStore) (int, error) {
	if err := c.from.Set(keyObsolete, []byte{1}); err != nil {
		return 0, err
	}
	if err := c.step("marked"); err != nil {
		return 0, err
	}
	path := c.dir.file(walName)
	var last walMeta
	keep := func(m walMeta) error { last = m; return nil }
	w, err := openWAL(path, newWALMeta(c.id.DirectoryID), keep, nil)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	last = w.meta
	count, err := c.copyEntries(w)
	if err := errors.Join(err, w.note(), w.Close()); err != nil {
		return 0, err
	}
	var have []uint64
	w, err = openWAL(path, last, keep, func(entry *raft.Log) error {
		have = append(have, entry.Index)
		return c.compare(entry)
	})
	if err != nil {
		return 0, err
	}
	defer w.Close()
	if len(have) != count {
		return 0, fmt.Errorf("%w: %d entries were written, %d are read", ErrDamaged, count, len(have))
	}
	return count, setSegments(next, last)
}

// toBoltDB copies the entries to the next raft.db, which says that wal/ is left over.
func (c *conversion) toBoltDB(next *raftboltdb.BoltStore) (int, error) {
	count, err := c.copyEntries(next)
	if err != nil {
		return 0, err
	}
	err = c.each(func(index uint64) error {
		var entry raft.Log
		if err := next.GetLog(index, &entry); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		return c.compare(&entry)
	})
	if err != nil {
		return 0, err
	}
	return count, setStable(next, keyObsolete, []byte{1})
}

// each visits the entries there are.
func (c *conversion) each(visit func(index uint64) error) error {
	first, err := c.from.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	last, err := c.from.LastIndex()
	if err != nil {
		return err
	}
	for index := first; index <= last; index++ {
		var entry raft.Log
		if err := c.from.GetLog(index, &entry); errors.Is(err, raft.ErrLogNotFound) {
			continue // a gap where a snapshot was installed
		} else if err != nil {
			return err
		}
		if err := visit(index); err != nil {
			return err
		}
	}
	return nil
}

func (c *conversion) copyEntries(to raft.LogStore) (count int, err error) {
	var batch []*raft.Log
	flush := func() error {
		err := guard(func() error { return to.StoreLogs(batch) })
		batch = batch[:0]
		return err
	}
	err = c.each(func(index uint64) error {
		if n := len(batch); n == convertBatch || n > 0 && batch[n-1].Index+1 != index {
			if err := flush(); err != nil {
				return err
			}
			if err := c.step("copying"); err != nil {
				return err
			}
		}
		entry := new(raft.Log)
		if err := c.from.GetLog(index, entry); err != nil {
			return err
		}
		batch = append(batch, entry)
		count++
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	return count, err
}

// compare checks a copy against the entry that it was made of.
func (c *conversion) compare(entry *raft.Log) error {
	var original raft.Log
	if err := c.from.GetLog(entry.Index, &original); err != nil {
		return err
	}
	if original.Index != entry.Index || original.Term != entry.Term || original.Type != entry.Type ||
		!bytes.Equal(original.Data, entry.Data) || !bytes.Equal(original.Extensions, entry.Extensions) ||
		!original.AppendedAt.Equal(entry.AppendedAt) {
		return fmt.Errorf("%w: entry %d was not copied as it is", ErrDamaged, entry.Index)
	}
	return nil
}

// copyStable copies what else raft.db holds, whoever wrote it, to the bbolt file name.
func (c *conversion) copyStable(name string) error {
	bucketConf := []byte("conf") // raft-boltdb's
	values := map[string][]byte{}
	o := logBoltOptions()
	o.ReadOnly = true
	b, err := openBolt(c.dir.file(logName), o)
	if err != nil {
		return err
	}
	err = guard(func() error {
		return b.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketConf).ForEach(func(key, value []byte) error {
				values[string(key)] = bytes.Clone(value)
				return nil
			})
		})
	})
	b.letGo(err)
	if err != nil {
		return err
	}
	delete(values, string(keySegments))
	delete(values, string(keyObsolete))
	if b, err = openBolt(name, logBoltOptions()); err != nil {
		return err
	}
	err = guard(func() error {
		return b.Update(func(tx *bbolt.Tx) error {
			for key, value := range values {
				if err := tx.Bucket(bucketConf).Put([]byte(key), value); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		b.letGo(err)
		return err
	}
	return b.Close()
}

package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Check is one thing that was looked at, and what is wrong with it.
type Check struct {
	Name     string
	Looked   string   // at what, with counts
	Problems []string // none: nothing is; at most maxProblems, then how many more
	more     int
}

// maxProblems keeps a report readable, and small.
const maxProblems = 10

// Fail notes a problem.
func (c *Check) Fail(format string, args ...any) {
	if len(c.Problems) < maxProblems {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
		return
	}
	if c.more++; c.more > 1 {
		c.Problems = c.Problems[:maxProblems]
	}
	c.Problems = append(c.Problems, fmt.Sprintf("and %d more", c.more))
}

// JournalFile is a journal that nobody writes, opened to be looked at. Nothing of it is changed.
type JournalFile struct {
	path string
	db   *bolt
	meta *logv1.JournalMeta
	wrec error  // bbolt panicked: its locks may be held
	copy string // of an older format's, removed by Close; "": none
}

// OpenJournalFile opens a journal and checks that its registry holds each record that it should, as it
// was written. One of an older format is copied for it, beside it and into the newest format. The error
// wraps ErrDamaged, ErrNewer or ErrInUse, or is the disk's.
func OpenJournalFile(path string) (*JournalFile, error) {
	db, err := openBolt(path, bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	meta, err := checkJournal(db)
	if err != nil {
		db.letGo(err)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &JournalFile{path: path, db: db, meta: meta}
	if meta.GetFormat() == journalFormat {
		return f, nil
	}
	f.copy, f.meta, err = copyJournal(filepath.Dir(path), db)
	db.letGo(err)
	if err == nil {
		if f.db, err = openBolt(f.copy, bbolt.Options{ReadOnly: true}); err != nil {
			os.Remove(f.copy)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Meta says what the journal holds.
func (f *JournalFile) Meta() *logv1.JournalMeta { return f.meta }

// Load hands out the registry, like Journal.Load.
func (f *JournalFile) Load(v logv1.Visitor) (*logv1.JournalMeta, error) {
	meta, err := loadJournal(f.db, v)
	f.note(err)
	return meta, err
}

// Close closes the file.
func (f *JournalFile) Close() error {
	f.db.letGo(f.wrec)
	if f.copy != "" {
		return os.Remove(f.copy)
	}
	return nil
}

func (f *JournalFile) note(err error) {
	var broken *panicked
	if errors.As(err, &broken) {
		f.wrec = err
	}
}

// VerifyDirectory looks at all of a stopped node's data directory, and changes nothing. inspect is asked
// about the registry in the journal, if that can be opened. The error is ErrInUse, or says why nothing
// could be looked at.
func VerifyDirectory(path string, inspect func(*JournalFile) Check) ([]Check, error) {
	name := filepath.Join(path, identityName)
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is not the data directory of a node: it has no %s", path, identityName)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be read: %w", path, err)
	}
	lock, err := lockFile(filepath.Join(path, lockName))
	if errors.Is(err, ErrInUse) {
		return nil, fmt.Errorf("data directory %s is %w", path, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be locked: %w", path, err)
	}
	defer lock.Close()

	identity := Check{Name: "identity"}
	id, err := parseIdentity(data)
	if err != nil {
		identity.Fail("%s: %v", name, err)
		return []Check{identity}, nil // whose the rest should be is not known
	}
	identity.Looked = fmt.Sprintf("node %s, no cluster yet", id.Node)
	if id.Founding != nil {
		identity.Looked = fmt.Sprintf("node %s of cluster %s", id.Node, id.Founding.ClusterID)
	}
	v := &verification{dir: &Directory{path: path, lock: lock, identity: id}, id: id}
	checks := append([]Check{identity}, v.journal(inspect)...)
	snapshots := v.checkSnapshots()
	return append(checks, v.checkLog(), snapshots), nil
}

// verification is one VerifyDirectory.
type verification struct {
	dir *Directory
	id  Identity

	meta *logv1.JournalMeta // nil: the journal cannot be read
	base uint64             // index of the newest intact snapshot; 0: none
}

func (v *verification) journal(inspect func(*JournalFile) Check) []Check {
	check := Check{Name: "journal"}
	path := v.dir.file(journalName)
	if err := v.dir.distrusted(); err != nil {
		check.Fail("%v", err)
	}
	f, err := OpenJournalFile(path)
	if err != nil {
		check.Fail("%v", err)
		return []Check{check}
	}
	defer f.Close()
	v.meta = f.meta
	if f.meta.GetDirectoryId() != v.id.DirectoryID {
		check.Fail("%s belongs to data directory %q, not to this one (%s)", path, f.meta.GetDirectoryId(), v.id.DirectoryID)
	}
	founded := ""
	if v.id.Founding != nil {
		founded = v.id.Founding.ClusterID
	}
	if theirs := f.meta.GetClusterId(); theirs != "" && theirs != founded {
		check.Fail("%s is of cluster %q, not of %q", path, theirs, founded)
	}
	checks := f.Check(inspect)
	checks[0].Problems = append(check.Problems, checks[0].Problems...)
	return checks
}

// checkSnapshots reads all snapshots through.
func (v *verification) checkSnapshots() Check {
	check := Check{Name: "snapshots", Looked: "none"}
	dir := v.dir.file(snapshotsName)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return check
	}
	if err != nil {
		check.Fail("%v", err)
		return check
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(v.dir.path, len(entries)+1, raftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		check.Fail("%s: %v", dir, err)
		return check
	}
	metas, err := files.List()
	if err != nil {
		check.Fail("%s: %v", dir, err)
	}
	readable := map[string]*raft.SnapshotMeta{}
	for _, meta := range metas {
		readable[meta.ID] = meta
	}
	s := &Snapshots{files: files, dir: dir, logger: slog.New(slog.DiscardHandler)}
	found := 0
	var bytes int64
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasSuffix(entry.Name(), ".tmp") {
			continue // what was never finished is removed at the next start
		}
		found++
		meta := readable[entry.Name()]
		if meta == nil {
			check.Fail("%s: meta.json cannot be read", filepath.Join(dir, entry.Name()))
			continue
		}
		if found := s.verify(meta); found.err != nil {
			check.Fail("%s: %v", filepath.Join(dir, entry.Name()), found.err)
			continue
		}
		bytes += meta.Size
		v.base = max(v.base, meta.Index)
	}
	if found > 0 {
		check.Looked = fmt.Sprintf("%d, the newest intact one of log entry %d", found, v.base)
	}
	return check
}

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Recovery says what Recover makes. The Path of the Restoration is the directory that is recovered.
type Recovery struct {
	Restoration
	From  Recovered // what the new directory is made of; Recover sets Time
	Build func(dir string) (name string, _ *logv1.RegistryMeta, err error)
	// Step is for tests: it is called before each step, and its error counts as one of the disk.
	// One that wraps errors.ErrUnsupported, for "exchange", stands for a file system that cannot do that.
	Step func(name string) error
}

// Recover makes of what Build builds the data directory of the only member of a new cluster, and puts it in the place
// of the directory that it was made of, which is kept beside it under the name that is returned. Whenever it is cut off,
// either the old directory is where it was, or the new one is, whole, and the old one is beside it. FinishRecovery puts
// the rest in order. The caller holds the old directory open.
//
// The new directory is made beside the old one, as DIR.recovering. Then the two change places, in one step, and the old
// one gets its last name.
func Recover(r Recovery) (kept string, err error) {
	if err := r.setKind(); err != nil {
		return "", err
	}
	path := r.Path
	step := r.Step
	if step == nil {
		step = func(string) error { return nil }
	}
	r.From.Time = time.Now().UTC()
	r.Path += recoveringSuffix
	d, _, err := r.claim()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := r.make(d, path, step); err != nil {
		return "", errors.Join(err, removeRecovering(r.Path))
	}
	kept, err = nameKept(path, r.From.Time)
	if err != nil {
		return "", errors.Join(err, removeRecovering(r.Path))
	}
	if err = step("exchange"); err == nil {
		err = exchange(r.Path, path)
	}
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS) {
		return kept, swapInTwo(path, r.Path, kept, step)
	}
	if err != nil {
		return "", errors.Join(cannotMove(path, err), removeRecovering(r.Path))
	}
	if err := step("sync exchange"); err != nil {
		return "", err
	}
	if err := vfs.SyncDir(filepath.Dir(path)); err != nil {
		return "", err
	}
	if err := step("rename"); err != nil {
		return "", err
	}
	return kept, vfs.Install(r.Path, kept) // which syncs the directory above, too
}

// make fills the new directory.
func (r Recovery) make(d *Directory, path string, step func(string) error) error {
	// First what says whose it is: what is cut off after that can be told from a directory of somebody else.
	note, err := json.MarshalIndent(r.From, "", "  ")
	if err != nil {
		return err
	}
	if err := vfs.ReplaceFile(d.file(recoveredName), append(note, '\n')); err != nil {
		return fmt.Errorf("recover %s: %w", path, err)
	}
	if err := step("build"); err != nil {
		return err
	}
	name, meta, err := r.Build(d.path)
	if err != nil {
		return err
	}
	if err := step("fill"); err != nil {
		return err
	}
	if err := r.fill(d, name, meta); err != nil {
		return fmt.Errorf("recover %s: %w", path, err)
	}
	if err := errors.Join(ownAs(d.path, path), vfs.SyncDir(d.path)); err != nil {
		return fmt.Errorf("recover %s: %w", path, err)
	}
	// Nobody else has recovered it meanwhile: who did had DIR.recovering before this one made it.
	if id, err := readIdentity(path); err == nil && r.From.Node != "" && id.DirectoryID != r.From.DirectoryID {
		return fmt.Errorf("recover %s: it has been replaced meanwhile, by data directory %s", path, id.DirectoryID)
	}
	return nil
}

// swapInTwo is for file systems that cannot exchange two directories. When it is cut off between its steps, there is no
// directory at path, which FinishRecovery mends; no node starts on an empty one there.
func swapInTwo(path, recovering, kept string, step func(string) error) error {
	if err := vfs.Install(path, kept); err != nil {
		return cannotMove(path, err)
	}
	if err := step("second rename"); err != nil {
		return err
	}
	return vfs.Install(recovering, path)
}

func cannotMove(path string, err error) error {
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) {
		return fmt.Errorf("%s cannot be renamed, as a mount point cannot: \"rollcall snapshot save --data %s FILE\" saves what it holds, "+
			"and \"rollcall snapshot restore FILE\" with this node as the only --member makes a new directory of that, in another place", path, path)
	}
	return err
}

func readIdentity(path string) (Identity, error) {
	data, err := os.ReadFile(filepath.Join(path, identityName))
	if err != nil {
		return Identity{}, err
	}
	return parseIdentity(data)
}

// Finished is a recovery that an earlier run had begun and FinishRecovery has ended.
type Finished struct {
	Recovered
	Identity Identity // of the new directory
	Kept     string   // the old one
}

// FinishRecovery puts in order what a Recover that was cut off has left: it removes a new directory that was not
// finished, or ends a recovery whose new directory was in place already; nil: there was none to end. With dryRun, it
// only tells that. The error is ErrInUse while another one runs.
func FinishRecovery(path string, dryRun bool) (*Finished, error) {
	recovering := path + recoveringSuffix
	there, err := vfs.Exists(recovering)
	if err != nil || !there {
		return nil, err
	}
	take := lockFile
	if dryRun {
		take = lockShared
	}
	lock, err := take(filepath.Join(recovering, lockName))
	if errors.Is(err, ErrInUse) {
		return nil, fmt.Errorf("%s is %w: another \"rollcall recover\" is at work", recovering, ErrInUse)
	}
	if err != nil {
		return nil, err
	}
	if lock != nil {
		defer lock.Close()
	}
	empty, err := withoutContent(path)
	if err != nil {
		return nil, err
	}
	if empty {
		done, isNew := readRecovered(recovering)
		id, err := readIdentity(recovering)
		if !isNew || err != nil {
			return nil, fmt.Errorf("%s is not what a recovery leaves: move it away", recovering)
		}
		f := &Finished{Recovered: done, Identity: id, Kept: KeptBy(path, done)}
		if dryRun {
			return f, nil
		}
		if err := os.RemoveAll(path); err != nil {
			return f, err
		}
		return f, vfs.Install(recovering, path)
	}
	if exchanged(path, recovering) {
		done, _ := readRecovered(path)
		id, err := readIdentity(path)
		if err != nil {
			return nil, err
		}
		kept, err := nameKept(path, done.Time)
		if err == nil && !dryRun {
			err = vfs.Install(recovering, kept)
		}
		return &Finished{Recovered: done, Identity: id, Kept: kept}, err
	}
	entries, err := os.ReadDir(recovering)
	if err != nil {
		return nil, err
	}
	if _, ours := readRecovered(recovering); !ours && slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return !slices.Contains(notContent, e.Name()) && !strings.HasPrefix(e.Name(), vfs.TempPrefix)
	}) {
		return nil, fmt.Errorf("%s is not what a recovery leaves: move it away", recovering)
	}
	if dryRun {
		return nil, nil
	}
	return nil, removeRecovering(recovering)
}

// removeRecovering removes a new directory that is not used. Its note goes last: until then it can be told from a
// directory of somebody else.
func removeRecovering(recovering string) error {
	entries, err := os.ReadDir(recovering)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == recoveredName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(recovering, e.Name())); err != nil {
			return err
		}
	}
	if err := vfs.SyncDir(recovering); err != nil {
		return err
	}
	if err := os.RemoveAll(recovering); err != nil {
		return err
	}
	return vfs.SyncDir(filepath.Dir(recovering))
}

// withoutContent reports whether there is no directory, or one without content: swapInTwo leaves none, and a node that
// did not start may have made one.
func withoutContent(path string) (bool, error) {
	there, err := vfs.Exists(path)
	if err != nil || !there {
		return !there, err
	}
	err = checkEmpty(path)
	if errors.Is(err, ErrNotEmpty) {
		return false, nil
	}
	return err == nil, err
}

// exchanged reports whether the directory at path is the new one, and the one at recovering the old one. Each may have
// a note of an earlier recovery, and no identity.
func exchanged(path, recovering string) bool {
	here, hereIsNew := readRecovered(path)
	there, thereIsNew := readRecovered(recovering)
	idHere, errHere := readIdentity(path)
	idThere, errThere := readIdentity(recovering)
	switch {
	case !hereIsNew:
		return false
	case !thereIsNew:
		return errHere == nil
	case errThere == nil && here.DirectoryID == idThere.DirectoryID:
		return true
	case errHere == nil && there.DirectoryID == idHere.DirectoryID:
		return false
	}
	return here.Time.After(there.Time)
}

// MakeLock makes the LOCK of a data directory that has none, so that no node starts on it while it is recovered.
func MakeLock(path string) error {
	if found, err := contents(path); err != nil || len(found) == 0 {
		return err // whoever opens it says what it lacks
	}
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	return f.Close()
}

// refuseCutOff refuses to make a node's directory where a recovery was cut off.
func refuseCutOff(path string) error {
	if there, err := vfs.Exists(filepath.Join(path, identityName)); err != nil || there {
		return nil // whoever opens it says what is wrong
	}
	if _, err := readIdentity(path + recoveringSuffix); err == nil {
		return fmt.Errorf("a recovery of %s was cut off: run \"rollcall recover --data %s\" again, and it is ended", path, path)
	}
	return nil
}

package node

import (
	"errors"
	"fmt"
	"os"

	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store"
)

// VerifyData looks at all of a stopped node's data directory, and changes nothing: see
// store.VerifyDirectory. The error is why it could not be looked at.
func VerifyData(dataDir string) ([]store.Check, error) {
	return store.VerifyDirectory(dataDir, func(f *store.JournalFile) store.Check {
		check, _ := inspect(f)
		return check
	})
}

// inspect has the fold look at the registry in a journal.
func inspect(f *store.JournalFile) (store.Check, fsm.Contents) {
	check := store.Check{Name: "registry"}
	c, err := fsm.Inspect(f)
	if err != nil {
		check.Fail("%v", err)
		return check, c
	}
	check.Looked = fmt.Sprintf("%d services, %d members, %d request ids; state hash %.4x", c.Services, c.Members, c.RequestIDs, c.Hash.GetHash())
	if !c.Compared {
		check.Looked += ", compared with nothing: the journal has none of this version"
	}
	return check, c
}

// BackupContents is what a backup holds.
type BackupContents struct {
	store.Backup
	fsm.Contents
	Events int
	Checks []store.Check // of the journal in it
}

// InspectBackup looks at all of a backup. The error says why the file is none. It takes room for the journal
// in the system's directory for temporary files.
func InspectBackup(file string) (_ BackupContents, err error) {
	var c BackupContents
	b, journal, err := store.ExtractBackup(file, os.TempDir())
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, journal.Remove()) }()
	c.Backup = b
	c.Checks = journal.Check(func(f *store.JournalFile) store.Check {
		check, contents := inspect(f)
		c.Contents = contents
		return check
	})
	c.Events, err = journal.Events()
	return c, err
}

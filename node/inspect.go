package node

import (
	"errors"
	"fmt"
	"os"

	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/verify"
)

// VerifyData looks at all of a stopped node's data directory, and changes nothing: see
// verify.Directory. The error is why it could not be looked at.
func VerifyData(dataDir string) ([]verify.Check, error) {
	return verify.Directory(dataDir, func(f *registry.Reader) verify.Check {
		check, _ := inspect(f)
		return check
	})
}

// inspect has the fold look at the registry in a registry file.
func inspect(f *registry.Reader) (verify.Check, fsm.Contents) {
	check := verify.Check{Name: "registry"}
	c, err := fsm.Inspect(f)
	if err != nil {
		check.Fail("%v", err)
		return check, c
	}
	check.Looked = fmt.Sprintf("%d services, %d members, %d request ids; state hash %.4x", c.Services, c.Members, c.RequestIDs, c.Hash.GetHash())
	if !c.Compared {
		check.Looked += ", compared with nothing: the registry file has none of this version"
	}
	return check, c
}

// BackupContents is what a backup holds.
type BackupContents struct {
	snapshot.Backup
	fsm.Contents
	Events int
	Checks []verify.Check // of the registry file in it
}

// InspectBackup looks at all of a backup. The error says why the file is none. It takes room for the registry file
// in the system's directory for temporary files.
func InspectBackup(file string) (_ BackupContents, err error) {
	var c BackupContents
	b, registryFile, err := registry.ExtractBackup(file, os.TempDir())
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, registryFile.Remove()) }()
	c.Backup = b
	c.Checks = registryFile.Check(func(f *registry.Reader) verify.Check {
		check, contents := inspect(f)
		c.Contents = contents
		return check
	})
	c.Events, err = registryFile.Events()
	return c, err
}

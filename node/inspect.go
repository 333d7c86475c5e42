package node

import (
	"errors"
	"fmt"
	"os"
	"strings"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/verify"
)

// VerifyData checks all of a stopped node's data directory, and changes nothing: see
// verify.Directory. The error says why the directory could not be read.
func VerifyData(dataDir string) ([]verify.Check, error) {
	return VerifyDataOf(dataDir, fsm.DefaultKinds())
}

// VerifyDataOf is VerifyData of a registry that can hold other kinds of records.
func VerifyDataOf(dataDir string, kinds *fsm.Kinds) ([]verify.Check, error) {
	return verify.Directory(dataDir, kinds, func(f *registry.Reader) verify.Check {
		check, _ := inspect(f, kinds)
		return check
	})
}

// inspect checks the records in a registry file as the fold does at a start.
func inspect(f *registry.Reader, kinds *fsm.Kinds) (verify.Check, fsm.Contents) {
	check := verify.Check{Name: "registry"}
	c, err := fsm.Inspect(f, kinds)
	if err != nil {
		check.Fail("%v", err)
		return check, c
	}
	var counts []string
	for _, r := range c.Records {
		counts = append(counts, fmt.Sprintf("%d %ss", r.Count, r.Kind.Name))
	}
	check.Looked = fmt.Sprintf("%s; state hash %.4x", strings.Join(counts, ", "), c.Hash.GetHash())
	if !c.Compared {
		check.Looked += ", compared with nothing: the registry file has none of this version"
	}
	return check, c
}

// BackupContents is what a backup holds.
type BackupContents struct {
	snapshot.Backup
	Services, Events int
	Checks           []verify.Check // of the registry file in it
}

// InspectBackup checks all of a backup. The error says why the file is no backup. It takes room for the registry file
// in the system's directory for temporary files.
func InspectBackup(file string) (_ BackupContents, err error) {
	var c BackupContents
	b, registryFile, err := registry.ExtractBackup(file, os.TempDir())
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, registryFile.Remove()) }()
	c.Backup = b
	kinds := fsm.DefaultKinds()
	c.Checks = registryFile.Check(kinds, func(f *registry.Reader) verify.Check {
		check, contents := inspect(f, kinds)
		c.Services = contents.Count(logv1.Kind_KIND_SERVICE)
		return check
	})
	c.Events, err = registryFile.Events()
	return c, err
}

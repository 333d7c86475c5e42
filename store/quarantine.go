package store

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// quarantineName is the note that the registry file is not to be used.
const quarantineName = "registry.quarantined"

// errQuarantined is why a registry file that is intact is not used.
var errQuarantined = errors.New("is quarantined")

// QuarantineRegistry notes, durably, that the registry file is not what the cluster agreed on, and the
// reason, in one line. The next OpenRegistry rebuilds the file from the newest snapshot and the log,
// keeps the old one aside, and removes the note.
func (d *Directory) QuarantineRegistry(reason string) error {
	f, err := vfs.CreateTemp(d.path)
	if err == nil {
		_, err = f.WriteString(reason + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = vfs.Install(f.Name(), d.file(quarantineName))
	}
	if err != nil {
		return fmt.Errorf("quarantine the registry file: %w", err)
	}
	return nil
}

// Quarantined returns the note as an error, nil if there is none.
func (d *Directory) Quarantined() error {
	reason, err := os.ReadFile(d.file(quarantineName))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s %w: %s", d.file(registry.FileName), errQuarantined, strings.TrimSpace(string(reason)))
}

// releaseRegistry removes the note: the registry file is another one.
func (d *Directory) releaseRegistry() error {
	err := os.Remove(d.file(quarantineName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return vfs.SyncDir(d.path)
}

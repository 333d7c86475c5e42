package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// errDistrusted is why a journal that is intact is not believed.
var errDistrusted = errors.New("is not believed")

// Distrust notes, durably, that the journal is not what the cluster agreed on, for a reason in one
// line. The next OpenJournal rebuilds it from the newest snapshot and the log, keeping the old one
// aside, and forgets the note.
func (d *Directory) Distrust(reason string) error {
	f, err := spool(d.path)
	if err == nil {
		_, err = f.WriteString(reason + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = install(f.Name(), d.file(distrustName))
	}
	if err != nil {
		return fmt.Errorf("note that the journal is not to be believed: %w", err)
	}
	return nil
}

// distrusted returns the note as an error, nil if there is none.
func (d *Directory) distrusted() error {
	reason, err := os.ReadFile(d.file(distrustName))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s %w: %s", d.file(journalName), errDistrusted, strings.TrimSpace(string(reason)))
}

// trust removes the note: the journal is another one.
func (d *Directory) trust() error {
	err := os.Remove(d.file(distrustName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(d.path)
}

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Defragmented is how large registry.db was and is, in bytes.
type Defragmented struct{ Before, After int64 }

// Defragment gives back the space in registry.db that compaction has left free: the content is
// copied into a new file, which then takes the old one's place. The data directory must be there, and
// no process may have it open (vfs.ErrInUse). If anything fails the registry file is as it was. It needs room for
// both files.
func Defragment(path string) (Defragmented, error) {
	d, err := openExisting(path)
	if err != nil {
		return Defragmented{}, err
	}
	sizes, err := d.defragment()
	if err != nil {
		err = fmt.Errorf("defragment %s: %w", d.file(registry.FileName), err)
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
		return nil, &IdentityError{name, err}
	}
	return OpenDirectory(path, id.Node)
}

func (d *Directory) defragment() (sizes Defragmented, err error) {
	path := d.file(registry.FileName)
	if sizes.Before, err = fileSize(path); err != nil {
		return sizes, err
	}
	name, err := registry.Copy(path, d.path)
	if err != nil {
		return sizes, err
	}
	if sizes.After, err = fileSize(name); err == nil {
		err = vfs.Install(name, path)
	}
	if err != nil {
		os.Remove(name)
	}
	return sizes, err
}

func fileSize(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

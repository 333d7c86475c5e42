package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// TempPrefix begins the names of files that are being made.
const TempPrefix = "spool-"

// SyncDir makes the names in a directory durable: of files that were created, renamed or removed there.
func SyncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be fsynced there
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// CreateTemp makes an empty file in dir that only its owner can read, to be filled and then installed.
// RemoveTemps removes it after a crash.
func CreateTemp(dir string) (*os.File, error) {
	return os.CreateTemp(dir, TempPrefix+"*")
}

// RemoveTemps removes what a process that was killed left half-made, and so learns whether the
// directory can be written.
func RemoveTemps(dir string) error {
	f, err := CreateTemp(dir)
	if err != nil {
		return err
	}
	f.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), TempPrefix) {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Install renames a finished, fsynced file to name, in the same directory, and makes the name durable.
func Install(temp, name string) error {
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// ReplaceFile replaces a file by data, whole or not at all.
func ReplaceFile(name string, data []byte) (err error) {
	f, err := CreateTemp(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return Install(f.Name(), name)
}

// Exists tells a missing file from one that cannot be looked at.
func Exists(name string) (bool, error) {
	_, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Mkdir makes a directory in one that is durable, if it is missing. When it returns it is durable.
func Mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// MkdirAll makes a directory, and those above it, if they are missing. When it returns all of them are
// durable, at every level, also those that a process made which was killed before it could sync them.
func MkdirAll(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	var levels []string // path first, the root not among them
	for parent := filepath.Dir(path); parent != path; path, parent = parent, filepath.Dir(parent) {
		levels = append(levels, path)
	}
	made := false
	for _, level := range slices.Backward(levels) {
		err := os.Mkdir(level, 0o700)
		made = made || err == nil
		if err != nil && !errors.Is(err, os.ErrExist) {
			// A directory that is there may be one in which nothing can be made.
			if info, statErr := os.Stat(level); statErr != nil || !info.IsDir() {
				return err
			}
		}
		// What is above the first level that was missing may not be ours to read, or be of a file system that
		// cannot sync directories.
		err = SyncDir(filepath.Dir(level))
		foreign := errors.Is(err, os.ErrPermission) || errors.Is(err, errors.ErrUnsupported) ||
			errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EROFS)
		if err != nil && (made || !foreign) {
			return err
		}
	}
	info, err := os.Stat(levels[0])
	if err == nil && !info.IsDir() {
		err = &os.PathError{Op: "mkdir", Path: levels[0], Err: syscall.ENOTDIR}
	}
	return err
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
		return Install(f.Name(), name)
	}
	// A link, unlike a rename, never replaces.
	if err := os.Link(f.Name(), name); err != nil {
		if there, existsErr := Exists(name); there || existsErr != nil || errors.Is(err, os.ErrExist) {
			return &os.PathError{Op: "create", Path: name, Err: os.ErrExist}
		}
		return Install(f.Name(), name) // a file system without links
	}
	return errors.Join(os.Remove(f.Name()), SyncDir(filepath.Dir(name)))
}

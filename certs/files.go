package certs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxFileBytes bounds a file. The CAs that an operating system trusts are about 250 kB.
const maxFileBytes = 1 << 20

// Files name what a process shows and whom it trusts. All files are in PEM form, and at most 1 MiB each.
type Files struct {
	// Cert is the file of the certificate, followed by the certificates of intermediate CAs, if there are any.
	// Key is the file of its private key; it may be the same file. A client may leave both empty.
	Cert, Key string

	// CA are the files of the CAs that sign the certificates of the other side. Each may hold several. If there
	// are none, a client trusts those of the system, and a server accepts no certificates of clients.
	CA []string
}

// contents are what the files held at one moment.
type contents struct {
	cert, key []byte
	ca        [][]byte
}

func (f Files) read(file func(path string) ([]byte, error)) (contents, error) {
	var c contents
	var err error
	if f.Cert != "" {
		if c.cert, err = file(f.Cert); err != nil {
			return contents{}, err
		}
		if c.key, err = file(f.Key); err != nil {
			return contents{}, err
		}
	}
	for _, path := range f.CA {
		pem, err := file(path)
		if err != nil {
			return contents{}, err
		}
		c.ca = append(c.ca, pem)
	}
	return c, nil
}

// readSteady reads the files until two readings agree. Files that are exchanged in between, by rename or by a
// symlink of their directory, are then all old or all new.
func (f Files) readSteady(file func(path string) ([]byte, error)) (contents, error) {
	last, err := f.read(file)
	for range 5 {
		if err != nil {
			return contents{}, err
		}
		var next contents
		if next, err = f.read(file); err == nil && next.equal(last) {
			return next, nil
		}
		last = next
	}
	return last, err // whether they fit is found out by who uses them
}

func (c contents) equal(o contents) bool {
	if len(c.ca) != len(o.ca) || !bytes.Equal(c.cert, o.cert) || !bytes.Equal(c.key, o.key) {
		return false
	}
	for i := range c.ca {
		if !bytes.Equal(c.ca[i], o.ca[i]) {
			return false
		}
	}
	return true
}

// readFile reads a regular file. Others are refused: opening a named pipe would wait for its writer.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory; name a file in PEM form", path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; certificates and keys are read again and again", path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than 1 MiB; it is no file of certificates or of a key", path)
	}
	return data, nil
}

func unreadable(path string, err error) error {
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("%s cannot be read: %w", path, err)
}

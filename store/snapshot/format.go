package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

const (
	magic = "rollcall"
	// format is the newest format of a snapshot stream that this code writes and reads.
	format = 1
	// leadBytes is the magic and the header's length.
	leadBytes = len(magic) + 4
	// maxHeader bounds what a header may make us allocate.
	maxHeader = 64 << 10
)

// Write writes a snapshot stream of size bytes of registry file.
func Write(w io.Writer, meta *logv1.RegistryMeta, size int64, registryFile io.Reader) error {
	header, err := sealHeader(meta, size)
	if err != nil {
		return err
	}
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	lead := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(header)))
	if _, err := both.Write(append(lead, header...)); err != nil {
		return err
	}
	if _, err := io.CopyN(both, registryFile, size); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

func sealHeader(meta *logv1.RegistryMeta, size int64) ([]byte, error) {
	return logv1.Seal(&logv1.SnapshotHeader{Format: format, Meta: meta, Size: uint64(size)})
}

// Size is how many bytes Write writes.
func Size(meta *logv1.RegistryMeta, size int64) (int64, error) {
	header, err := sealHeader(meta, size)
	return int64(leadBytes+len(header)) + size + sha256.Size, err
}

// checker verifies a snapshot stream that is written to it in pieces of any size, and passes the
// registry file inside on. Until finish has returned nil, nothing of it may be used.
type checker struct {
	registryFile io.Writer // nil: not wanted

	sum    hash.Hash
	lead   []byte // magic, length, header; until the header is known
	header *logv1.SnapshotHeader
	left   uint64 // of the registry file
	tail   []byte // the checksum as received
	err    error
}

func newChecker(registryFile io.Writer) *checker {
	return &checker{registryFile: registryFile, sum: sha256.New()}
}

// Write fails as soon as the stream cannot be right any more.
func (c *checker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && c.err == nil {
		var used int
		switch {
		case c.header == nil:
			used = c.writeLead(p)
		case c.left > 0:
			used = c.writeRegistryFile(p)
		default:
			used = c.writeTail(p)
		}
		p = p[used:]
	}
	if c.err != nil {
		return n - len(p), c.err
	}
	return n, nil
}

func (c *checker) writeLead(p []byte) int {
	want := leadBytes
	if len(c.lead) >= leadBytes {
		want += int(binary.BigEndian.Uint32(c.lead[len(magic):]))
	}
	used := min(len(p), want-len(c.lead))
	c.lead = append(c.lead, p[:used]...)
	if n := min(len(c.lead), len(magic)); !bytes.Equal(c.lead[:n], []byte(magic[:n])) {
		c.err = fmt.Errorf("%w: not a snapshot of rollcall", vfs.ErrDamaged)
		return used
	}
	if len(c.lead) < leadBytes {
		return used
	}
	length := binary.BigEndian.Uint32(c.lead[len(magic):])
	if length == 0 || length > maxHeader {
		c.err = fmt.Errorf("%w: snapshot header of %d bytes", vfs.ErrDamaged, length)
		return used
	}
	if len(c.lead) < leadBytes+int(length) {
		return used
	}
	c.header, c.err = parseHeader(c.lead[leadBytes:])
	if c.err == nil {
		c.left = c.header.GetSize()
		c.sum.Write(c.lead)
		c.lead = nil
	}
	return used
}

func (c *checker) writeRegistryFile(p []byte) int {
	used := int(min(uint64(len(p)), c.left))
	c.sum.Write(p[:used])
	if c.registryFile != nil {
		if _, err := c.registryFile.Write(p[:used]); err != nil {
			c.err = err
		}
	}
	c.left -= uint64(used)
	return used
}

func (c *checker) writeTail(p []byte) int {
	used := min(len(p), sha256.Size-len(c.tail))
	if used == 0 {
		c.err = fmt.Errorf("%w: more bytes than a snapshot of this size has", vfs.ErrDamaged)
		return 0
	}
	c.tail = append(c.tail, p[:used]...)
	return used
}

// finish returns nil if a whole stream was written and every byte of it was right.
func (c *checker) finish() error {
	switch {
	case c.err != nil:
	case c.header == nil || c.left > 0 || len(c.tail) < sha256.Size:
		c.err = fmt.Errorf("%w: snapshot cut short", vfs.ErrDamaged)
	case !bytes.Equal(c.sum.Sum(nil), c.tail):
		c.err = fmt.Errorf("%w: snapshot does not match its SHA-256", vfs.ErrDamaged)
	}
	return c.err
}

func parseHeader(sealed []byte) (*logv1.SnapshotHeader, error) {
	header := new(logv1.SnapshotHeader)
	err := logv1.Open(sealed, header)
	switch {
	case errors.Is(err, logv1.ErrFormat):
		return nil, fmt.Errorf("snapshot header: %w: %w", vfs.ErrNewer, err)
	case err != nil:
		return nil, fmt.Errorf("snapshot header: %w: %w", vfs.ErrDamaged, err)
	case header.GetFormat() > format || header.GetMeta().GetFormat() > logv1.RegistryFormat:
		return nil, fmt.Errorf("snapshot: %w", vfs.ErrNewer)
	case header.GetFormat() != format || header.GetMeta().GetFormat() < logv1.RegistryFormat || header.GetSize() == 0:
		return nil, fmt.Errorf("snapshot header: %w: format %d, registry file format %d, %d bytes", vfs.ErrDamaged,
			header.GetFormat(), header.GetMeta().GetFormat(), header.GetSize())
	}
	return header, nil
}

// Read verifies a whole stream and writes the registry file inside to w, which may be nil.
func Read(r io.Reader, w io.Writer) (*logv1.SnapshotHeader, error) {
	check := newChecker(w)
	if _, err := io.Copy(check, r); err != nil {
		return nil, err
	}
	if err := check.finish(); err != nil {
		return nil, err
	}
	return check.header, nil
}

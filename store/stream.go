package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

const (
	streamMagic = "rollcall"
	// streamFormat is the newest format of a snapshot stream that this code writes and reads.
	streamFormat = 1
	// streamLead is the magic and the header's length.
	streamLead = len(streamMagic) + 4
	// maxStreamHeader bounds what a header may make us allocate.
	maxStreamHeader = 64 << 10
)

// writeStream writes a snapshot stream of size bytes of journal.
func writeStream(w io.Writer, meta *logv1.JournalMeta, size int64, journal io.Reader) error {
	header, err := sealHeader(meta, size)
	if err != nil {
		return err
	}
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	lead := binary.BigEndian.AppendUint32([]byte(streamMagic), uint32(len(header)))
	if _, err := both.Write(append(lead, header...)); err != nil {
		return err
	}
	if _, err := io.CopyN(both, journal, size); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

func sealHeader(meta *logv1.JournalMeta, size int64) ([]byte, error) {
	return logv1.Seal(&logv1.SnapshotHeader{Format: streamFormat, Meta: meta, Size: uint64(size)})
}

// streamSize is how many bytes writeStream writes.
func streamSize(meta *logv1.JournalMeta, size int64) (int64, error) {
	header, err := sealHeader(meta, size)
	return int64(streamLead+len(header)) + size + sha256.Size, err
}

// streamCheck verifies a snapshot stream that is written to it in pieces of any size, and passes the
// journal inside on. Nothing of it may be believed before finish has returned nil.
type streamCheck struct {
	journal io.Writer // nil: not wanted

	sum    hash.Hash
	lead   []byte // magic, length, header; until the header is known
	header *logv1.SnapshotHeader
	left   uint64 // of the journal
	tail   []byte // the checksum as received
	err    error
}

func newStreamCheck(journal io.Writer) *streamCheck {
	return &streamCheck{journal: journal, sum: sha256.New()}
}

// Write fails as soon as the stream cannot be right any more.
func (c *streamCheck) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && c.err == nil {
		var used int
		switch {
		case c.header == nil:
			used = c.writeLead(p)
		case c.left > 0:
			used = c.writeJournal(p)
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

func (c *streamCheck) writeLead(p []byte) int {
	want := streamLead
	if len(c.lead) >= streamLead {
		want += int(binary.BigEndian.Uint32(c.lead[len(streamMagic):]))
	}
	used := min(len(p), want-len(c.lead))
	c.lead = append(c.lead, p[:used]...)
	if n := min(len(c.lead), len(streamMagic)); !bytes.Equal(c.lead[:n], []byte(streamMagic[:n])) {
		c.err = fmt.Errorf("%w: not a snapshot of rollcall", ErrDamaged)
		return used
	}
	if len(c.lead) < streamLead {
		return used
	}
	length := binary.BigEndian.Uint32(c.lead[len(streamMagic):])
	if length == 0 || length > maxStreamHeader {
		c.err = fmt.Errorf("%w: snapshot header of %d bytes", ErrDamaged, length)
		return used
	}
	if len(c.lead) < streamLead+int(length) {
		return used
	}
	c.header, c.err = parseHeader(c.lead[streamLead:])
	if c.err == nil {
		c.left = c.header.GetSize()
		c.sum.Write(c.lead)
		c.lead = nil
	}
	return used
}

func (c *streamCheck) writeJournal(p []byte) int {
	used := int(min(uint64(len(p)), c.left))
	c.sum.Write(p[:used])
	if c.journal != nil {
		if _, err := c.journal.Write(p[:used]); err != nil {
			c.err = err
		}
	}
	c.left -= uint64(used)
	return used
}

func (c *streamCheck) writeTail(p []byte) int {
	used := min(len(p), sha256.Size-len(c.tail))
	if used == 0 {
		c.err = fmt.Errorf("%w: more bytes than a snapshot of this size has", ErrDamaged)
		return 0
	}
	c.tail = append(c.tail, p[:used]...)
	return used
}

// finish returns nil if a whole stream was written and every byte of it was right.
func (c *streamCheck) finish() error {
	switch {
	case c.err != nil:
	case c.header == nil || c.left > 0 || len(c.tail) < sha256.Size:
		c.err = fmt.Errorf("%w: snapshot cut short", ErrDamaged)
	case !bytes.Equal(c.sum.Sum(nil), c.tail):
		c.err = fmt.Errorf("%w: snapshot does not match its SHA-256", ErrDamaged)
	}
	return c.err
}

func parseHeader(sealed []byte) (*logv1.SnapshotHeader, error) {
	header := new(logv1.SnapshotHeader)
	err := logv1.Open(sealed, header)
	switch {
	case errors.Is(err, logv1.ErrFormat):
		return nil, fmt.Errorf("snapshot header: %w: %w", ErrNewer, err)
	case err != nil:
		return nil, fmt.Errorf("snapshot header: %w: %w", ErrDamaged, err)
	case header.GetFormat() > streamFormat || header.GetMeta().GetFormat() > journalFormat:
		return nil, fmt.Errorf("snapshot: %w", ErrNewer)
	case header.GetFormat() != streamFormat || header.GetMeta().GetFormat() < oldestJournal || header.GetSize() == 0:
		return nil, fmt.Errorf("snapshot header: %w: format %d, journal format %d, %d bytes", ErrDamaged,
			header.GetFormat(), header.GetMeta().GetFormat(), header.GetSize())
	}
	return header, nil
}

// readStream verifies a whole stream and writes the journal inside to w, which may be nil.
func readStream(r io.Reader, w io.Writer) (*logv1.SnapshotHeader, error) {
	check := newStreamCheck(w)
	if _, err := io.Copy(check, r); err != nil {
		return nil, err
	}
	if err := check.finish(); err != nil {
		return nil, err
	}
	return check.header, nil
}

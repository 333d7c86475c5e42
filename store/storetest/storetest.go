package storetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"

	"github.com/hashicorp/raft"
)

// Failures collects what OnFailure is told.
type Failures chan error

// Report is an OnFailure.
func (f Failures) Report(err error) { f <- err }

// None requires that no failure was reported.
func (f Failures) None(t testing.TB) {
	t.Helper()
	select {
	case err := <-f:
		t.Errorf("unexpected failure: %v", err)
	default:
	}
}

// One requires that one failure was reported, with all of parts in its text.
func (f Failures) One(t testing.TB, parts ...string) {
	t.Helper()
	select {
	case err := <-f:
		Mention(t, err, parts...)
	default:
		t.Error("no failure was reported")
	}
	f.None(t)
}

// Mention requires an error of one line that says each of parts.
func Mention(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one that mentions %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not mention %q: %v", p, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has more than one line: %q", err)
	}
}

// CopyDir copies a data directory but for its LOCK: what a machine that lost power would find.
func CopyDir(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if rel == "LOCK" {
			return nil
		}
		return CopyFile(path, filepath.Join(to, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// CopyFile copies a file.
func CopyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	// The database files are sparse: only what is not zero is written.
	buf := make([]byte, 1<<16)
	var size int64
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], make([]byte, n)) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if err != nil {
			break
		}
	}
	return errors.Join(out.Truncate(size), out.Close())
}

// Flip flips one bit of the last occurrences of what in a file.
func Flip(t testing.TB, name string, what []byte) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, what) {
		t.Fatalf("%s does not hold %q", name, what)
	}
	for i := 0; ; {
		n := bytes.Index(data[i:], what)
		if n < 0 {
			break
		}
		data[i+n+len(what)/2] ^= 1
		i += n + len(what)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Entries are sealed log entries.
func Entries(t testing.TB, from, to uint64) []*raft.Log {
	t.Helper()
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		data, err := logv1.Seal(&logv1.Entry{Time: int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, &raft.Log{Index: i, Term: 1, Type: raft.LogCommand, Data: data})
	}
	return logs
}

// MemorySink is a raft.SnapshotSink.
type MemorySink struct {
	bytes.Buffer
	Cancelled bool
}

func (s *MemorySink) ID() string    { return "memory" }
func (s *MemorySink) Close() error  { return nil }
func (s *MemorySink) Cancel() error { s.Cancelled = true; return nil }

// Update changes a bbolt file that nobody has open.
func Update(t testing.TB, name string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(name, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// NewerEnvelope is a right envelope of a format that does not exist yet.
func NewerEnvelope(t testing.TB) []byte {
	t.Helper()
	payload := []byte("from the future")
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(payload, table)
	sum = crc32.Update(sum, table, binary.LittleEndian.AppendUint64(nil, logv1.Format+1))
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, logv1.Format+1)
	b = protowire.AppendTag(b, 2, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, sum)
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	return protowire.AppendBytes(b, payload)
}

package snapshot

import (
	"bytes"
	"errors"
	"testing"
	"testing/iotest"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

func testStream(t testing.TB, registryFile []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	meta := &logv1.RegistryMeta{Format: logv1.RegistryFormat, Index: 7}
	if err := Write(&b, meta, int64(len(registryFile)), bytes.NewReader(registryFile)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestStreamRoundTrip(t *testing.T) {
	registryFile := bytes.Repeat([]byte("registry file "), 1000)
	stream := testStream(t, registryFile)
	var have bytes.Buffer
	header, err := Read(iotest.OneByteReader(bytes.NewReader(stream)), &have)
	if err != nil || header.GetMeta().GetIndex() != 7 || !bytes.Equal(have.Bytes(), registryFile) {
		t.Errorf("header %v, %d bytes, %v", header, have.Len(), err)
	}
}

func TestStreamRefusesEveryBitFlipAndEveryCut(t *testing.T) {
	stream := testStream(t, []byte("a small registry file"))
	for i := range stream {
		for bit := range 8 {
			bad := bytes.Clone(stream)
			bad[i] ^= 1 << bit
			if _, err := Read(bytes.NewReader(bad), nil); !errors.Is(err, vfs.ErrDamaged) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
		if _, err := Read(bytes.NewReader(stream[:i]), nil); !errors.Is(err, vfs.ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := Read(bytes.NewReader(append(stream, 0)), nil); !errors.Is(err, vfs.ErrDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestStreamOfANewerFormat(t *testing.T) {
	for name, header := range map[string]logv1.Message{
		"stream":        &logv1.SnapshotHeader{Format: 2, Meta: &logv1.RegistryMeta{Format: 1}, Size: 1},
		"registry file": &logv1.SnapshotHeader{Format: 1, Meta: &logv1.RegistryMeta{Format: logv1.RegistryFormat + 1}, Size: 1},
	} {
		sealed, err := logv1.Seal(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseHeader(sealed); !errors.Is(err, vfs.ErrNewer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseHeader(storetest.NewerEnvelope(t)); !errors.Is(err, vfs.ErrNewer) {
		t.Errorf("envelope: %v", err)
	}
}

func FuzzSnapshotStream(f *testing.F) {
	f.Add(testStream(f, []byte("a small registry file")), 3)
	f.Add([]byte(magic), 1)
	f.Add([]byte("rollcall\xff\xff\xff\xff"), 4)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		piece = max(1, min(piece, len(data)))
		var whole, pieces bytes.Buffer
		_, wantErr := Read(bytes.NewReader(data), &whole)
		check := newChecker(&pieces)
		for rest := data; len(rest) > 0; {
			n := min(piece, len(rest))
			if _, err := check.Write(rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		err := check.finish()
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("in pieces of %d: %v; whole: %v", piece, err, wantErr)
		}
		if err == nil && !bytes.Equal(whole.Bytes(), pieces.Bytes()) {
			t.Error("the registry file depends on the pieces")
		}
		if err != nil && !errors.Is(err, vfs.ErrDamaged) && !errors.Is(err, vfs.ErrNewer) {
			t.Errorf("error of no kind: %v", err)
		}
	})
}

func FuzzSnapshotHeader(f *testing.F) {
	sealed, err := logv1.Seal(&logv1.SnapshotHeader{Format: 1, Meta: &logv1.RegistryMeta{Format: 1}, Size: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, data []byte) {
		header, err := parseHeader(data)
		if (header == nil) == (err == nil) {
			t.Errorf("header %v, error %v", header, err)
		}
	})
}

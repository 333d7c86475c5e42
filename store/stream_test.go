package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// newerEnvelope is a right envelope of a format that does not exist yet.
func newerEnvelope(t testing.TB) []byte {
	t.Helper()
	payload := []byte("from the future")
	sum := crc32.Checksum(payload, castagnoli)
	sum = crc32.Update(sum, castagnoli, binary.LittleEndian.AppendUint64(nil, logv1.Format+1))
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, logv1.Format+1)
	b = protowire.AppendTag(b, 2, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, sum)
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	return protowire.AppendBytes(b, payload)
}

func testStream(t testing.TB, journal []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	meta := &logv1.JournalMeta{Format: journalFormat, Index: 7}
	if err := writeStream(&b, meta, int64(len(journal)), bytes.NewReader(journal)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestStreamRoundTrip(t *testing.T) {
	journal := bytes.Repeat([]byte("journal "), 1000)
	stream := testStream(t, journal)
	var have bytes.Buffer
	header, err := readStream(iotest.OneByteReader(bytes.NewReader(stream)), &have)
	if err != nil || header.GetMeta().GetIndex() != 7 || !bytes.Equal(have.Bytes(), journal) {
		t.Errorf("header %v, %d bytes, %v", header, have.Len(), err)
	}
}

func TestStreamRefusesEveryBitFlipAndEveryCut(t *testing.T) {
	stream := testStream(t, []byte("a small journal"))
	for i := range stream {
		for bit := range 8 {
			bad := bytes.Clone(stream)
			bad[i] ^= 1 << bit
			if _, err := readStream(bytes.NewReader(bad), nil); !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
		if _, err := readStream(bytes.NewReader(stream[:i]), nil); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := readStream(bytes.NewReader(append(stream, 0)), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestStreamOfANewerFormat(t *testing.T) {
	for name, header := range map[string]logv1.Message{
		"stream":  &logv1.SnapshotHeader{Format: 2, Meta: &logv1.JournalMeta{Format: 1}, Size: 1},
		"journal": &logv1.SnapshotHeader{Format: 1, Meta: &logv1.JournalMeta{Format: journalFormat + 1}, Size: 1},
	} {
		sealed, err := logv1.Seal(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseHeader(sealed); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseHeader(newerEnvelope(t)); !errors.Is(err, ErrNewer) {
		t.Errorf("envelope: %v", err)
	}
}

func FuzzSnapshotStream(f *testing.F) {
	f.Add(testStream(f, []byte("a small journal")), 3)
	f.Add([]byte(streamMagic), 1)
	f.Add([]byte("rollcall\xff\xff\xff\xff"), 4)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		piece = max(1, min(piece, len(data)))
		var whole, pieces bytes.Buffer
		_, wantErr := readStream(bytes.NewReader(data), &whole)
		check := newStreamCheck(&pieces)
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
			t.Error("the journal depends on the pieces")
		}
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
			t.Errorf("error of no kind: %v", err)
		}
	})
}

func FuzzSnapshotHeader(f *testing.F) {
	sealed, err := logv1.Seal(&logv1.SnapshotHeader{Format: 1, Meta: &logv1.JournalMeta{Format: 1}, Size: 1})
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

package registry

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// manyServices is a closed directory whose services are several parts, of several forms.
func manyServices(t testing.TB) (path string) {
	t.Helper()
	d := openDisk(t, t.TempDir(), lazy)
	defer d.close()
	delta := &logv1.Delta{Index: 1, Term: 1, Revision: 1, LogTime: 5, ClusterID: "3f9a"}
	for i := range 6 * partRecords {
		r := &logv1.ServiceRecord{Service: manyName(i), StatusTime: int64(i), Report: &logv1.Report{Status: logv1.Status(i % 3), Revision: 1}}
		if i%2 == 0 {
			r.Report.Reason, r.Report.Time = "release", -1
		}
		if i%5 == 0 {
			r.Report.Actor = &logv1.Actor{Name: "ada", Verified: i%10 == 0}
		}
		if i%7 == 0 {
			r.Report.RequestId, r.Report.LeaseId = fmt.Sprint(i), "lease"
		}
		delta.Records = append(delta.Records, storetest.Service(r))
	}
	delta.Events = []*logv1.Event{{Revision: 1, CommitRevision: 1, Kind: logv1.Kind_KIND_SERVICE, Key: manyName(0)}}
	d.registryFile.Append(delta)
	d.flush()
	return d.path
}

func manyName(i int) string { return fmt.Sprintf("shop/service-%05d", i) }

func TestLoadInParts(t *testing.T) {
	d := openDisk(t, manyServices(t), lazy)
	defer d.close()
	services := d.load().Services()
	if len(services) != 6*partRecords {
		t.Fatal(len(services))
	}
	last := manyName(6*partRecords - 1)
	var r logv1.ServiceRecord
	if err := r.UnmarshalVT(services[last]); err != nil || r.GetStatusTime() != 6*partRecords-1 {
		t.Errorf("%s is %v, %v", last, &r, err)
	}
	scanned := storetest.Content{Records: map[logv1.Kind]map[string][]byte{}}
	meta, err := d.registryFile.Scan(context.Background(), scanned.Visitor())
	if err != nil {
		t.Fatal(err)
	}
	scanned.Meta = meta
	storetest.Same(t, scanned, d.load())
}

// What a checksum over all cannot see is found in the record that it is in, the first if there are many.
func TestLoadInPartsNamesTheDamagedRecord(t *testing.T) {
	sealed := func(r logv1.Message) []byte {
		b, err := logv1.Seal(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	other := sealed(&logv1.ServiceRecord{Report: &logv1.Report{Revision: 1}})
	broken := bytes.Clone(other)
	broken[len(broken)-1] ^= 1
	for _, tt := range []struct {
		name  string
		value []byte
		want  string
	}{
		{"a bad checksum", broken, "checksum"},
		{"not sealed", []byte("rubbish"), "checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := manyServices(t)
			first, second := manyName(partRecords+5), manyName(4*partRecords)
			storetest.Update(t, filepath.Join(path, FileName), func(tx *bbolt.Tx) error {
				sum, err := readSum(tx, bucketServices)
				if err != nil {
					return err
				}
				b := tx.Bucket(bucketServices)
				for _, name := range []string{first, second} {
					sum.remove([]byte(name), b.Get([]byte(name)))
					sum.add([]byte(name), tt.value)
					if err := b.Put([]byte(name), tt.value); err != nil {
						return err
					}
				}
				return writeSum(tx, bucketServices, sum)
			})
			d := openDisk(t, path, lazy)
			defer d.close()
			_, err := storetest.LoadContent(d.registryFile)
			if !errors.Is(err, vfs.ErrDamaged) {
				t.Errorf("not ErrDamaged: %v", err)
			}
			storetest.Mention(t, err, first, tt.want)
		})
	}
}

// The check of a registry file finds a record that is whole but that a search would miss: a damaged key in a
// branch page leads past the first record of the page below.
func TestCheckFindsWhatASearchMisses(t *testing.T) {
	path := manyServices(t)
	name := filepath.Join(path, FileName)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	pageSize := os.Getpagesize()
	found := 0
	for at := 0; at < len(good) && found < 20; at += pageSize {
		const branch = 0x01
		page := good[at : at+pageSize]
		if binary.LittleEndian.Uint16(page[8:])&^branch != 0 || page[8] != branch {
			continue
		}
		for i := 0; ; {
			n := bytes.Index(page[i:], []byte("shop/service-"))
			if n < 0 {
				break
			}
			last := at + i + n + len(manyName(0)) - 1
			i += n + 1
			bad := bytes.Clone(good)
			bad[last]++ // the key is that of the record after the first, or of none
			if err := os.WriteFile(name, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := boltfile.Open(name, bbolt.Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			missed := false
			err = db.View(func(tx *bbolt.Tx) error {
				b := tx.Bucket(bucketServices)
				return b.ForEach(func(key, _ []byte) error {
					missed = missed || b.Get(key) == nil
					return nil
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = check(db)
			if missed != (err != nil) {
				t.Errorf("byte %d: a search misses a record: %t; the check says: %v", last, missed, err)
			}
			if missed {
				found++
				storetest.Mention(t, err, "bucket kind.1", "is not found where it belongs")
			}
			db.CloseAfter(nil)
		}
	}
	if found == 0 {
		t.Error("no damage that a search would not notice was tried")
	}
}

func TestInPartsFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := boltfile.Open(path, bbolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.CloseAfter(nil)
	bucket := []byte("b")
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		for i := range 5 * partRecords {
			err = errors.Join(err, b.Put(fmt.Appendf(nil, "%06d", i), []byte("v")))
		}
		_, nested := b.CreateBucket(fmt.Appendf(nil, "%06d-", 4*partRecords+7))
		return errors.Join(err, nested)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		visit func(part int) error
		want  string
	}{
		{"the walk's error if there is no other", func(int) error { return nil }, "is a bucket"},
		{"that of the first part, not of who was first", func(part int) error {
			if part == 0 {
				return nil
			}
			return fmt.Errorf("part %d", part)
		}, "part 1"},
		{"one of what was before the walk's", func(part int) error {
			if part < 4 {
				return nil
			}
			return fmt.Errorf("part %d", part)
		}, "part 4"},
		{"a panic", func(part int) error { panic(fmt.Sprint("panic ", part)) }, "panic 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 {
				err := db.View(func(tx *bbolt.Tx) error {
					return inParts(db, tx, bucket, func(own *bbolt.Bucket, part int, records []keyValue) error {
						if err := findAll(own, records); err != nil {
							return err
						}
						return tt.visit(part)
					})
				})
				storetest.Mention(t, err, tt.want)
			}
		})
	}
}

// FuzzParseService holds the short way of taking a record apart against the ordinary one.
func FuzzParseService(f *testing.F) {
	for _, r := range []*logv1.ServiceRecord{
		{},
		{Service: "a", StatusTime: -1},
		{Service: "a", Report: &logv1.Report{}},
		{Service: "a", StatusTime: 1 << 60, Report: &logv1.Report{
			Status: 2, Reason: "r", Actor: &logv1.Actor{Name: "n", Verified: true, Peer: "p"}, Time: 7, Revision: 1 << 40, RequestId: "i", LeaseId: "l",
		}},
	} {
		b, err := r.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(append(b, 0x98, 0x06, 0x07)) // a field that is not known
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var want logv1.ServiceRecord
		wantErr := want.UnmarshalVT(payload)
		s, ok := logv1.ParseService(payload)
		if !ok {
			return // then the ordinary way is gone
		}
		have, err := wholeService(&s)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%x: %v; the ordinary way: %v", payload, err, wantErr)
		}
		if err == nil && !proto.Equal(have, &want) {
			t.Fatalf("%x: %v; the ordinary way: %v", payload, have, &want)
		}
	})
}

// wholeService puts together what was taken apart.
func wholeService(s *logv1.ServiceBytes) (*logv1.ServiceRecord, error) {
	r := &logv1.ServiceRecord{Service: string(s.Service), StatusTime: s.StatusTime}
	if !s.Reported {
		return r, nil
	}
	var err error
	if r.Report, err = s.Report(); err != nil {
		return nil, err
	}
	r.Report.Status, r.Report.Revision = s.Status, s.Revision
	return r, nil
}

package registry

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

func TestRegistryFileStoresTheStateHashOfEachFlush(t *testing.T) {
	path := t.TempDir()
	d := openDisk(t, path, lazy)
	hash := func(index uint64) *logv1.StateHash {
		return &logv1.StateHash{Version: 1, Index: index, Hash: bytes.Repeat([]byte{byte(index)}, 32)}
	}
	for i := range uint64(3) {
		delta := storetest.Change(i+1, "a")
		delta.StateHash = hash(i + 1)
		d.registryFile.Append(delta)
	}
	d.flush()
	if got := d.registryFile.Meta().GetStateHash(); !proto.Equal(got, hash(3)) {
		t.Errorf("flushed with the hash %v", got)
	}
	d.registryFile.Append(&logv1.Delta{Index: 4, Term: 1, Revision: 3, LogTime: 9000, ClusterID: "3f9a", StateHash: hash(4)})
	d.close()
	d = openDisk(t, path, lazy)
	defer d.close()
	if got := d.load().Meta.GetStateHash(); !proto.Equal(got, hash(4)) {
		t.Errorf("opened with the hash %v", got)
	}
}

// scanning begins a Scan whose visitor waits for ten seconds at each part, and returns once it is at
// the first.
func (d *disk) scanning(ctx context.Context) (ended <-chan error) {
	began, end := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		_, err := d.registryFile.Scan(ctx, logv1.VisitorFunc(func(logv1.Kind, int, []logv1.KeyValue) error {
			began <- struct{}{}
			time.Sleep(10 * time.Second)
			return nil
		}))
		end <- err
	}()
	<-began
	return end
}

func TestScanIsOneCutBesideTheWriter(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, path, lazy)
		defer d.close()
		d.changes(1, 3)
		d.flush()
		want := d.load()
		have := storetest.Content{Records: map[logv1.Kind]map[string][]byte{}}
		first, later := make(chan struct{}), make(chan struct{})
		done := make(chan error, 1)
		go func() {
			var err error
			take := have.Visitor()
			have.Meta, err = d.registryFile.Scan(context.Background(), logv1.VisitorFunc(func(kind logv1.Kind, part int, records []logv1.KeyValue) error {
				if len(have.Records) == 0 {
					close(first)
					<-later
				}
				return take.Records(kind, part, records)
			}))
			done <- err
		}()
		<-first
		d.changes(4, 50)
		d.flush() // is not held up
		close(later)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		have.Meta.DirectoryId = want.Meta.DirectoryId
		storetest.Same(t, have, want)
	})
}

func TestScanEndsEarly(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(d *disk, cancel func())
		want error
	}{
		{"with its context", func(_ *disk, cancel func()) { cancel() }, context.Canceled},
		{"when the registry file is closed", func(d *disk, _ func()) { d.close() }, ErrScanEnded},
		{"when the registry file is replaced", func(d *disk, _ func()) {
			if err := d.registryFile.Replace(bytes.NewReader(d.stream())); err != nil {
				d.t.Error(err)
			}
		}, ErrScanEnded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				d := openDisk(t, path, lazy)
				defer d.close()
				d.changes(1, 9)
				d.flush()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				ended, begin := d.scanning(ctx), time.Now()
				tt.end(d, cancel)
				if err := <-ended; !errors.Is(err, tt.want) {
					t.Errorf("it ends with %v, want %v", err, tt.want)
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("it ends after %s, not at the next record", took)
				}
			})
		})
	}
}

func TestScanFindsADamagedKey(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	defer d.close()
	d.registryFile.Append(storetest.Change(1, "shop/svc-1"))
	d.flush()
	data, err := os.ReadFile(d.registryFile.path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(d.registryFile.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; at++ {
		next := bytes.Index(data[at:], []byte("shop/svc-1"))
		if next < 0 {
			break
		}
		at += next
		if _, err := f.WriteAt([]byte("SHOP"), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.registryFile.Scan(context.Background(), logv1.VisitorFunc(func(logv1.Kind, int, []logv1.KeyValue) error { return nil })); !errors.Is(err, vfs.ErrDamaged) {
		t.Errorf("Scan: %v", err)
	}
}

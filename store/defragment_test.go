package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/disktest"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

func TestDefragmentGivesSpaceBackAndKeepsAll(t *testing.T) {
	path := t.TempDir()
	o := disktest.Lazy
	d := disktest.Open(t, path, o)
	d.Fill(1, 1000)
	for i := range 1000 {
		delta := storetest.HundredChangesOf(i, 50)
		delta.Horizon = max(1, delta.Revision-500)
		d.Registry.Append(delta)
	}
	d.Flush()
	d.Compact()
	content := d.Load()
	events, span, err := d.Events(logv1.EventQuery{From: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Defragment(path); !errors.Is(err, vfs.ErrInUse) {
		t.Errorf("the registry file of a node that runs: %v", err)
	}
	d.Close()

	sizes, err := store.Defragment(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", sizes)
	if info, err := os.Stat(filepath.Join(path, registry.FileName)); err != nil || info.Size() != sizes.After || sizes.After*4 > sizes.Before {
		t.Errorf("%+v, but the file says %v, %v", sizes, info, err)
	}
	disktest.NoTemps(t, path)
	d = disktest.Open(t, path, o)
	defer d.Close()
	if d.Logged.Len() > 0 {
		t.Errorf("the registry file was not believed: %s", d.Logged)
	}
	storetest.Same(t, d.Load(), content)
	again, spanAgain, err := d.Events(logv1.EventQuery{From: 1})
	if err != nil || span != spanAgain || !slices.EqualFunc(again, events, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
		t.Errorf("events %+v, %v; were %+v", spanAgain, err, span)
	}
	of, _, err := d.Events(logv1.EventQuery{From: 1, Kind: logv1.Kind_KIND_SERVICE, Key: "shop/svc-7"})
	if err != nil || len(of) == 0 {
		t.Errorf("events of one service: %v, %v", of, err)
	}
}

func TestDefragmentRefuses(t *testing.T) {
	t.Run("no directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "n1")
		_, err := store.Defragment(path)
		storetest.Mention(t, err, path, "not the data directory of a node")
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it was made: %v", err)
		}
	})
	t.Run("no registry file", func(t *testing.T) {
		d := disktest.Open(t, t.TempDir(), disktest.Lazy)
		d.Close()
		if err := os.Remove(filepath.Join(d.Path, registry.FileName)); err != nil {
			t.Fatal(err)
		}
		_, err := store.Defragment(d.Path)
		storetest.Mention(t, err, registry.FileName)
		disktest.NoTemps(t, d.Path)
	})
	t.Run("a damaged registry file, and leaves it", func(t *testing.T) {
		d := disktest.Open(t, t.TempDir(), disktest.Lazy)
		d.Fill(1, 100)
		d.Changes(1, 60)
		d.Close()
		name := filepath.Join(d.Path, registry.FileName)
		storetest.Flip(t, name, []byte("shop/svc-7"))
		before, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.Defragment(d.Path)
		storetest.Mention(t, err, registry.FileName, "damaged")
		after, err := os.ReadFile(name)
		if err != nil || !slices.Equal(after, before) {
			t.Error("the registry file was changed", err)
		}
		disktest.NoTemps(t, d.Path)
	})
}

package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

func TestOpenDirectoryIsOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "data")
	d, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", info.Mode(), err)
	}
	_, err = OpenDirectory(path, "n1")
	storetest.Mention(t, err, path, "is in use by another rollcall process")
	if !errors.Is(err, vfs.ErrInUse) {
		t.Errorf("%v is not ErrInUse", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	again, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Identity().DirectoryID != d.Identity().DirectoryID || again.Identity().DirectoryID == "" {
		t.Errorf("directory id %q became %q", d.Identity().DirectoryID, again.Identity().DirectoryID)
	}
}

func TestOpenDirectoryRefuses(t *testing.T) {
	const id = "6b1a5f0e-3a3f-4bb5-9d60-6d9a1a1c2f00"
	tests := []struct {
		name  string
		files map[string]string
		node  string
		want  []string
		is    error
	}{
		{"no node name", nil, "", []string{"no node name"}, nil},
		{"another node's", map[string]string{identityName: `{"format":1,"node":"n2","directory_id":"` + id + `"}`}, "n1",
			[]string{`belongs to node "n2", not "n1"`}, nil},
		{"an empty identity", map[string]string{identityName: ""}, "n1", []string{identityName, "damaged"}, vfs.ErrDamaged},
		{"a torn identity", map[string]string{identityName: `{"format":1,"node":"n`}, "n1", []string{identityName, "damaged"}, vfs.ErrDamaged},
		{"garbage", map[string]string{identityName: "\x00\xff\x00"}, "n1", []string{identityName, "damaged"}, vfs.ErrDamaged},
		{"no directory id", map[string]string{identityName: `{"format":1,"node":"n1"}`}, "n1", []string{"damaged", "UUID"}, vfs.ErrDamaged},
		{"no format", map[string]string{identityName: `{"node":"n1"}`}, "n1", []string{"damaged", "format 0"}, vfs.ErrDamaged},
		{"a field of a newer version", map[string]string{identityName: `{"format":1,"node":"n1","directory_id":"` + id + `","founding":{"cluster_id":"c","members":[{"name":"n1","zone":"a"}]}}`},
			"n1", []string{"newer rollcall", "zone"}, vfs.ErrNewer},
		{"a newer format", map[string]string{identityName: `{"format":3,"node":7}`}, "n1", []string{"newer rollcall"}, vfs.ErrNewer},
		{"raft.db alone", map[string]string{raftlog.FileName: "x"}, "n1", []string{"identity.json is missing", raftlog.FileName}, nil},
		{"registry.db alone", map[string]string{registry.FileName: "x"}, "n1", []string{"identity.json is missing", registry.FileName}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			for name, data := range tt.files {
				if err := os.WriteFile(filepath.Join(path, name), []byte(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := OpenDirectory(path, tt.node)
			storetest.Mention(t, err, tt.want...)
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			for name, data := range tt.files {
				if have, _ := os.ReadFile(filepath.Join(path, name)); string(have) != data {
					t.Errorf("%s was changed to %q", name, have)
				}
			}
		})
	}
}

func TestOpenDirectoryThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDirectory(filepath.Join(file, "data"), "n1")
	storetest.Mention(t, err, "cannot be used", "not a directory")
	_, err = OpenDirectory(file, "n1")
	storetest.Mention(t, err, "cannot be used", "not a directory")
}

func TestOpenDirectoryRemovesSpoolFiles(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "spool-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	noSpool(t, path)
}

func noSpool(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "spool-") {
			t.Errorf("%s was left", e.Name())
		}
	}
}

func TestSetFounding(t *testing.T) {
	path := t.TempDir()
	d, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	f := Founding{ClusterID: "3f9a", Members: []FoundingMember{{Name: "n1", PeerAddress: "a:1", DirectoryID: "x"}}}
	if err := d.SetFounding(f); err != nil {
		t.Fatal(err)
	}
	if err := d.SetFounding(f); err != nil {
		t.Errorf("the same again: %v", err)
	}
	f.Members[0].Name = "changed by the caller"
	other := Founding{ClusterID: "4711"}
	storetest.Mention(t, d.SetFounding(other), "3f9a", "4711")
	d.Close()
	storetest.Mention(t, d.SetFounding(f), "closed")

	d, err = OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	have := d.Identity().Founding
	if have == nil || have.ClusterID != "3f9a" || have.Members[0].Name != "n1" {
		t.Errorf("founding %+v was read back", have)
	}
	noSpool(t, path)
}

func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"format":1,"node":"n1","directory_id":"6b1a5f0e-3a3f-4bb5-9d60-6d9a1a1c2f00","founding":{"cluster_id":"x","members":null}}`))
	f.Add([]byte(`{"format":2,"node":"n1","directory_id":"6b1a5f0e-3a3f-4bb5-9d60-6d9a1a1c2f00","founding":{"cluster_id":"x"},"roster":{"revision":1,"members":[{"name":"n1"}]}}`))
	f.Add([]byte(`{"format":3}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := parseIdentity(data)
		if err != nil {
			if !errors.Is(err, vfs.ErrDamaged) && !errors.Is(err, vfs.ErrNewer) {
				t.Errorf("error of no kind: %v", err)
			}
			return
		}
		dir := t.TempDir()
		if err := id.write(dir); err != nil {
			t.Skip(err) // a time beyond year 9999 cannot be written
		}
		again, err := openIdentity(dir, id.Node)
		if err != nil || again.DirectoryID != id.DirectoryID || (again.Founding == nil) != (id.Founding == nil) {
			t.Errorf("%+v was read back as %+v, %v", id, again, err)
		}
	})
}

package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{
		filepath.Join(dir, "a", "b", "c"):       true,
		filepath.Join(dir, "a", "b", "d") + "/": true,
		dir:                                     true,
		filepath.Join(link, "e", "f"):           true,
		file:                                    false,
		filepath.Join(file, "g"):                false,
	} {
		for range 2 { // the second time it is there
			err := MkdirAll(path)
			if info, statErr := os.Stat(path); (err == nil) != ok || ok && (statErr != nil || !info.IsDir()) {
				t.Errorf("%s: %v, %v", path, err, statErr)
			}
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A relative path too: "rollcall dev --data ./x".
func TestMkdirAllRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := MkdirAll(filepath.Join("x", "y")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat("x/y"); err != nil || !info.IsDir() {
		t.Error(err)
	}
}

func TestWriteFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	content := func(text string) func(*os.File) error {
		return func(f *os.File) error { _, err := f.WriteString(text); return err }
	}
	broken := errors.New("disk full")
	for _, step := range []struct {
		replace bool
		write   func(*os.File) error
		err     error
		want    string
	}{
		{false, func(*os.File) error { return broken }, broken, ""},
		{false, content("1"), nil, "1"},
		{false, content("2"), os.ErrExist, "1"},
		{true, func(*os.File) error { return broken }, broken, "1"},
		{true, content("3"), nil, "3"},
	} {
		if err := WriteFile(name, step.replace, step.write); !errors.Is(err, step.err) {
			t.Errorf("%v, want %v", err, step.err)
		}
		if data, _ := os.ReadFile(name); string(data) != step.want {
			t.Errorf("it holds %q, want %q", data, step.want)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(name)); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestRemoveTemps(t *testing.T) {
	dir := t.TempDir()
	f, err := CreateTemp(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := ReplaceFile(filepath.Join(dir, "kept"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTemps(dir); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "kept" {
		t.Errorf("left: %v, %v", entries, err)
	}
}

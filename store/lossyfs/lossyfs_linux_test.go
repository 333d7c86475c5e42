package lossyfs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mounted is a disk, its power and where it is mounted.
func mounted(t *testing.T) (*Power, *Disk, string) {
	t.Helper()
	p := NewPower()
	d := NewDisk(p)
	dir := t.TempDir()
	mount(t, d, dir)
	return p, d, dir
}

func mount(t *testing.T, d *Disk, dir string) {
	t.Helper()
	m, err := d.Mount(dir)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name string, data []byte, sync bool) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	defer f.Close()
	_, err = f.Write(data)
	must(t, err)
	if sync {
		must(t, f.Sync())
	}
}

func syncDir(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	must(t, f.Sync())
}

// A file system as any other, while there is power.
func TestMountedDiskIsAFileSystem(t *testing.T) {
	_, d, dir := mounted(t)
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
	name := filepath.Join(dir, "a", "b", "file")
	write(t, name, bytes.Repeat([]byte("0123456789"), 100_000), false)
	must(t, os.Truncate(name, 15))
	must(t, os.Rename(name, name+"2"))
	must(t, os.Link(name+"2", name+"3"))
	data, err := os.ReadFile(name + "3")
	if err != nil || string(data) != "012345678901234" {
		t.Errorf("%q, %v", data, err)
	}
	if want := []string{"a", "a/b", "a/b/file2", "a/b/file3"}; !slices.Equal(d.Names(), want) {
		t.Errorf("names %v, want %v", d.Names(), want)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "a", "b")); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.Remove(filepath.Join(dir, "a")); err == nil {
		t.Error("a directory that is not empty was removed")
	}
	must(t, os.RemoveAll(filepath.Join(dir, "a")))
	if len(d.Names()) != 0 {
		t.Errorf("left: %v", d.Names())
	}
}

// What is left is what was flushed: of a file its content, of a directory its names, at every level.
func TestWhatIsLeft(t *testing.T) {
	p, d, dir := mounted(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(path("x/y"), 0o700))
	write(t, path("x/y/lost with its directories"), []byte("1"), true)
	syncDir(t, path("x/y"))
	must(t, os.Mkdir(path("z"), 0o700))
	syncDir(t, dir)
	write(t, path("z/synced"), []byte("2"), true)
	write(t, path("z/no content"), []byte("3"), false)
	syncDir(t, path("z"))
	write(t, path("z/no name"), []byte("4"), true)
	write(t, path("z/synced"), []byte("5"), false)
	write(t, path("z/temp"), []byte("6"), true)
	syncDir(t, path("z"))
	must(t, os.Rename(path("z/temp"), path("z/renamed")))
	must(t, os.Remove(path("z/no content")))

	p.Cut()
	left := d.After(NewPower(), LoseAll())
	want := map[string]string{"z/synced": "2", "z/no content": "", "z/no name": "4", "z/temp": "6"}
	for name, content := range want {
		if data, err := left.ReadFile(name); err != nil || string(data) != content {
			t.Errorf("%s: %q, %v; want %q", name, data, err, content)
		}
	}
	// x is there: the directory above it was flushed later. What it held was not.
	if names := left.Names(); len(names) != 2+len(want) {
		t.Errorf("left: %v", names)
	}
	p.Release()
}

// Of what was not flushed some sectors may be there, never what was not written.
func TestSomeIsLeft(t *testing.T) {
	p, d, dir := mounted(t)
	name := filepath.Join(dir, "file")
	old, changed := bytes.Repeat([]byte{1}, 64*sector), bytes.Repeat([]byte{2}, 64*sector)
	write(t, name, old, true)
	syncDir(t, dir)
	write(t, name, changed, false)
	p.Cut()
	data, err := d.After(NewPower(), LoseSome(rand.New(rand.NewPCG(1, 2)))).ReadFile("file")
	must(t, err)
	ones, twos := 0, 0
	for at := 0; at < len(data); at += sector {
		switch s := data[at : at+sector]; {
		case bytes.Equal(s, old[:sector]):
			ones++
		case bytes.Equal(s, changed[:sector]):
			twos++
		}
	}
	if ones == 0 || twos == 0 || ones+twos != 64 {
		t.Errorf("%d sectors as they were, %d as they were written, of 64", ones, twos)
	}
	p.Release()
}

// Nothing is acknowledged without power.
func TestNothingReturnsWithoutPower(t *testing.T) {
	p, d, dir := mounted(t)
	f, err := os.Create(filepath.Join(dir, "file"))
	must(t, err)
	defer f.Close()
	p.CutWhen(func(e Event) bool { return e.Op == Sync && e.Name == "file" })
	_, err = f.WriteString("x")
	must(t, err)
	result := make(chan error, 1)
	go func() { result <- f.Sync() }()
	<-p.Lost()
	select {
	case err := <-result:
		t.Fatalf("the sync returned %v", err)
	default:
	}
	if data, err := d.ReadFile("file"); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	p.Release()
	if err := <-result; err == nil {
		t.Error("the sync was acknowledged")
	}
	if _, err := d.After(NewPower(), LoseAll()).ReadFile("file"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

// TestUnmountWaitsForTheKernel: who lets go of the disk a second later does not keep it.
func TestUnmountWaitsForTheKernel(t *testing.T) {
	d, dir := NewDisk(NewPower()), t.TempDir()
	m, err := d.Mount(dir)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	// The shell goes there, not Start: until the new process runs, Start holds up the one that answers for the disk.
	holder := exec.Command("sh", "-c", `cd "$0" && echo there && sleep 1`, dir)
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	defer holder.Wait()
	_, err = out.Read(make([]byte, 1))
	must(t, err)
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
}

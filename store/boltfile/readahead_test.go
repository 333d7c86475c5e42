package boltfile

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Reading ahead changes nothing, ends when it is told to, and does not mind a file that is gone.
func TestReadAhead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*readAheadStep/16+1)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ReadAhead(f)() // goleak finds one that is not waited for
	}
	if at, err := f.Seek(0, 1); at != 0 || err != nil {
		t.Errorf("the file is read from %d now: %v", at, err)
	}
	if again, err := os.ReadFile(name); err != nil || !bytes.Equal(again, content) {
		t.Errorf("the file is another: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ReadAhead(f)()
}

package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const source = "../../web/src"

func TestSameSourceGivesTheSameBytes(t *testing.T) {
	first, err := build(source)
	if err != nil {
		t.Fatal(err)
	}
	// Elsewhere, too: no path of this machine gets into the files.
	copied := filepath.Join(t.TempDir(), "elsewhere", "src")
	if err := os.CopyFS(copied, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	second, err := build(copied)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(first, second, bytes.Equal) {
		t.Error("the files differ")
	}
	for _, name := range []string{"app.js", "app.css", "index.html", "icon.svg"} {
		if len(first[name]) == 0 {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestCheckNamesWhatIsOutOfDate(t *testing.T) {
	dist := t.TempDir()
	if err := run([]string{source, dist}); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"-check", source, dist}); err != nil {
		t.Error(err)
	}
	for name, content := range map[string]string{"app.js": "old", "stray.js": "1"} {
		if err := os.WriteFile(filepath.Join(dist, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dist, "icon.svg")); err != nil {
		t.Fatal(err)
	}
	err := run([]string{"-check", source, dist})
	if err == nil || !strings.Contains(err.Error(), "(app.js, icon.svg, stray.js): make web") {
		t.Error(err)
	}
	if err := run([]string{source, dist}); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"-check", source, dist}); err != nil {
		t.Error(err)
	}
}

func TestSourceWithAnErrorIsNotBuilt(t *testing.T) {
	src, dist := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"main.ts": "let a = ;", "app.css": "", "index.html": "", "icon.svg": ""} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := run([]string{src, dist}); err == nil || !strings.Contains(err.Error(), "main.ts:1:8") {
		t.Error(err)
	}
	if there, err := os.ReadDir(dist); err != nil || len(there) > 0 {
		t.Errorf("%v %v", there, err)
	}
}

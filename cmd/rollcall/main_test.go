package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		os.Exit(testChild())
	}
	// dev starts os.Executable, which here is all tests again: a test that gets that far by mistake
	// must not start ever more of them.
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(3)
	}
	// A developer's own settings must not reach the commands under test.
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "ROLLCALL_") {
			os.Unsetenv(name)
		}
	}
	goleak.VerifyTestMain(m)
}

// golden compares got with a file in testdata, or writes that with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (go test -update writes it):\n%s\nwant:\n%s", file, got, want)
	}
}

// testApp is an app whose standard output is w.
func testApp(w io.Writer) *app {
	return &app{stdout: w, stderr: io.Discard, now: clock}
}

func testJSON(w io.Writer) *app {
	a := testApp(w)
	a.output = formatJSON
	return a
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns the two sides of a terminal: what is behind it, and what a program writes to.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("this system has no terminals to give:", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	return master, slave
}

// terminal returns what w writes to: a terminal and what it shows.
func terminal(t *testing.T) (w *os.File, shown func() string) {
	t.Helper()
	master, slave := openTerminal(t)
	return slave, func() string {
		slave.Close()
		var all bytes.Buffer
		all.ReadFrom(master) // ends with an error, when the other side is closed
		return strings.ReplaceAll(all.String(), "\r\n", "\n")
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	_, prepared := shop(t)
	prepared("set", "shop/cart", "not_serving").want(t, 0, "…", "")
	const red, green = "\x1b[1;31mNOT_SERVING\x1b[0m", "\x1b[32mSERVING\x1b[0m"
	for _, test := range []struct {
		name     string
		env      map[string]string
		args     string
		terminal bool
		want     bool
	}{
		{"a terminal", nil, "", true, true},
		{"a file", nil, "", false, false},
		{"NO_COLOR", map[string]string{"NO_COLOR": "1"}, "", true, false},
		{"an empty NO_COLOR counts as none", map[string]string{"NO_COLOR": ""}, "", true, true},
		{"a dumb terminal", map[string]string{"TERM": "dumb"}, "", true, false},
		{"never", nil, "--color never", true, false},
		{"always", nil, "--color always", false, true},
		{"always wins over NO_COLOR", map[string]string{"NO_COLOR": "1"}, "--color always", false, true},
		{"the variable", map[string]string{"ROLLCALL_COLOR": "never"}, "", true, false},
		{"JSON", nil, "--color always -o json", true, false},
		{"YAML", nil, "--color always -o yaml", true, false},
		{"names", nil, "--color always -o name", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("TERM", "xterm")
			os.Unsetenv("NO_COLOR")
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			var file bytes.Buffer
			var w io.Writer = &file
			shown := file.String
			if test.terminal {
				w, shown = terminal(t)
			}
			var stderr bytes.Buffer
			code := run(context.Background(), append([]string{"list"}, strings.Fields(test.args)...), strings.NewReader(""), w, &stderr)
			got := shown()
			if code != 0 || stderr.Len() > 0 {
				t.Fatal(code, stderr.String())
			}
			if colours := strings.Contains(got, "\x1b["); colours != test.want {
				t.Errorf("colours: %t\n%q", colours, got)
			}
			if test.want && (!strings.Contains(got, red) || !strings.Contains(got, green)) {
				t.Errorf("the worst does not stand out:\n%q", got)
			}
			// Without colours the columns are the same.
			if plain := escapes.ReplaceAllString(got, ""); test.args != "" && !strings.Contains(test.args, "-o") && !strings.Contains(plain, "shop/cart   NOT_SERVING  ") {
				t.Errorf("columns:\n%s", plain)
			}
		})
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestStatusShowsTheWorstInRed(t *testing.T) {
	f, _ := shop(t)
	f.setStatus(sampleStatus())
	r := rollcall(t, "status", "--color", "always")
	for _, want := range []string{"\x1b[1;31mno\x1b[0m", "\x1b[32myes\x1b[0m", "\x1b[1;31m! n3: connection refused"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in %q", want, r.stdout)
		}
	}
}

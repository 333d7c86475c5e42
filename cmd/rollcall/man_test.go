package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var manDirectory = flag.String("man", "", "write the man pages into this `directory`")

// TestManPages makes a man page of each command: make release takes them. Their date is SOURCE_DATE_EPOCH.
func TestManPages(t *testing.T) {
	dir := *manDirectory
	if dir == "" {
		dir = t.TempDir()
	}
	var made time.Time
	if at, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		made = time.Unix(at, 0).UTC()
	}
	root := testRoot()
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Manual: "Rollcall", Source: "Rollcall", Date: &made}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	walk(root, func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() || cmd.IsAdditionalHelpTopicCommand() {
			return
		}
		page := filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1")
		b, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			return
		}
		if !strings.Contains(string(b), ".SH SYNOPSIS") {
			t.Errorf("%s has no synopsis", page)
		}
	})
	if _, err := exec.LookPath("man"); err != nil {
		t.Log("man is not on this machine: what it says of the pages is not known")
		return
	}
	cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", filepath.Join(dir, "rollcall-set.1"))
	cmd.Env = append(os.Environ(), "MANPAGER=cat", "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "not_serving") {
		t.Errorf("man: %v\n%s", err, out)
	}
}

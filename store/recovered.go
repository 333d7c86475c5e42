package store

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// Recovered is recovered.json, a note in a directory that Recover made: of what.
type Recovered struct {
	Node          string    `json:"node"` // "": not known
	ClusterID     string    `json:"cluster_id"`
	DirectoryID   string    `json:"directory_id"`
	Time          time.Time `json:"time"`
	Index         uint64    `json:"index"`
	Term          uint64    `json:"term"`
	Revision      int64     `json:"revision"`
	CommittedOnly bool      `json:"committed_only,omitempty"`
	APIAddress    string    `json:"api_address,omitempty"` // of the only member of the new cluster, if it is known
}

const (
	recoveredName    = "recovered.json"
	recoveringSuffix = ".recovering"
	beforeInfix      = ".before-recover-"
)

// RecoveredNote returns the note of the Recover that made a directory; nil: it has none that can be read.
func RecoveredNote(path string) *Recovered {
	if r, ok := readRecovered(path); ok {
		return &r
	}
	return nil
}

func readRecovered(path string) (r Recovered, ok bool) {
	data, err := os.ReadFile(filepath.Join(path, recoveredName))
	return r, err == nil && json.Unmarshal(data, &r) == nil
}

func keptAs(path string, at time.Time) string {
	return path + beforeInfix + at.UTC().Format("20060102T150405Z")
}

// nameKept is the name of the old directory: none that is there.
func nameKept(path string, at time.Time) (string, error) {
	name := keptAs(path, at)
	for n, try := 2, name; ; n++ {
		there, err := vfs.Exists(try)
		if err != nil || !there {
			return try, err
		}
		try = fmt.Sprintf("%s-%d", name, n)
	}
}

// KeptBy finds the old directory of the recovery that made the directory at path; "": it is not there any more.
func KeptBy(path string, done Recovered) string {
	dir := filepath.Dir(path)
	entries, _ := os.ReadDir(dir) // who cannot read it finds nothing
	for _, e := range slices.Backward(entries) {
		name := filepath.Join(dir, e.Name())
		if !strings.HasPrefix(name, keptAs(path, done.Time)) {
			continue
		}
		if id, err := readIdentity(name); err != nil || id.DirectoryID == done.DirectoryID {
			return name
		}
	}
	return ""
}

var keptName = regexp.MustCompile(`^(.+)` + regexp.QuoteMeta(beforeInfix) + `\d{8}T\d{6}Z(-\d+)?$`)

// KeptFor returns the directory that a recovery made of the one at path, if path has the name of an old directory that
// Recover has kept; "": it has not.
func KeptFor(path string) string {
	dir, name := split(path)
	if m := keptName.FindStringSubmatch(name); m != nil {
		return filepath.Join(dir, m[1])
	}
	return ""
}

// RecoveringFor returns the directory that a recovery was to make, if path has the name of what is left beside it when
// the recovery is cut off; "": it has not.
func RecoveringFor(path string) string {
	dir, name := split(path)
	if of, ok := strings.CutSuffix(name, recoveringSuffix); ok && of != "" {
		return filepath.Join(dir, of)
	}
	return ""
}

// split follows links: what a directory is does not depend on the way to it.
func split(path string) (dir, name string) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	return filepath.Dir(path), filepath.Base(path)
}

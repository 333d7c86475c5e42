package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// stoppedNode makes the data directory of a node that has run: with services, two snapshots, a log, and a
// backup beside it.
func stoppedNode(t *testing.T, logStore string) (data, backup string) {
	t.Helper()
	dir := t.TempDir()
	data, backup = filepath.Join(dir, "data"), filepath.Join(dir, "backup")
	n, _ := alone(t, func(cfg *Config) { cfg.DataDir, cfg.LogStore = data, logStore })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for round := range 2 {
		for i := range 40 {
			if _, err := n.server.Propose(ctx, &logv1.Command{Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{
				{Service: fmt.Sprintf("shop/%d/%d", round, i), Status: logv1.Status_STATUS_SERVING}}}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.raft.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	export, err := n.registryFile.Export(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := export.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(export.Close(), os.WriteFile(backup, b.Bytes(), 0o600), n.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	return data, backup
}

// treeHash is of the names, modes, sizes, times of change and contents of all below a directory.
func treeHash(t *testing.T, root string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum.Write(data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// readOnly takes the right to write from all below root until the test ends. It does not bind root.
func readOnly(t *testing.T, root string) {
	t.Helper()
	chmod := func(file, dir os.FileMode) {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return errors.Join(err, os.Chmod(path, dir))
			}
			return os.Chmod(path, file)
		})
		if err != nil {
			t.Error(err)
		}
	}
	chmod(0o400, 0o500)
	t.Cleanup(func() { chmod(0o600, 0o700) })
}

// TestOfflineCommandsChangeNothing: what reads a stopped node's data, or a backup, works on what cannot be
// written, and leaves everything as it was.
func TestOfflineCommandsChangeNothing(t *testing.T) {
	t.Parallel()
	for _, logStore := range LogStores() {
		t.Run(logStore, func(t *testing.T) {
			data, backup := stoppedNode(t, logStore)
			// As after restoring a copy of the directory: nothing needs it.
			if err := os.Remove(filepath.Join(data, "LOCK")); err != nil {
				t.Fatal(err)
			}
			root := filepath.Dir(data)
			readOnly(t, root)
			before := treeHash(t, root)
			checks, err := VerifyData(data)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range checks {
				if len(c.Problems) > 0 {
					t.Errorf("%s: %q", c.Name, c.Problems)
				}
				if c.Name == "snapshots" && !strings.HasPrefix(c.Looked, "2, ") {
					t.Errorf("snapshots: looked at %s", c.Looked)
				}
			}
			if _, err := InspectBackup(backup); err != nil {
				t.Error(err)
			}
			if _, err := VerifyData(filepath.Dir(data)); err == nil {
				t.Error("a directory that is of no node was verified")
			}
			if after := treeHash(t, root); after != before {
				t.Error("something was changed")
			}
		})
	}
}

// goWords are what Go's runtime and libraries say, and not people.
var goWords = regexp.MustCompile(`(?i)nil pointer|runtime error|invalid memory|panic|goroutine|unexpected EOF|end of JSON|invalid character|cannot unmarshal|slice bounds|index out of range|\bproto:|cannot parse|0x[0-9a-f]+|%!`)

// TestDamagedFilesAreNamed: whatever file of a data directory is cut off or overwritten, each of the offline
// check and the start says so in one line, which names the file and what to do, or the start mends it.
func TestDamagedFilesAreNamed(t *testing.T) {
	t.Parallel()
	damages := map[string]func(data []byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"one byte":  func(b []byte) []byte { return b[:1] },
		"100 bytes": func(b []byte) []byte { return b[:min(100, len(b)-1)] },
		"one page":  func(b []byte) []byte { return b[:min(4096, len(b)-1)] },
		"two pages": func(b []byte) []byte { return b[:min(8192, len(b)-1)] },
		"half":      func(b []byte) []byte { return b[:len(b)/2] },
		"cut":       func(b []byte) []byte { return b[:len(b)-1] },
		"garbage":   func(b []byte) []byte { return bytes.Repeat([]byte("garbage\n"), len(b)/8+1) },
		"bad middle": func(b []byte) []byte {
			c := bytes.Clone(b)
			copy(c[len(c)/3:2*len(c)/3], bytes.Repeat([]byte{0xa5}, len(c)))
			return c
		},
		"zeros": func(b []byte) []byte { return make([]byte, len(b)) },
	}
	for _, logStore := range LogStores() {
		original, backup := stoppedNode(t, logStore)
		var names []string
		for _, pattern := range []string{"identity.json", "raft.db", "registry.db", "wal/*", "snapshots/*/meta.json", "snapshots/*/state.bin"} {
			found, err := filepath.Glob(filepath.Join(original, pattern))
			if err != nil || len(found) == 0 && pattern != "wal/*" {
				t.Fatalf("%s: %v, %v", pattern, found, err)
			}
			if len(found) == 0 {
				continue
			}
			names = append(names, found[len(found)-1])
		}
		for _, name := range names {
			rel, err := filepath.Rel(original, name)
			if err != nil {
				t.Fatal(err)
			}
			if logStore == string(raftlog.BoltDB) && rel != raftlog.FileName {
				continue // as with the other
			}
			for damage, do := range damages {
				if testing.Short() && damage != "two pages" && damage != "garbage" {
					continue
				}
				t.Run(logStore+"/"+strings.ReplaceAll(rel, "/", ":")+"/"+damage, func(t *testing.T) {
					t.Parallel()
					whole, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					bad := do(whole)
					damaged := func() string {
						// One for each: what bbolt has mapped when it meets the damage stays so, and locked, until
						// the process ends.
						data := filepath.Join(t.TempDir(), "data")
						storetest.CopyDir(t, original, data)
						if err := os.WriteFile(filepath.Join(data, rel), bad, 0o600); err != nil {
							t.Fatal(err)
						}
						return data
					}
					found := verifyDamaged(t, damaged(), rel)
					told := startDamaged(t, damaged(), rel)
					// Some cuts and overwritings are of pages that hold nothing.
					if found != told || !found && len(bad) <= 100 {
						t.Errorf("verify finds a damage: %v; the start tells one: %v", found, told)
					}
				})
			}
		}
		for damage, do := range damages {
			t.Run("backup/"+damage, func(t *testing.T) {
				whole, err := os.ReadFile(backup)
				if err != nil {
					t.Fatal(err)
				}
				name := filepath.Join(t.TempDir(), "backup")
				if err := os.WriteFile(name, do(whole), 0o600); err != nil {
					t.Fatal(err)
				}
				_, err = InspectBackup(name)
				plainError(t, "inspect", err, name)
			})
		}
	}
}

func plainError(t *testing.T, what string, err error, file string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error", what)
	case strings.Contains(err.Error(), "\n"), goWords.MatchString(err.Error()), !strings.Contains(err.Error(), file):
		t.Errorf("%s: %q", what, err)
	}
}

// verifyDamaged checks how the offline check tells a damage, and reports whether it did.
func verifyDamaged(t *testing.T, data, file string) bool {
	t.Helper()
	checks, err := VerifyData(data)
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, c := range checks {
		problems = append(problems, c.Problems...)
	}
	all := strings.Join(problems, "; ")
	if len(problems) > 0 && (goWords.MatchString(all) || !strings.Contains(all, filepath.Base(file)) && !strings.Contains(all, filepath.Dir(file))) {
		t.Errorf("verify: %q", problems)
	}
	return len(problems) > 0
}

// startDamaged checks how a start tells a damage, and reports whether it did.
func startDamaged(t *testing.T, data, file string) bool {
	t.Helper()
	var log lockedBuffer
	network := memnet.New()
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir = "n1", data
	cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
	cfg.Network = network.Host("n1")
	cfg.DrainDelay = 0
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, err := Open(ctx, cfg)
	said := log.String()
	if err == nil {
		if err := n.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	} else {
		plainError(t, "start", err, "")
		if !strings.Contains(err.Error(), filepath.Base(file)) && !strings.Contains(err.Error(), filepath.Join(data, filepath.Dir(file))) {
			t.Errorf("start: %q names no file", err)
		}
		if !strings.Contains(err.Error(), "docs/") {
			t.Errorf("start: %q does not say what to do", err)
		}
	}
	if goWords.MatchString(said) {
		t.Errorf("log: %s", said)
	}
	return err != nil || said != ""
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

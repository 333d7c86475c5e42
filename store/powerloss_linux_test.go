package store_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollcallhq/rollcall/store/lossyfs"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

// TestPowerLoss takes the power away at every kind of moment, also while the directory is made and while it
// recovers from a first loss, and requires that what was said to be durable is there.
func TestPowerLoss(t *testing.T) {
	for _, kind := range raftlog.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			// The whole run first: it says how many moments there are.
			c := newCrasher(t, kind)
			c.run("write")
			moments := c.power.Events()
			c.cut(lossyfs.LoseAll())
			c.verify()
			if t.Failed() {
				return
			}
			rounds := powerLossRounds(t, 6)
			for round := range rounds {
				seed := uint64(round)
				rng := rand.New(rand.NewPCG(seed, uint64(moments)))
				// Spread over the whole run, half of them over its beginning, where all is made.
				at := 1 + rng.Int64N(moments)
				if round%2 == 0 {
					at = 1 + int64(round)*100/int64(2*rounds)
				}
				loss := lossyfs.LoseAll()
				if rng.IntN(3) == 0 {
					loss = lossyfs.LoseSome(rng)
				}
				c := newCrasher(t, kind)
				c.power.CutAtEvent(at)
				c.run("write")
				c.cut(loss)
				for again := rng.IntN(3); again > 0; again-- {
					c.power.CutAtEvent(1 + rng.Int64N(40))
					c.run("read")
					c.cut(loss)
				}
				c.verify()
				if t.Failed() {
					t.Fatalf("round %d: power lost at event %d of %d", round, at, moments)
				}
			}
		})
	}
}

// TestPowerLossAtFirstWrite takes the power away at the first write after a file of each sort appears, and at
// the first write into one.
func TestPowerLossAtFirstWrite(t *testing.T) {
	for _, kind := range raftlog.Kinds() {
		for _, sort := range []string{".wal", "state.bin", "meta.json", "spool-", "registry.quarantined", "raft.db", "registry.db", "identity.json"} {
			for _, into := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/into=%t", kind, sort, into), func(t *testing.T) {
					c := newCrasher(t, kind)
					var mu sync.Mutex
					appeared, nth := 0, 1+rand.IntN(6)
					c.power.CutWhen(func(e lossyfs.Event) bool {
						mu.Lock()
						defer mu.Unlock()
						is := strings.Contains(e.Name, sort)
						if is && (e.Op == lossyfs.Create || e.Op == lossyfs.Rename) {
							appeared++
						}
						return appeared >= nth && e.Op == lossyfs.Write && (is || !into)
					})
					c.run("write")
					c.cut(lossyfs.LoseAll())
					c.verify()
				})
			}
		}
	}
}

// TestPowerLossWhenSaid takes the power away as soon as something was said to be durable.
func TestPowerLossWhenSaid(t *testing.T) {
	for _, kind := range raftlog.Kinds() {
		for _, line := range []string{"identity", "founded", "term", "vote", "entry", "registry", "snapshot", "compacted", "quarantined", "reopened"} {
			t.Run(string(kind)+"/"+line, func(t *testing.T) {
				c := newCrasher(t, kind)
				times := 1 + rand.IntN(3)
				c.cutAt = func(what string) bool {
					if what == line {
						times--
					}
					return times == 0
				}
				c.run("write")
				c.cutAt = nil
				c.cut(lossyfs.LoseAll())
				c.verify()
			})
		}
	}
}

// TestPowerLossOfARestore takes the power away while a data directory is made from a backup: it is whole, or no
// node starts on it as if it were.
func TestPowerLossOfARestore(t *testing.T) {
	for _, kind := range raftlog.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			c := newCrasher(t, kind)
			c.run("restore")
			moments := c.power.Events()
			c.cut(lossyfs.LoseAll())
			c.verify()
			for range powerLossRounds(t, 8) {
				c := newCrasher(t, kind)
				c.power.CutAtEvent(1 + rand.Int64N(moments))
				c.run("restore")
				c.cut(lossyfs.LoseAll())
				if c.durable["restored"] != "" {
					c.verify()
				} else if have, err := c.run("read"); err == nil && have["identity"] == restoredID && have["registry"] != "20" {
					t.Errorf("a node starts on half of a backup: %v", have)
				}
			}
		})
	}
}

// TestPowerLossAfterAKill kills the process just before each sort of sync: what it wrote is seen by the next
// one, which must not take it for durable. Soon after that the power is lost.
func TestPowerLossAfterAKill(t *testing.T) {
	for _, kind := range raftlog.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			sorts := map[string]bool{}
			var mu sync.Mutex
			before := map[lossyfs.Event]bool{} // what changed since the last sync, of any file
			sortOf := func(e lossyfs.Event) string {
				mu.Lock()
				defer mu.Unlock()
				if e.Op != lossyfs.Sync && e.Op != lossyfs.SyncDir {
					e.Name, e.Dir = digits.ReplaceAllString(e.Name, "#"), ""
					before[e] = true
					return ""
				}
				var changes []string
				for c := range before {
					changes = append(changes, string(c.Op)+" "+c.Name)
				}
				clear(before)
				slices.Sort(changes)
				return fmt.Sprintf("%s %s after %s", e.Op, digits.ReplaceAllString(e.Name, "#"), strings.Join(changes, ", "))
			}
			c := newCrasher(t, kind)
			c.power.CutWhen(func(e lossyfs.Event) bool {
				if sort := sortOf(e); sort != "" {
					mu.Lock()
					sorts[sort] = true
					mu.Unlock()
				}
				return false
			})
			c.run("write")
			c.cut(lossyfs.LoseAll())
			if t.Failed() {
				return
			}
			for round := range max(1, powerLossRounds(t, 6)/6) {
				for sort := range sorts {
					for nth := range 2 {
						// bbolt syncs twice, its pages and then what leads to them. The identity is read first.
						if nth > 0 && !strings.Contains(sort, ".db") && !strings.Contains(sort, "identity") {
							continue
						}
						mu.Lock()
						clear(before)
						mu.Unlock()
						c := newCrasher(t, kind)
						var seen atomic.Int64
						c.power.CutWhen(func(e lossyfs.Event) bool {
							return sortOf(e) == sort && (seen.Add(1) > int64(nth) || strings.HasPrefix(sort, string(lossyfs.SyncDir)))
						})
						c.run("write")
						c.kill()
						line := "looked"
						if nth > 0 && strings.HasPrefix(sort, string(lossyfs.SyncDir)) {
							line = "identity"
						}
						c.cutAt = func(what string) bool { return what == line }
						c.run("look")
						c.cutAt = nil
						c.cut(lossyfs.LoseAll())
						c.verify()
						cut := 1 + rand.New(rand.NewPCG(uint64(round), uint64(len(sort)))).Int64N(60)
						c.power.CutAtEvent(cut)
						c.run("write")
						c.cut(lossyfs.LoseAll())
						c.verify()
						if t.Failed() {
							t.Fatalf("killed before %q, power lost when %s was said, and again at event %d", sort, line, cut)
						}
					}
				}
			}
		})
	}
}

var digits = regexp.MustCompile(`[0-9a-f]*[0-9][0-9a-f]*`)

// powerLossRounds is how many rounds are asked for, rounds unless told otherwise.
func powerLossRounds(t *testing.T, rounds int) int {
	t.Helper()
	asked := os.Getenv("POWERLOSS_ROUNDS")
	if asked == "" {
		return rounds
	}
	n, err := strconv.Atoi(asked)
	if err != nil {
		t.Fatalf("POWERLOSS_ROUNDS is %q", asked)
	}
	return n
}

// crasher is a data directory on a disk that loses its power.
type crasher struct {
	t     *testing.T
	kind  raftlog.Kind
	mount string
	power *lossyfs.Power
	disk  *lossyfs.Disk
	at    *lossyfs.Mounted

	cutAt func(what string) bool // with each line that the process says; nil: never

	durable map[string]string // what was said to be durable
	order   []string          // what was said, for a report
}

func newCrasher(t *testing.T, kind raftlog.Kind) *crasher {
	t.Helper()
	c := &crasher{t: t, kind: kind, mount: t.TempDir(), durable: map[string]string{}}
	c.power = lossyfs.NewPower()
	c.disk = lossyfs.NewDisk(c.power)
	c.mountDisk()
	t.Cleanup(func() {
		if c.at != nil {
			c.unmount()
		}
	})
	return c
}

func (c *crasher) mountDisk() {
	c.t.Helper()
	var err error
	if c.at, err = c.disk.Mount(c.mount); err != nil {
		c.t.Skipf("no disk that loses its power: %v", err)
	}
}

func (c *crasher) unmount() {
	c.t.Helper()
	c.power.Release()
	if err := c.at.Unmount(); err != nil {
		c.t.Fatal(err)
	}
	c.at = nil
}

// run runs the process that uses the disk until it ends or the power is cut.
func (c *crasher) run(mode string) (said map[string]string, failure error) {
	c.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	// Several levels are missing.
	cmd.Env = append(os.Environ(), childMode+"="+mode, childPath+"="+filepath.Join(c.mount, "var", "lib", "rollcall", "n1"), childKind+"="+string(c.kind))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// It stays open for as long as the process is to live.
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	said = map[string]string{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			what, value, _ := strings.Cut(lines.Text(), " ")
			said[what] = value
			if mode != "read" {
				c.note(what, value)
			}
			if c.cutAt != nil && c.cutAt(what) {
				c.power.Cut()
			}
		}
	}()
	select {
	case <-read: // it ended, or is about to
	case <-c.power.Lost():
		// Its calls must not return before it is dead.
		if err := cmd.Process.Kill(); err != nil {
			c.t.Fatal(err)
		}
		c.power.Release()
		<-read
	}
	err = cmd.Wait()
	select {
	case <-c.power.Lost():
		return said, nil
	default:
	}
	if err != nil {
		failure = fmt.Errorf("%s: %w: %s", mode, err, strings.TrimSpace(stderr.String()))
		if mode != "read" {
			c.t.Error(failure)
		}
	}
	return said, failure
}

// note remembers what was said to be durable.
func (c *crasher) note(what, value string) {
	c.order = append(c.order, what+" "+value)
	switch what {
	case "quarantining": // from now on the file may be rebuilt, and be behind
		delete(c.durable, "registry")
		delete(c.durable, "opened")
	case "reopening":
		delete(c.durable, "quarantined")
	case "reopened":
		c.durable["opened"] = "1"
		return
	}
	c.durable[what] = value
}

// cut takes the power away, if it is still there, and goes on with what is left.
func (c *crasher) cut(loss lossyfs.Loss) {
	c.t.Helper()
	c.power.Cut()
	c.unmount()
	c.power = lossyfs.NewPower()
	c.disk = c.disk.After(c.power, loss)
	c.mountDisk()
}

// kill goes on with all that is seen on the disk: only the process is gone.
func (c *crasher) kill() {
	c.t.Helper()
	c.power.Cut()
	c.unmount()
	c.power = lossyfs.NewPower()
	c.disk = c.disk.On(c.power)
	c.mountDisk()
}

// verify opens what is left and compares it with what was said to be durable.
func (c *crasher) verify() {
	c.t.Helper()
	left := c.disk.Names()
	have, err := c.run("read")
	if err != nil {
		c.t.Errorf("what is left cannot be used: %v\nleft: %q\nsaid: %q", err, left, c.last(8))
		return
	}
	for _, what := range []string{"identity", "founded"} {
		if want := c.durable[what]; want != "" && have[what] != want {
			c.t.Errorf("%s is %q, was %q\nleft: %q", what, have[what], want, left)
		}
	}
	for _, what := range []string{"term", "vote", "entry", "registry", "snapshot"} {
		want, _ := strconv.Atoi(c.durable[what])
		if is, _ := strconv.Atoi(have[what]); is < want {
			c.t.Errorf("%s %d was durable, there is %d\nleft: %q\nsaid: %q", what, want, is, left, c.last(8))
		}
	}
	switch rebuilt := have["rebuilt"] != ""; {
	case rebuilt && c.durable["opened"] != "" && c.durable["quarantined"] == "":
		c.t.Errorf("the registry file was rebuilt\nleft: %q", left)
	case !rebuilt && c.durable["quarantined"] != "":
		c.t.Errorf("the registry file that was quarantined is used\nleft: %q", left)
	case c.durable["quarantined"] != "" && have["rebuilt"] != "true":
		c.t.Errorf("why the registry file was quarantined is lost\nleft: %q", left)
	}
}

func (c *crasher) last(n int) []string { return c.order[max(0, len(c.order)-n):] }

package auditlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// output is a log of a node.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) count(text string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Count(o.b.String(), text)
}

func open(t *testing.T, path string, faults faults) (*Log, *output) {
	t.Helper()
	out := &output{}
	l, err := Open(Config{File: path, Node: "n1", Logger: slog.New(slog.NewTextHandler(out, nil)), faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	return l, out
}

func shut(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// line is what tests read of a line.
type line struct {
	RequestID string `json:"request_id"`
	Lost      int    `json:"lost"`
	Why       string `json:"why"`
}

// read returns the lines of a file, each of which must be whole.
func read(t *testing.T, path string) []line {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []line
	for text := range strings.Lines(string(b)) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil || !strings.HasSuffix(text, "\n") {
			t.Fatalf("%s holds the line %q: %v", path, text, err)
		}
		all = append(all, l)
	}
	return all
}

func ids(lines []line) string {
	var all []string
	for _, l := range lines {
		if l.Lost > 0 {
			all = append(all, fmt.Sprint("lost:", l.Lost))
		} else {
			all = append(all, l.RequestID)
		}
	}
	return strings.Join(all, " ")
}

func add(l *Log, ids ...string) {
	for _, id := range ids {
		l.Add(&Entry{RequestID: id, Outcome: Done})
	}
}

func TestLinesAreAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for _, id := range []string{"a", "b"} {
		l, _ := open(t, path, faults{})
		add(l, id)
		shut(t, l)
		if got := l.Stats(); got != (Stats{Written: 1}) {
			t.Errorf("counts are %+v", got)
		}
	}
	if got := ids(read(t, path)); got != "a b" {
		t.Errorf("the file has %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is made with %v, %v", info.Mode(), err)
	}
}

// TestALineIsThereSoon: it waits for no other line, and for no more than a pause between two writes.
func TestALineIsThereSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		l, _ := open(t, path, faults{})
		defer shut(t, l)
		add(l, "a")
		synctest.Wait()
		if got := ids(read(t, path)); got != "a" {
			t.Errorf("at once the file has %q", got)
		}
		add(l, "b")
		add(l, "c")
		time.Sleep(writeEvery)
		synctest.Wait()
		if got := ids(read(t, path)); got != "a b c" {
			t.Errorf("after a pause the file has %q", got)
		}
	})
}

func TestAFileThatCannotBeWrittenIsRefused(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                                     "is no regular file",
		filepath.Join(dir, "none", "audit.log"): "its directory is not there",
	} {
		if _, err := Open(Config{File: path, Node: "n1", Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory was made: %v", err)
	}
}

// TestRotation: of the file that was moved, and of the one that was deleted, also while nothing is written.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path, old := filepath.Join(dir, "audit.log"), filepath.Join(dir, "audit.log.1")
		l, out := open(t, path, faults{})
		settle := func() {
			time.Sleep(2 * writeEvery)
			synctest.Wait()
		}
		add(l, "a")
		settle()
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		add(l, "b")
		settle()
		if first, second := ids(read(t, old)), ids(read(t, path)); first != "a" || second != "b" {
			t.Errorf("after a move the old file has %q, the new one %q", first, second)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		l.Reopen()
		settle()
		if got := ids(read(t, path)); got != "" {
			t.Errorf("after a reopening the file has %q", got)
		}
		// As "create" of logrotate does it, and with what somebody wrote.
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}\n"), 0o640); err != nil {
			t.Fatal(err)
		}
		add(l, "c")
		settle()
		// As "copytruncate".
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		add(l, "d")
		settle()
		if got := ids(read(t, path)); got != "d" {
			t.Errorf("after all the file has %q", got)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("the mode of the file is %v, %v", info.Mode(), err)
		}
		shut(t, l)
		if out.count("level") > 0 {
			t.Errorf("logged: %s", &out.b)
		}
	})
}

// TestAHalfLineIsEnded: what a process that was killed left does not spoil the next line.
func TestAHalfLineIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"request_id":"a"}`+"\n"+`{"request_`), 0o600); err != nil {
		t.Fatal(err)
	}
	l, _ := open(t, path, faults{})
	add(l, "b")
	shut(t, l)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.SplitAfter(string(b), "\n"); len(lines) != 4 || lines[1] != `{"request_`+"\n" || !strings.Contains(lines[2], `"b"`) {
		t.Errorf("the file has %q", lines)
	}
}

// disk has room for so many bytes.
type disk struct {
	mu   sync.Mutex
	full bool
	room int // while it is full
}

func (d *disk) set(full bool, room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.room = full, room
}

func (d *disk) write(f *os.File, b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.full {
		return 0, nil
	}
	n, err := f.Write(b[:min(d.room, len(b))])
	d.room -= n
	return n, errors.Join(err, errors.New("no space left on device"))
}

// TestAFullDisk: lines wait, those that find no room are counted, and all is well again by itself. Nobody waits.
func TestAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		var d disk
		l, out := open(t, path, faults{write: d.write})
		add(l, "a")
		synctest.Wait()
		d.set(true, 30) // cuts a line
		begun := time.Now()
		long := strings.Repeat("x", maxTextBytes)
		fits := 0
		for l.Stats().NotWritten == 0 {
			if fits > 20_000 {
				t.Fatal("what waits is not bounded")
			}
			l.Add(&Entry{RequestID: "waits", Reason: long})
			fits++
		}
		add(l, "lost", "lost", "lost")
		for range 3 { // what waits does not grow when writing is tried again
			time.Sleep(2 * retryEvery)
			synctest.Wait()
			for range fits {
				l.Add(&Entry{RequestID: "more", Reason: long})
			}
		}
		if waited := time.Since(begun); waited != 6*retryEvery {
			t.Errorf("adding lines took %v", waited)
		}
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if got := out.count("level=WARN"); got != 11 {
			t.Errorf("%d warnings in ten minutes: %s", got, &out.b)
		}
		if got := l.Stats(); got.Written != 1 || int(got.NotWritten) < 2*fits-50 || int(got.NotWritten) > 3*fits+4 {
			t.Errorf("counts are %+v; %d lines have room", got, fits)
		}
		lost := int(l.Stats().NotWritten)
		d.set(false, 0)
		time.Sleep(retryEvery)
		synctest.Wait()
		add(l, "b")
		time.Sleep(2 * writeEvery)
		synctest.Wait()
		if all := read(t, path); all[len(all)-1].RequestID != "b" {
			t.Error("a line waits although the disk is well again")
		}
		shut(t, l)
		all := read(t, path)
		told := 0
		for _, line := range all {
			told += line.Lost
		}
		if all[0].RequestID != "a" || all[len(all)-1].RequestID != "b" || told != lost {
			t.Errorf("%d lines, the last is %+v; %d lost are told of, want %d", len(all), all[len(all)-1], told, lost)
		}
		if got := strings.Count(ids(all), "waits"); got < fits-4 || got < 7000 {
			t.Errorf("%d lines waited, of %d", got, fits)
		}
		if out.count("the audit log is written again") != 1 || out.count("level=WARN") != 11 {
			t.Errorf("logged: %s", &out.b)
		}
	})
}

// TestAHalfLineGoesToTheNewFile: the disk was full, and somebody moved the file to make room.
func TestAHalfLineGoesToTheNewFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		var d disk
		l, _ := open(t, path, faults{write: d.write})
		d.set(true, 30)
		add(l, "a")
		time.Sleep(5 * time.Second)
		l.Reopen() // changes nothing: the file is where it was
		time.Sleep(5 * time.Second)
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		d.set(false, 0)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := ids(read(t, path)); got != "a" {
			t.Errorf("the new file has %q", got)
		}
		shut(t, l)
	})
}

// TestADiskThatFillsInTheMiddle of a batch: every line is in the file once.
func TestADiskThatFillsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		var d disk
		l, _ := open(t, path, faults{write: d.write})
		d.set(true, 0)
		add(l, "a", "b", "c")
		time.Sleep(2 * retryEvery)
		d.set(true, 200) // a line has about 140 bytes
		time.Sleep(2 * retryEvery)
		d.set(false, 0)
		time.Sleep(2 * retryEvery)
		add(l, "d")
		shut(t, l)
		if got := ids(read(t, path)); got != "a b c d" {
			t.Errorf("the file has %q", got)
		}
		if got := l.Stats(); got != (Stats{Written: 4}) {
			t.Errorf("counts are %+v", got)
		}
	})
}

// TestLinesAreStored within a second, and nothing is stored while nothing comes.
func TestLinesAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		var broken atomic.Bool
		l, out := open(t, filepath.Join(t.TempDir(), "audit.log"), faults{sync: func() error {
			syncs.Add(1)
			if broken.Load() {
				return errors.New("input/output error")
			}
			return nil
		}})
		for want := int64(1); want <= 3; want++ {
			add(l, "a")
			add(l, "b")
			time.Sleep(flushEvery + writeEvery)
			synctest.Wait()
			if got := syncs.Load(); got != want {
				t.Fatalf("stored %d times, want %d", got, want)
			}
			time.Sleep(time.Hour)
		}
		broken.Store(true)
		add(l, "c")
		time.Sleep(flushEvery + writeEvery)
		synctest.Wait()
		if out.count("input/output error") != 1 {
			t.Errorf("logged: %s", &out.b)
		}
		broken.Store(false)
		add(l, "d")
		shut(t, l)
		if got := syncs.Load(); got != 5 {
			t.Errorf("stored %d times when the log is closed, want 5", got)
		}
	})
}

// TestCloseWhileTheDiskIsFull says how many lines are lost.
func TestCloseWhileTheDiskIsFull(t *testing.T) {
	var d disk
	l, _ := open(t, filepath.Join(t.TempDir(), "audit.log"), faults{write: d.write})
	d.set(true, 0)
	add(l, "a", "b")
	if err := l.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "2 lines of the audit log are lost") {
		t.Errorf("closed: %v", err)
	}
	add(l, "c") // nobody writes it any more
	if got := l.Stats(); got != (Stats{NotWritten: 3}) {
		t.Errorf("counts are %+v", got)
	}
}

// TestRefusalsAreBounded: a stranger fills no disk, and a line says how many lines there are not.
func TestRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		l, _ := open(t, path, faults{})
		for range 2 * refusalsAtOnce {
			l.AddRefusal(&Entry{RequestID: "no", Outcome: Denied})
		}
		add(l, "yes")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		all := read(t, path)
		got := ids(all)
		if strings.Count(got, "no") != refusalsAtOnce || strings.Count(got, "yes") != 1 || !strings.Contains(got, fmt.Sprint("lost:", refusalsAtOnce)) {
			t.Errorf("the file has %d lines, the last are %+v", len(all), all[len(all)-3:])
		}
		if got := l.Stats(); got.LeftOut != refusalsAtOnce || got.NotWritten != 0 {
			t.Errorf("counts are %+v", got)
		}
		l.AddRefusal(&Entry{RequestID: "later", Outcome: Denied})
		time.Sleep(2 * writeEvery)
		synctest.Wait()
		if got := ids(read(t, path)); !strings.HasSuffix(got, " later") {
			t.Error("there is no line of a refusal after a pause")
		}
		// For a second, a hundred times as many as there may be: one line a second says so, and the last one at the end.
		for range 100 {
			for range refusalsPerSecond {
				l.AddRefusal(&Entry{RequestID: "no", Outcome: Denied})
			}
			time.Sleep(writeEvery)
		}
		shut(t, l)
		told, lost := 0, 0
		for _, line := range read(t, path) {
			if line.Lost > 0 {
				told, lost = told+1, lost+line.Lost
			}
		}
		if told > 4 || uint64(lost) != l.Stats().LeftOut {
			t.Errorf("%d lines tell of %d without a line, want %d", told, lost, l.Stats().LeftOut)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	l, err := Open(Config{File: filepath.Join(b.TempDir(), "audit.log"), Node: "n1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	e := &Entry{Identity: "token:ci", OnBehalfOf: "ann@laptop", Peer: "10.0.0.7:4711", Method: "Admin.SetServingStatus",
		Names: []string{"shop/cart"}, Reason: "deploy 42", RequestID: "2b5bb248-5089-4b16-a61e-311e36800136", Outcome: Done, Revision: 17, Took: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		l.Add(e)
	}
	if err := l.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

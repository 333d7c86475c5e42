package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failures collects what OnFailure is told.
type failures chan error

func (f failures) report(err error) { f <- err }

func (f failures) none(t testing.TB) {
	t.Helper()
	select {
	case err := <-f:
		t.Errorf("unexpected failure: %v", err)
	default:
	}
}

func (f failures) one(t testing.TB, parts ...string) {
	t.Helper()
	select {
	case err := <-f:
		mention(t, err, parts...)
	default:
		t.Error("no failure was reported")
	}
	f.none(t)
}

// disk is everything open on one data directory.
type disk struct {
	t        testing.TB
	path     string
	dir      *Directory
	log      *Log
	snaps    *Snapshots
	journal  *Journal
	failures failures
	logged   *bytes.Buffer
}

// newKind is the kind of log that ROLLCALL_LOG_STORE chooses, as it does for "rollcall serve", for a
// new directory; "" for one that has a log.
func newKind(t testing.TB, path string) LogKind {
	t.Helper()
	there, err := exists(filepath.Join(path, logName))
	if err != nil {
		t.Fatal(err)
	}
	if there {
		return ""
	}
	return LogKind(os.Getenv("ROLLCALL_LOG_STORE"))
}

func openDisk(t testing.TB, path string, o JournalOptions) *disk {
	t.Helper()
	d, err := tryOpenDisk(t, path, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tryOpenDisk(t testing.TB, path string, o JournalOptions) (_ *disk, err error) {
	d := &disk{t: t, path: path, failures: make(failures, 16), logged: new(bytes.Buffer)}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.dir, err = OpenDirectory(path, "n1"); err != nil {
		return nil, err
	}
	if d.log, err = OpenLog(d.dir, LogOptions{Kind: newKind(t, path), OnFailure: d.failures.report}); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(d.logged, nil))
	if d.snaps, err = OpenSnapshots(d.dir, logger); err != nil {
		return nil, err
	}
	o.OnFailure = d.failures.report
	if o.Logger == nil {
		o.Logger = logger
	}
	if d.journal, err = OpenJournal(d.dir, d.log, d.snaps, o); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *disk) close() {
	d.t.Helper()
	if d.journal != nil {
		if err := d.journal.Close(); err != nil {
			d.t.Errorf("close journal: %v", err)
		}
	}
	d.closeRest()
}

func (d *disk) closeRest() {
	d.t.Helper()
	if d.log != nil {
		if err := d.log.Close(); err != nil {
			d.t.Errorf("close log: %v", err)
		}
	}
	if d.dir != nil {
		if err := d.dir.Close(); err != nil {
			d.t.Errorf("close directory: %v", err)
		}
	}
}

// fill appends sealed entries to the log.
func (d *disk) fill(from, to uint64) {
	d.t.Helper()
	if err := d.log.StoreLogs(entries(d.t, from, to)); err != nil {
		d.t.Fatal(err)
	}
}

func entries(t testing.TB, from, to uint64) []*raft.Log {
	t.Helper()
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		data, err := logv1.Seal(&logv1.Entry{Time: int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, &raft.Log{Index: i, Term: 1, Type: raft.LogCommand, Data: data})
	}
	return logs
}

// snapshot takes one into raft's store, at the raft index given.
func (d *disk) snapshot(index uint64) string {
	d.t.Helper()
	s, err := d.journal.Snapshot()
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Release()
	sink, err := d.snaps.Create(1, index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := s.Persist(sink); err != nil {
		d.t.Fatal(err)
	}
	return sink.ID()
}

// stream returns the snapshot stream of what the journal holds.
func (d *disk) stream() []byte {
	d.t.Helper()
	s, err := d.journal.Snapshot()
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Release()
	sink := new(memorySink)
	if err := s.Persist(sink); err != nil {
		d.t.Fatal(err)
	}
	return sink.Bytes()
}

type memorySink struct {
	bytes.Buffer
	cancelled bool
}

func (s *memorySink) ID() string    { return "memory" }
func (s *memorySink) Close() error  { return nil }
func (s *memorySink) Cancel() error { s.cancelled = true; return nil }

// content is what a journal holds.
type content struct {
	Meta     *logv1.JournalMeta
	Services map[string]*logv1.ServiceRecord
	Members  map[string]*logv1.Member
	Requests map[string]*logv1.RequestRecord // by key
}

func loadContent(j *Journal) (content, error) {
	c := content{Services: map[string]*logv1.ServiceRecord{}, Members: map[string]*logv1.Member{}, Requests: map[string]*logv1.RequestRecord{}}
	var err error
	c.Meta, err = j.Load(logv1.Visitor{
		Service: func(r *logv1.ServiceRecord) error { c.Services[r.GetService()] = r; return nil },
		Member:  func(m *logv1.Member) error { c.Members[m.GetName()] = m; return nil },
		Request: func(r *logv1.RequestRecord) error { c.Requests[r.Key()] = r; return nil },
	})
	if inParts, partsErr := loadServicesInParts(j); fmt.Sprint(err) != fmt.Sprint(partsErr) {
		err = fmt.Errorf("loading in parts: %w; one by one: %v", partsErr, err)
	} else if err == nil && !maps.EqualFunc(c.Services, inParts, func(a, b *logv1.ServiceRecord) bool { return proto.Equal(a, b) }) {
		err = errors.New("loading in parts gives other services")
	}
	return c, err
}

func loadServicesInParts(j *Journal) (map[string]*logv1.ServiceRecord, error) {
	var mu sync.Mutex
	services := map[string]*logv1.ServiceRecord{}
	numbers := map[int]bool{}
	_, err := j.Load(logv1.Visitor{Services: func(number int, part []logv1.ServiceBytes) error {
		mu.Lock()
		defer mu.Unlock()
		if numbers[number] {
			return fmt.Errorf("part %d comes twice", number)
		}
		numbers[number] = true
		for i := range part {
			r, err := wholeService(&part[i])
			if err != nil {
				return err
			}
			services[r.GetService()] = r
		}
		return nil
	}})
	return services, err
}

// wholeService puts together what was taken apart.
func wholeService(s *logv1.ServiceBytes) (*logv1.ServiceRecord, error) {
	r := &logv1.ServiceRecord{Service: string(s.Service), StatusTime: s.StatusTime}
	if !s.Reported {
		return r, nil
	}
	var err error
	if r.Report, err = s.Report(); err != nil {
		return nil, err
	}
	r.Report.Status, r.Report.Revision = s.Status, s.Revision
	return r, nil
}

func (d *disk) load() content {
	d.t.Helper()
	c, err := loadContent(d.journal)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// differ compares contents, the directory aside.
func differ(a, b content) error {
	am, bm := proto.CloneOf(a.Meta), proto.CloneOf(b.Meta)
	am.DirectoryId, bm.DirectoryId = "", ""
	if !proto.Equal(am, bm) {
		return fmt.Errorf("meta %v, want %v", am, bm)
	}
	if len(a.Services) != len(b.Services) || len(a.Members) != len(b.Members) {
		return fmt.Errorf("%d services and %d members, want %d and %d", len(a.Services), len(a.Members), len(b.Services), len(b.Members))
	}
	if len(a.Requests) != len(b.Requests) {
		return fmt.Errorf("%d requests, want %d", len(a.Requests), len(b.Requests))
	}
	for key, r := range a.Requests {
		if !proto.Equal(r, b.Requests[key]) {
			return fmt.Errorf("request %x: %v, want %v", key, r, b.Requests[key])
		}
	}
	for name, r := range a.Services {
		if !proto.Equal(r, b.Services[name]) {
			return fmt.Errorf("service %q: %v, want %v", name, r, b.Services[name])
		}
	}
	for name, m := range a.Members {
		if !proto.Equal(m, b.Members[name]) {
			return fmt.Errorf("member %q: %v, want %v", name, m, b.Members[name])
		}
	}
	return nil
}

func same(t testing.TB, have, want content) {
	t.Helper()
	if err := differ(have, want); err != nil {
		t.Error(err)
	}
}

// change is a delta of one log entry that reports one service.
func change(index uint64, service string) *logv1.Delta {
	revision := int64(index)
	return &logv1.Delta{
		Index: index, Term: 1, Revision: revision, LogTime: int64(index) * 1000, ClusterID: "3f9a",
		Services: []*logv1.ServiceRecord{{Service: service, Report: &logv1.Report{Status: logv1.Status_STATUS_SERVING, Revision: revision}}},
		Events:   []*logv1.Event{{Revision: revision, CommitRevision: revision, Service: service, Type: logv1.EventType_EVENT_TYPE_REPORTED}},
	}
}

// changes appends one change per log entry.
func (d *disk) changes(from, to uint64) {
	for i := from; i <= to; i++ {
		d.journal.Append(change(i, fmt.Sprintf("shop/svc-%d", i%50)))
	}
}

func (d *disk) flush() {
	d.t.Helper()
	if err := d.journal.Flush(); err != nil {
		d.t.Fatal(err)
	}
}

// mention requires an error of one line that says each of parts.
func mention(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one that mentions %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not mention %q: %v", p, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has more than one line: %q", err)
	}
}

// copyDir copies a data directory but for its LOCK: what a machine that lost power would find.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if rel == lockName {
			return nil
		}
		return copyFile(path, filepath.Join(to, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	// The database files are sparse: only what is not zero is written.
	buf := make([]byte, 1<<16)
	var size int64
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], make([]byte, n)) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if err != nil {
			break
		}
	}
	return errors.Join(out.Truncate(size), out.Close())
}

// flip flips one bit of the last occurrences of what in a file.
func flip(t testing.TB, name string, what []byte) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, what) {
		t.Fatalf("%s does not hold %q", name, what)
	}
	for i := 0; ; {
		n := bytes.Index(data[i:], what)
		if n < 0 {
			break
		}
		data[i+n+len(what)/2] ^= 1
		i += n + len(what)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// lazy never flushes by itself.
var lazy = JournalOptions{FlushInterval: 24 * time.Hour, FlushBytes: 1 << 30}

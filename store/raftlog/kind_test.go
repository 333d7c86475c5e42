package raftlog

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/store/storetest"
)

// Raft leaves a gap where it installs a snapshot; both kinds keep it.
func TestLogKeepsAGap(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		path := t.TempDir()
		_, l := openLog(t, path, Options{Kind: kind})
		for _, run := range [][2]uint64{{1, 5}, {20, 25}} {
			if err := l.StoreLogs(storetest.Entries(t, run[0], run[1])); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		_, l = openLog(t, path, Options{})
		var entry raft.Log
		if err := l.GetLog(12, &entry); err != raft.ErrLogNotFound || l.contiguous != 20 {
			t.Errorf("entry 12: %v, unbroken from %d", err, l.contiguous)
		}
		if err := l.DeleteRange(1, 12); err != nil {
			t.Fatal(err)
		}
		first, _ := l.FirstIndex()
		last, _ := l.LastIndex()
		if first != 20 || last != 25 {
			t.Errorf("log from %d to %d", first, last)
		}
	})
}

// Both kinds do the same, whatever raft asks of them.
func TestLogKindsAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type open struct {
		d *directory
		l *Log
	}
	logs := map[Kind]open{}
	paths := map[Kind]string{}
	for _, kind := range Kinds() {
		paths[kind] = t.TempDir()
		d, l := openLog(t, paths[kind], Options{Kind: kind})
		logs[kind] = open{d, l}
	}
	rounds := 80
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		first, _ := logs[BoltDB].l.FirstIndex()
		last, _ := logs[BoltDB].l.LastIndex()
		action, n, gap := random.IntN(10), uint64(random.IntN(20)), random.IntN(20) == 0
		for kind, o := range logs {
			if o.l.wal != nil {
				smallSegments(o.l)
			}
			var err error
			switch {
			case action < 6:
				from := last + 1
				if gap {
					from += 10
				}
				err = o.l.StoreLogs(storetest.Entries(t, from, from+n))
			case last == 0:
			case action == 6:
				err = o.l.DeleteRange(first, min(first+n, last))
			case action == 7:
				err = o.l.DeleteRange(max(last-min(n, last), 1), last)
			case action == 8:
				err = o.l.SetUint64([]byte("CurrentTerm"), n)
			default:
				o.l.Close()
				o.d, o.l = openLog(t, paths[kind], Options{})
				logs[kind] = o
			}
			if err != nil {
				t.Fatal(kind, err)
			}
		}
		a, b := logs[BoltDB].l, logs[WAL].l
		for _, bound := range []func(*Log) (uint64, error){(*Log).FirstIndex, (*Log).LastIndex} {
			if x, _ := bound(a); true {
				if y, _ := bound(b); x != y {
					t.Fatalf("bounds differ: %d and %d", x, y)
				}
			}
		}
		first, _ = a.FirstIndex()
		last, _ = a.LastIndex()
		for i := first; i <= last+1; i++ {
			var x, y raft.Log
			ex, ey := a.GetLog(i, &x), b.GetLog(i, &y)
			if ex != ey || !x.AppendedAt.Equal(y.AppendedAt) || x.Index != y.Index || x.Term != y.Term || !bytes.Equal(x.Data, y.Data) {
				t.Fatalf("entry %d: %v %v and %v %v", i, x, ex, y, ey)
			}
		}
		if a.contiguous != b.contiguous {
			t.Fatalf("unbroken from %d and from %d", a.contiguous, b.contiguous)
		}
	}
}

func TestOpenLogOfTheOtherKind(t *testing.T) {
	for _, kind := range Kinds() {
		other := Kinds()[0]
		if kind == other {
			other = Kinds()[1]
		}
		path := t.TempDir()
		d, l := openLog(t, path, Options{Kind: kind})
		if err := l.StoreLogs(storetest.Entries(t, 1, 3)); err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, err := d.open(Options{Kind: other})
		storetest.Mention(t, err, path, "keeps its log in "+string(kind), "--log-store "+string(kind))
		l, err = d.open(Options{})
		if err != nil || l.Kind() != kind {
			t.Fatalf("without a kind: %v", err)
		}
		l.Close()
	}
	d, _ := openLog(t, t.TempDir(), Options{})
	_, err := d.open(Options{Kind: "leveldb"})
	storetest.Mention(t, err, `"leveldb"`, "boltdb", "wal")
}

func TestOpenRefusesTwoLogs(t *testing.T) {
	path := t.TempDir()
	d, l := openLog(t, path, Options{Kind: WAL})
	if err := l.StoreLogs(storetest.Entries(t, 1, 3)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := Create(path, d.owner.DirectoryID, BoltDB, 0); err != nil {
		t.Fatal(err)
	}
	_, err := d.open(Options{})
	storetest.Mention(t, err, DirName, "not of the same time", LostMember)
}

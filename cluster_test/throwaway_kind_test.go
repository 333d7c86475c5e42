package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/node"
)

// This file is the whole of a kind of records, the notes, and a test that registers it: see "How to add a
// kind" in docs/architecture.md. Nothing outside this file knows of notes.

// note is a record of the kind. Its bytes are its text.
type note string

func (n *note) SizeVT() int { return len(*n) }

func (n *note) MarshalToSizedBufferVT(b []byte) (int, error) {
	return copy(b[len(b)-len(*n):], *n), nil
}

func (n *note) UnmarshalVT(b []byte) error {
	*n = note(b)
	return nil
}

// kindNote would be in the enum Kind of log.proto.
const kindNote logv1.Kind = 4711

var noteKind = &fsm.Kind{
	Number:   kindNote,
	Name:     "note",
	New:      func() fsm.Value { return new(note) },
	History:  true,
	Evaluate: evaluateNote,
	Check: func(_ string, v fsm.Value) error {
		if strings.Contains(string(*v.(*note)), "\n") {
			return errors.New("it has more than one line")
		}
		return nil
	},
}

// evaluateNote is the command: "KEY=TEXT" puts a note, "KEY" deletes it, "KEY+TEXT" needs it to be there
// and appends.
func evaluateNote(tx *fsm.Tx, payload []byte) *logv1.Refusal {
	at := bytes.IndexAny(payload, "=+")
	if at < 0 {
		tx.Put(kindNote, string(payload), nil, 0)
		return nil
	}
	key, text := string(payload[:at]), note(payload[at+1:])
	if payload[at] == '+' {
		before, _ := tx.Get(kindNote, key).(*note)
		if before == nil {
			return &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND, Kind: kindNote, Key: key}
		}
		text = *before + text
	}
	tx.Put(kindNote, key, &text, 0)
	return nil
}

// notes are the clusters whose nodes know the kind.
type notes struct {
	*virtual
	kinds *fsm.Kinds
	mu    sync.Mutex
	folds map[string]*fsm.FSM // by node
}

// configure has nodes know the kind, keep little history, and take snapshots often.
func (c *notes) configure(cfg *node.Config) {
	cfg.Kinds = c.kinds
	cfg.HistoryEvents = 30
	cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
	name := cfg.Name
	cfg.Faults.ApplyBatch = func(f *fsm.FSM) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.folds[name] = f
	}
}

func (c *notes) fold(n *virtualNode) *fsm.FSM {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.folds[n.cfg.Name]
}

// do sends the kind's command from a follower to the leader, as the follower's API would.
func (c *notes) do(id, payload string) *logv1.Result {
	c.t.Helper()
	leader := c.leader()
	from := c.others(leader)[0]
	for from.node == nil {
		from = c.others(leader)[1]
	}
	conn, err := grpc.NewClient("passthrough:///leader", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return from.node.DialPeer(ctx, leader.cfg.Name) }))
	must(c.t, err)
	defer conn.Close()
	answer, err := forward(context.Background(), peerv1.NewPeerClient(conn), &logv1.Command{
		Actor: &logv1.Actor{Name: "ann"}, Reason: "test", RequestId: id,
		Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kindNote, Payload: []byte(payload)}},
	})
	must(c.t, err)
	return answer.GetResult()
}

// holds requires every node that runs to hold these notes, and their past.
func (c *notes) holds(want, past map[string]string, then int64) {
	c.t.Helper()
	ctx := context.Background()
	for _, n := range c.nodes {
		if n.node == nil {
			continue
		}
		f := c.fold(n)
		have := map[string]string{}
		f.ListRecords(kindNote, "n/", func(key string, v fsm.Value) bool {
			have[key] = string(*v.(*note))
			return true
		})
		if fmt.Sprint(have) != fmt.Sprint(want) {
			c.t.Errorf("%s holds %v, want %v", n.cfg.Name, have, want)
		}
		for _, key := range []string{"n/a", "n/b", "n/gone"} {
			v, err := f.RecordAt(ctx, kindNote, key, then)
			text := ""
			if v != nil {
				text = string(*v.(*note))
			}
			if err != nil || text != past[key] {
				c.t.Errorf("%s says that %s was %q at %d, want %q: %v", n.cfg.Name, key, text, then, past[key], err)
			}
		}
		if count := n.mismatched(); count != 0 {
			c.t.Errorf("%s saw %d other state hashes", n.cfg.Name, count)
		}
		for what, scrub := range map[string]func() (fsm.Scrub, error){
			"memory": func() (fsm.Scrub, error) { return f.ScrubMemory(ctx, 1) },
			"file": func() (fsm.Scrub, error) {
				s, _, err := f.ScrubRegistryFile(ctx, 1)
				return s, err
			},
		} {
			if s, err := scrub(); err != nil || !s.Agrees() || s.Records < len(want) {
				c.t.Errorf("a scrub of the %s of %s: %+v, %v", what, n.cfg.Name, s, err)
			}
		}
	}
}

// verified requires what a stopped node has on disk to be right, notes included.
func (c *notes) verified(n *virtualNode, count int) {
	c.t.Helper()
	checks, err := node.VerifyDataOf(n.cfg.DataDir, c.kinds)
	must(c.t, err)
	for _, check := range checks {
		if len(check.Problems) > 0 {
			c.t.Errorf("%s of %s: %q", check.Name, n.cfg.Name, check.Problems)
		}
		if check.Name == "registry" && !strings.Contains(check.Looked, fmt.Sprintf("%d notes", count)) {
			c.t.Errorf("verify of %s looked at %s", n.cfg.Name, check.Looked)
		}
	}
	// A binary that does not know the kind does not take it for something else.
	checks, err = node.VerifyData(n.cfg.DataDir)
	must(c.t, err)
	if found := fmt.Sprint(checks); !strings.Contains(found, "records of kind 4711") {
		c.t.Errorf("without the kind: %s", found)
	}
}

// TestVirtualThrowawayKind: a kind that is registered is persisted, hashed, loaded, scrubbed, compacted,
// snapshotted, backed up, restored, read as of a past revision, verified, and its requests are done once.
func TestVirtualThrowawayKind(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		c := &notes{kinds: fsm.DefaultKinds().With(noteKind), folds: map[string]*fsm.FSM{}}
		c.virtual = newVirtual(t, 3, c.configure)
		defer func() { c.close() }()
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		before := c.fold(c.leader()).Revision()
		if r := c.do("", "n/a=one"); r.GetRevision() != before+1 || len(r.GetRecords()) != 1 || !r.GetRecords()[0].GetChanged() ||
			string(r.GetRecords()[0].GetValue()) != "one" {
			t.Errorf("the first note: %v", r)
		}
		if r := c.do("", "n/a=one"); r.GetRevision() != before+1 || r.GetRecords()[0].GetChanged() {
			t.Errorf("the same note again: %v", r)
		}
		first := c.do("id-1", "n/a+ and two")
		if r := c.do("id-1", "n/a+ and two"); !r.GetReplayed() || r.GetRevision() != first.GetRevision() || string(r.GetRecords()[0].GetValue()) != "one and two" {
			t.Errorf("another try: %v, the first was %v", r, first)
		}
		if r := c.do("id-1", "n/a+ and three"); r.GetRefusal().GetProblem() != logv1.Refusal_PROBLEM_REUSED {
			t.Errorf("another request with the id: %v", r)
		}
		if r := c.do("id-2", "n/none+x"); r.GetRefusal().GetReason() != logv1.Refusal_REASON_NOT_FOUND {
			t.Errorf("a refused note: %v", r)
		}
		if r := c.do("", "n/\x00=x"); r.GetRefusal().GetField() != "key" {
			t.Errorf("a key that cannot be: %v", r)
		}
		c.do("", "n/b=")
		c.do("", "n/gone=soon")
		c.do("", "n/gone")

		// A follower that was away long needs a snapshot; the history is compacted meanwhile.
		away := c.others(c.leader())[1]
		c.caughtUp()
		away.stop()
		cl := c.client(c.others(away)...)
		for i := range 120 {
			c.set(cl, fmt.Sprint("s/", i%3), []client.Status{serving, notServing}[i/3%2])
		}
		then := c.fold(c.leader()).Revision()
		past := map[string]string{"n/a": "one and two"}
		c.do("", "n/a=three")
		c.do("", "n/b")
		c.do("", "n/b=back")
		c.until("the history to be compacted", func() bool { return c.fold(c.leader()).Horizon() > first.GetRevision()+10 })
		cl.Close()
		away.start()
		c.waitReady()
		c.caughtUp()
		want := map[string]string{"n/a": "three", "n/b": "back"}
		c.holds(want, past, then)

		// A backup, and each node restarted.
		file := filepath.Join(t.TempDir(), "backup")
		cl = c.client()
		var backup bytes.Buffer
		_, err := cl.ExportSnapshot(context.Background(), &backup, client.ExportOptions{})
		must(t, err)
		must(t, os.WriteFile(file, backup.Bytes(), 0o600))
		cl.Close()
		for _, n := range c.nodes {
			n.stop()
			c.verified(n, len(want))
			n.start()
			c.waitReady()
		}
		c.do("", "s/only=what") // so that every fold is known anew; not a note of those that are looked at
		c.caughtUp()
		c.holds(want, past, then)
		c.close()

		// A new cluster from the backup.
		c.virtual, c.folds = newVirtual(t, 3, c.configure), map[string]*fsm.FSM{}
		token := ""
		for _, n := range c.nodes {
			restored, err := node.Restore(file, n.cfg, token)
			must(t, err)
			token = restored.Token
			c.verified(n, len(want))
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		c.do("", "s/only=that")
		c.caughtUp()
		c.holds(want, past, then)
		if r := c.do("id-1", "n/a+ and two"); !r.GetReplayed() {
			t.Errorf("the backup has forgotten a request: %v", r)
		}
		for _, n := range c.nodes {
			n.stop()
			c.verified(n, len(want)+1)
		}
	})
}

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/storetest"
)

func record(t *testing.T, kind logv1.Kind, payload proto.Message) *logv1.Command {
	t.Helper()
	data, err := proto.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return &logv1.Command{Reason: "a test", Actor: &logv1.Actor{Name: "ann"}, Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kind, Payload: data}}}
}

// richNode makes the data directory of a node that has run, with records of many kinds. It returns what it held.
func richNode(t *testing.T, logStore string) (data string, held []string, revision int64, term uint64) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	n, _ := alone(t, func(cfg *Config) { cfg.DataDir, cfg.LogStore = data, logStore })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	propose := func(cmd *logv1.Command) {
		t.Helper()
		got, err := n.server.Propose(ctx, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if r := got.GetRefusal(); r != nil {
			t.Fatal(r)
		}
	}
	for i := range 40 {
		propose(&logv1.Command{Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{
			{Service: fmt.Sprintf("shop/%d", i), Status: logv1.Status_STATUS_SERVING}}}}})
	}
	for index := n.fsm.AppliedIndex(); n.fsm.Level() < 2; index = n.fsm.AppliedIndex() { // it rises by itself
		if err := n.fsm.WaitIndex(ctx, index+1); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range []*logv1.Command{
		record(t, logv1.Kind_KIND_OVERRIDE, &logv1.OverrideCommand{Command: &logv1.OverrideCommand_Set{Set: &logv1.SetOverride{Pattern: "shop/*", Status: logv1.Status_STATUS_NOT_SERVING}}}),
		record(t, logv1.Kind_KIND_RULE, &logv1.RuleCommand{Command: &logv1.RuleCommand_Set{Set: &logv1.SetRule{Name: "least", Pattern: "shop/*", MinServing: 1}}}),
		record(t, logv1.Kind_KIND_LEASE, &logv1.LeaseCommand{Command: &logv1.LeaseCommand_Grant{Grant: &logv1.GrantLease{LeaseId: "00112233aabbccdd", Ttl: int64(time.Hour), OnExpiry: logv1.Status_STATUS_NOT_SERVING}}}),
		record(t, logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Put{Put: &logv1.PutRole{Name: "reader", Verbs: 1}}}),
		record(t, logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: "cert:ann", Grants: []*logv1.Grant{{Role: "reader", Patterns: []string{"shop/*"}}}}),
	} {
		propose(cmd)
	}
	held, revision, term = recordsOf(n), n.fsm.Revision(), n.raft.Status().Term
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return data, held, revision, term
}

// keptKinds are those of which a recovery keeps all records.
var keptKinds = []logv1.Kind{
	logv1.Kind_KIND_OVERRIDE, logv1.Kind_KIND_RULE, logv1.Kind_KIND_LEASE, logv1.Kind_KIND_TOKEN,
	logv1.Kind_KIND_ROLE, logv1.Kind_KIND_GRANTS, logv1.Kind_KIND_AUTH, logv1.Kind_KIND_SETTING,
}

// recordsOf is what a node holds of all that outlives its cluster.
func recordsOf(n *Node) (all []string) {
	for _, s := range n.fsm.ListServices(pattern.Beginnings(""), "", 1000, nil, false).Records {
		all = append(all, fmt.Sprint(s.GetService(), s.GetReport().GetRevision(), s.GetStatus()))
	}
	for _, kind := range keptKinds {
		n.fsm.ListRecords(kind, "", func(key string, v fsm.Value) bool {
			all = append(all, fmt.Sprint(kind, key, v))
			return true
		})
	}
	return all
}

// TestRecover: the recovered node goes on from all that there was, as another cluster.
func TestRecover(t *testing.T) {
	t.Parallel()
	for _, logStore := range LogStores() {
		t.Run(logStore, func(t *testing.T) {
			data, held, revision, term := richNode(t, logStore)
			before := treeHash(t, data)
			dry, err := Recover(data, RecoverOptions{DryRun: true, Force: true})
			if err != nil || dry.From.Revision != revision || treeHash(t, data) != before {
				t.Fatalf("dry run: %+v, %v", dry.From, err)
			}
			if entries, _ := os.ReadDir(filepath.Dir(data)); len(entries) != 1 {
				t.Errorf("the dry run left %v", entries)
			}
			old, err := store.OpenReadOnly(data)
			if err != nil {
				t.Fatal(err)
			}
			oldID := old.Identity()
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := Recover(data, RecoverOptions{Force: true})
			if err != nil {
				t.Fatal(err)
			}
			if r.From.Revision != revision || r.Member.Name != "n1" || r.Member.APIAddress != "127.0.0.1:7600" || r.ClusterID == oldID.Founding.ClusterID || string(r.Survivor.LogKind) != logStore {
				t.Errorf("%+v", r)
			}
			if err := os.Rename(data, data+".new"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(r.Kept, data); err != nil {
				t.Fatal(err)
			}
			if treeHash(t, data) != before {
				t.Error("the old directory has changed")
			}
			data += ".new"
			n, _ := alone(t, func(cfg *Config) { cfg.DataDir = data })
			if got := recordsOf(n); !slices.Equal(got, held) {
				t.Errorf("it holds %d records, not the %d of before", len(got), len(held))
			}
			if s := n.raft.Status(); s.Term <= term || s.ClusterID != r.ClusterID {
				t.Errorf("term %d after %d, cluster %s", s.Term, term, s.ClusterID)
			}
			if m := n.fsm.Members(); len(m) != 1 || m["n1"].GetDirectoryId() == oldID.DirectoryID || n.fsm.Revision() <= revision {
				t.Errorf("members %v, revision %d after %d", m, n.fsm.Revision(), revision)
			}
			if kind := n.raftLog.Kind(); string(kind) != logStore {
				t.Errorf("the log is in %s", kind)
			}
		})
	}
}

// TestRecoverCutOff kills the process before each step: the old directory is where it was, or the new one is there, and
// another run ends it.
func TestRecoverCutOff(t *testing.T) {
	t.Parallel()
	original, _, revision, _ := richNode(t, string(raftlog.WAL))
	var steps []string
	note := func(step string) error { steps = append(steps, step); return nil }
	first := filepath.Join(t.TempDir(), "data")
	storetest.CopyDir(t, original, first)
	if _, err := Recover(first, RecoverOptions{Force: true, Step: note}); err != nil {
		t.Fatal(err)
	}
	if len(steps) < 5 {
		t.Fatalf("steps %q", steps)
	}
	for _, last := range steps {
		for _, how := range []string{"killed", "failed"} {
			t.Run(last+"/"+how, func(t *testing.T) {
				data := filepath.Join(t.TempDir(), "data")
				storetest.CopyDir(t, original, data)
				before := identityOf(t, data)
				func() {
					defer func() { _ = recover() }()
					_, err := Recover(data, RecoverOptions{Force: true, Step: func(step string) error {
						if step != last {
							return nil
						}
						if how == "killed" {
							panic("killed")
						}
						return errors.New("the disk fails")
					}})
					if err == nil || !strings.Contains(err.Error(), "the disk fails") {
						t.Errorf("%v", err)
					}
				}()
				old := identityOf(t, data).DirectoryID == before.DirectoryID
				if !old && !slices.Contains([]string{"sync exchange", "rename"}, last) {
					t.Errorf("the directories have changed places before %s", last)
				}
				r, err := Recover(data, RecoverOptions{Force: true})
				if err != nil {
					t.Fatal(err)
				}
				if (r.Survivor == nil) == old || r.From.Revision != revision || r.From.DirectoryID != before.DirectoryID {
					t.Errorf("%+v", r)
				}
				if identityOf(t, r.Kept).DirectoryID != before.DirectoryID || identityOf(t, data).DirectoryID != r.Directory || r.Member.Name != "n1" || r.Member.PeerAddress != "127.0.0.1:7601" {
					t.Errorf("%+v", r)
				}
				if entries, err := os.ReadDir(filepath.Dir(data)); err != nil || len(entries) != 2 {
					t.Errorf("left: %v, %v", entries, err)
				}
				checks, err := VerifyData(data)
				for _, c := range checks {
					if len(c.Problems) > 0 {
						t.Errorf("%s: %q", c.Name, c.Problems)
					}
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func identityOf(t *testing.T, data string) store.Identity {
	t.Helper()
	d, err := store.OpenReadOnly(data)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return d.Identity()
}

// TestRecoverRefuses: one clear error, and nothing has changed.
func TestRecoverRefuses(t *testing.T) {
	t.Parallel()
	data, _, _, _ := richNode(t, string(raftlog.WAL))
	member := func(name string) []Member {
		return []Member{{Name: name, APIAddress: "10.0.0.9:7600", PeerAddress: "10.0.0.9:7601"}}
	}
	for _, tt := range []struct {
		name string
		opt  RecoverOptions
		make func(t *testing.T, data string)
		want string
	}{
		{"another node's addresses", RecoverOptions{Members: member("n2")}, nil, "no --member is n1: give the addresses of that node, or another name by --node"},
		{"a bad name", RecoverOptions{Node: "N 1"}, nil, "node name \"N 1\" is not allowed"},
		{"another name without addresses", RecoverOptions{Node: "n7"}, nil, "the address of n7 is not known: give it by --member n7,host=HOST"},
		{"a bad address", RecoverOptions{Members: []Member{{Name: "n1", APIAddress: "x", PeerAddress: "127.0.0.1:1"}}}, nil, "is not host:port"},
		{"no identity", RecoverOptions{}, func(t *testing.T, data string) {
			if err := os.Remove(filepath.Join(data, "identity.json")); err != nil {
				t.Fatal(err)
			}
		}, "give it by --node"},
		{"something in the way", RecoverOptions{}, func(t *testing.T, data string) {
			if err := errors.Join(os.Mkdir(data+".recovering", 0o700), os.WriteFile(data+".recovering/mine", nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "is not what a recovery leaves: move it away"},
		{"a node runs", RecoverOptions{}, func(t *testing.T, data string) {
			d, err := store.OpenDirectory(data, "n1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
		}, "in use"},
		{"nothing there", RecoverOptions{}, func(t *testing.T, data string) {
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
		}, "is not the data directory of a node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data")
			storetest.CopyDir(t, data, path)
			if tt.make != nil {
				tt.make(t, path)
			}
			var before []string
			entries, _ := os.ReadDir(filepath.Dir(path))
			for _, e := range entries {
				before = append(before, e.Name())
			}
			tt.opt.Force = true
			_, err := Recover(path, tt.opt)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			var after []string
			entries, _ = os.ReadDir(filepath.Dir(path))
			for _, e := range entries {
				after = append(after, e.Name())
			}
			if !slices.Equal(before, after) {
				t.Errorf("%v, was %v", after, before)
			}
		})
	}
	t.Run("without an identity, by name and address", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "data")
		storetest.CopyDir(t, data, path)
		if err := os.Remove(filepath.Join(path, "identity.json")); err != nil {
			t.Fatal(err)
		}
		r, err := Recover(path, RecoverOptions{Node: "n9", Members: append(member("n1"), member("n9")...)})
		if err != nil || r.Member.Name != "n9" || identityOf(t, path).Node != "n9" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestRestoreOverLeftovers: what stands in the way of a restore is named, with what to do about it.
func TestRestoreOverLeftovers(t *testing.T) {
	data, backup := stoppedNode(t, string(raftlog.WAL))
	cfg := DefaultConfig()
	cfg.Name = "n1"
	cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
	for _, tt := range []struct {
		name string
		make func(t *testing.T, data string)
		want string
	}{
		{"a member that is stopped", func(*testing.T, string) {}, `it is the data directory of n1 of cluster [0-9a-f]{16}; "rollcall snapshot save --data \S+ FILE" saves what it holds, and "rollcall recover --data \S+" makes a new cluster of it; to restore the backup all the same, move the directory away first$`},
		{"a member that runs", func(t *testing.T, data string) {
			d, err := store.OpenDirectory(data, "n1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
		}, "a node runs on it; stop the node first, or name another directory$"},
		{"a member without an identity", func(t *testing.T, data string) {
			if err := os.Remove(filepath.Join(data, "identity.json")); err != nil {
				t.Fatal(err)
			}
		}, "the data of a node whose identity.json is damaged or lost"},
		{"a restore that was cut off", func(t *testing.T, data string) {
			for _, name := range []string{"identity.json", "wal", "raft.db"} {
				if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
					t.Fatal(err)
				}
			}
		}, "a restore of it was cut off; remove it, and restore again$"},
		{"something else", func(t *testing.T, data string) {
			if err := errors.Join(os.RemoveAll(data), os.Mkdir(data, 0o700), os.WriteFile(filepath.Join(data, "mine"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "it holds mine, which is none of a node's; name another one$"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data")
			storetest.CopyDir(t, data, path)
			tt.make(t, path)
			before := treeHash(t, path)
			cfg := cfg
			cfg.DataDir = path
			_, err := Restore(backup, cfg, "")
			if !errors.Is(err, store.ErrNotEmpty) || !regexp.MustCompile(tt.want).MatchString(err.Error()) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			if treeHash(t, path) != before {
				t.Error("the directory has changed")
			}
		})
	}
}

// TestOldNodesAreRefused: a node of the old cluster and the recovered one do not talk to each other.
func TestOldNodesAreRefused(t *testing.T) {
	t.Parallel()
	original, _, _, _ := richNode(t, string(raftlog.WAL))
	data := filepath.Join(t.TempDir(), "recovered")
	storetest.CopyDir(t, original, data)
	network := memnet.New()
	members := []Member{{Name: "n2", APIAddress: "10.0.0.2:7600", PeerAddress: "10.0.0.2:7601"}}
	if _, err := Recover(data, RecoverOptions{Node: "n2", Members: members, Force: true}); err != nil {
		t.Fatal(err)
	}
	n2, _ := alone(t, func(cfg *Config) {
		cfg.Name, cfg.DataDir, cfg.Members, cfg.Network, cfg.Insecure, cfg.HTTPListen = "n2", data, members, network.Host("10.0.0.2"), true, ""
	})
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir, cfg.Insecure = "n1", original, true
	cfg.Members = append([]Member{{Name: "n1", APIAddress: "10.0.0.1:7600", PeerAddress: "10.0.0.1:7601"}}, members...)
	cfg.Network = network.Host("10.0.0.1")
	cfg.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n1, err := Open(ctx, cfg)
	if err == nil {
		defer n1.Close(ctx)
		select {
		case err = <-n1.Failed():
		case <-ctx.Done():
		}
	}
	if err == nil || !strings.Contains(err.Error(), "cluster") {
		t.Errorf("a node of the old cluster is not refused: %v", err)
	}
	if m := n2.fsm.Members(); len(m) != 1 {
		t.Errorf("members %v", m)
	}
}

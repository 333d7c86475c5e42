package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// refused recovers a directory, which has to be refused as not needed, in a dry run, too, and to change nothing.
func refused(t *testing.T, data string) *NotNeededError {
	t.Helper()
	before := treeHash(t, filepath.Dir(data))
	var refusal *NotNeededError
	for _, dryRun := range []bool{true, false} {
		_, err := Recover(data, RecoverOptions{DryRun: dryRun})
		if !errors.As(err, &refusal) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "nothing was changed") {
			t.Fatalf("dry run %t: not refused: %v", dryRun, err)
		}
	}
	if treeHash(t, filepath.Dir(data)) != before {
		t.Error("something has changed")
	}
	return refusal
}

// TestRecoverAgain: whoever runs the command twice by mistake has one new cluster, not two.
func TestRecoverAgain(t *testing.T) {
	t.Parallel()
	data, _, revision, _ := richNode(t, string(raftlog.WAL))
	if e := refused(t, data); e.Recovered != nil || e.KeptFor != "" || e.Node != "n1" || !strings.Contains(e.Error(), "n1 is the only voter of cluster "+e.ClusterID) {
		t.Errorf("the only member of a cluster: %+v", e)
	}
	first, err := Recover(data, RecoverOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}

	e := refused(t, data)
	if e.Recovered == nil || e.HasRun || e.Revision != revision || e.ClusterID != first.ClusterID || e.Kept != first.Kept || e.Member != first.Member {
		t.Errorf("a second run: %+v, want %+v", e, first)
	}
	if want := "as the only voter of cluster " + first.ClusterID + ", and has not run since"; !strings.Contains(e.Error(), want) {
		t.Errorf("%v lacks %q", e, want)
	}
	if e := refused(t, first.Kept); e.KeptFor != data || !strings.Contains(e.Error(), "is the old directory that the recovery of "+data+" has kept") {
		t.Errorf("the old directory: %+v", e)
	}

	// It runs, and is stopped again.
	n, _ := alone(t, func(cfg *Config) { cfg.DataDir = data })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := n.server.Propose(ctx, &logv1.Command{Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{{Service: "later", Status: logv1.Status_STATUS_SERVING}}}}}); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if e := refused(t, data); !e.HasRun || e.Revision <= revision || !strings.Contains(e.Error(), "and has run since, to revision ") {
		t.Errorf("after a run: %+v", e)
	}

	second, err := Recover(data, RecoverOptions{Force: true})
	if err != nil || second.ClusterID == first.ClusterID || second.Kept == first.Kept || second.From.ClusterID != first.ClusterID || second.From.Revision <= revision {
		t.Errorf("by force: %+v, %v", second, err)
	}
	if err := os.RemoveAll(second.Kept); err != nil {
		t.Fatal(err)
	}
	if e := refused(t, data); e.Kept != "" {
		t.Errorf("%s is not there any more", e.Kept)
	}
}

// TestRecoverIsNeeded: a note of an earlier recovery does not stand in the way of one that is needed.
func TestRecoverIsNeeded(t *testing.T) {
	t.Parallel()
	original, _, _, _ := richNode(t, string(raftlog.WAL))
	if _, err := Recover(original, RecoverOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		lose string
		opt  RecoverOptions
	}{
		{"its log is lost", "raft.db", RecoverOptions{}},
		{"its identity is lost", "identity.json", RecoverOptions{Node: "n1", Members: []Member{{Name: "n1", APIAddress: "10.0.0.9:7600", PeerAddress: "10.0.0.9:7601"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			storetest.CopyDir(t, original, data)
			if err := os.Remove(filepath.Join(data, tt.lose)); err != nil {
				t.Fatal(err)
			}
			if _, err := Recover(data, tt.opt); err != nil {
				t.Errorf("refused: %v", err)
			}
			refused(t, data)
		})
	}
}

// TestRecoverDryRunOfCutOff: what was cut off is told, and nothing is put in order by a dry run.
func TestRecoverDryRunOfCutOff(t *testing.T) {
	t.Parallel()
	original, _, revision, _ := richNode(t, string(raftlog.WAL))
	for _, step := range []string{"rename", "second rename"} {
		t.Run(step, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			storetest.CopyDir(t, original, data)
			if _, err := Recover(data, RecoverOptions{Force: true, Step: func(now string) error {
				switch {
				case now == step:
					return errors.New("the disk fails")
				case now == "exchange" && step == "second rename":
					return errors.ErrUnsupported
				}
				return nil
			}}); err == nil {
				t.Fatal("it was not cut off")
			}
			before := treeHash(t, filepath.Dir(data))
			told, err := Recover(data, RecoverOptions{DryRun: true})
			if err != nil || told.Survivor != nil || told.From.Revision != revision {
				t.Fatalf("%+v, %v", told, err)
			}
			if treeHash(t, filepath.Dir(data)) != before {
				t.Error("the dry run has changed something")
			}
			done, err := Recover(data, RecoverOptions{})
			if err != nil || done.ClusterID != told.ClusterID || done.Kept != told.Kept || done.Member != told.Member || done.Member.APIAddress == "" {
				t.Errorf("%+v, %v, told %+v", done, err, told)
			}
			if e := refused(t, data); e.Kept != done.Kept {
				t.Errorf("kept as %s, not %s", done.Kept, e.Kept)
			}
		})
	}
}

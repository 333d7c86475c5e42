package metrics

import (
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gometrics "github.com/hashicorp/go-metrics/compat"
)

// everythingOfRaft has m show a sample of everything that raft may report.
func everythingOfRaft(t *testing.T, m *Metrics) {
	t.Helper()
	r := newRaft()
	for key := range r.takes {
		r.take(strings.Split(key, "."), 1, []gometrics.Label{{Name: "peer_id", Value: "n2"}})
	}
	r.take([]string{"raft", "state", "leader"}, 0, nil) // the last one
	m.CollectRaft(r)
}

func TestRaftScrape(t *testing.T) {
	m, r := New("v1"), newRaft()
	m.CollectRaft(r)
	raft, err := gometrics.New(raftSinkConfig(), raftSink{r})
	if err != nil {
		t.Fatal(err)
	}
	scrape := func() string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	labels := []gometrics.Label{{Name: "peer_id", Value: "n3"}}
	raft.IncrCounter([]string{"raft", "state", "candidate"}, 1)
	raft.IncrCounter([]string{"raft", "state", "leader"}, 1)
	raft.IncrCounter([]string{"raft", "transition", "heartbeat_timeout"}, 1)
	raft.AddSample([]string{"raft", "leader", "lastContact"}, 200)
	raft.AddSample([]string{"raft", "boltdb", "logBatchSize"}, 512)
	raft.AddSample([]string{"raft", "thread", "main", "saturation"}, 0.25)
	raft.SetGauge([]string{"raft", "leader", "oldestLogAge"}, 90_000)
	raft.MeasureSinceWithLabels([]string{"raft", "replication", "heartbeat"}, time.Now().Add(-3*time.Millisecond), labels)
	raft.MeasureSince([]string{"raft", "rpc", "appendEntries"}, time.Now().Add(-3*time.Second))
	// What is not taken, with nothing near it by mistake.
	raft.MeasureSince([]string{"raft", "rpc", "appendEntries", "storeLogs"}, time.Now())
	raft.AddSample([]string{"raft", "rpc"}, 1)
	raft.AddSample([]string{"raft", strings.Repeat("x", 100)}, 1)
	raft.AddSample(nil, 1)
	raft.EmitKey([]string{"raft", "state", "leader"}, 1)
	body := scrape()
	for _, line := range []string{
		`rollcall_raft_states_entered_total{state="candidate"} 1`,
		`rollcall_raft_states_entered_total{state="leader"} 1`,
		`rollcall_raft_states_entered_total{state="follower"} 0`,
		`rollcall_raft_heartbeat_timeouts_total 1`,
		`rollcall_raft_lease_timeouts_total 0`,
		`rollcall_raft_follower_contact_age_seconds_bucket{le="0.15"} 0`,
		`rollcall_raft_follower_contact_age_seconds_bucket{le="0.2"} 1`,
		`rollcall_raft_log_written_bytes_total 512`,
		`rollcall_raft_thread_saturation_ratio{thread="main"} 0.25`,
		`rollcall_raft_oldest_log_age_seconds 90`,
		`rollcall_raft_peer_rpc_duration_seconds_bucket{member="n3",rpc="heartbeat",le="0.0025"} 0`,
		`rollcall_raft_peer_rpc_duration_seconds_count{member="n3",rpc="heartbeat"} 1`,
		`rollcall_raft_rpc_duration_seconds_bucket{rpc="append_entries",le="2.5"} 0`,
		`rollcall_raft_rpc_duration_seconds_bucket{rpc="append_entries",le="5"} 1`,
		`rollcall_raft_rpc_duration_seconds_count{rpc="append_entries"} 1`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no %q", line)
		}
	}
	noAge := func(when string) {
		t.Helper()
		if strings.Contains(scrape(), "\nrollcall_raft_oldest_log_age_seconds ") {
			t.Errorf("%s tells the age of its log", when)
		}
	}
	raft.SetGauge([]string{"raft", "leader", "oldestLogAge"}, 0)
	noAge("a leader that does not know it")
	raft.SetGauge([]string{"raft", "leader", "oldestLogAge"}, 1)
	raft.IncrCounter([]string{"raft", "state", "follower"}, 1)
	noAge("a follower")
	for i := range 100 {
		raft.MeasureSinceWithLabels([]string{"raft", "replication", "heartbeat"}, time.Now(), []gometrics.Label{{Name: "peer_id", Value: fmt.Sprint("m", i)}})
	}
	if got := strings.Count(scrape(), `rollcall_raft_peer_rpc_duration_seconds_count{`); got != maxRaftMembers+1 {
		t.Errorf("%d members in labels, want %d and the rest together", got, maxRaftMembers)
	}
	raft.IncrCounter([]string{"raft", "state", "leader"}, -1) // Prometheus' counters would panic
}

// TestRaftReports compares the keys that are taken with the source of the raft that is built in.
func TestRaftReports(t *testing.T) {
	var source strings.Builder
	for _, module := range []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb/v2"} {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", module, err)
		}
		root := strings.TrimSpace(string(dir))
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && path != root {
				return fs.SkipDir
			}
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				b, err := os.ReadFile(path)
				source.Write(b)
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text := source.String()
	// The one key that raft puts together from two places.
	text = regexp.MustCompile(`append\(prefix, "oldestLogAge"\)`).ReplaceAllString(text, `[]string{"raft", "leader", "oldestLogAge"}`)
	for key := range newRaft().takes {
		literal := `[]string{"` + strings.Join(strings.Split(key, "."), `", "`) + `"}`
		if !strings.Contains(text, literal) {
			t.Errorf("raft does not report %s", key)
		}
	}
}

// BenchmarkRaftSink compares what one report of raft's costs it. "default" is go-metrics as it is when
// nobody installs a sink.
func BenchmarkRaftSink(b *testing.B) {
	blackhole, _ := gometrics.New(raftSinkConfig(), &gometrics.BlackholeSink{})
	ours, _ := gometrics.New(raftSinkConfig(), raftSink{newRaft()})
	dropped := []string{"raft", "fsm", "enqueue"}
	start := time.Now()
	labels := []gometrics.Label{{Name: "peer_id", Value: "n2"}}
	for _, sink := range []struct {
		name string
		to   *gometrics.Metrics
	}{{"default", gometrics.Default()}, {"blackhole", blackhole}, {"ours", ours}} {
		for _, call := range []struct {
			name   string
			report func()
		}{
			{"timer-dropped", func() { sink.to.MeasureSince(dropped, start) }},
			{"counter-dropped", func() { sink.to.IncrCounter(dropped, 1) }},
			{"timer", func() { sink.to.MeasureSince([]string{"raft", "rpc", "appendEntries"}, start) }},
			{"timer-of-member", func() {
				sink.to.MeasureSinceWithLabels([]string{"raft", "replication", "appendEntries", "rpc"}, start, labels)
			}},
			{"counter", func() { sink.to.IncrCounter([]string{"raft", "state", "leader"}, 1) }},
		} {
			b.Run(call.name+"/"+sink.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					call.report()
				}
			})
		}
	}
}

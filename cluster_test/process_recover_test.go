package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// acknowledgedLoad writes services, each once, over all nodes until stop is called, which returns the names that were
// acknowledged. half is closed when there are some.
func (c *processes) acknowledgedLoad(some int) (half <-chan struct{}, stop func() []string) {
	ctx, cancel := context.WithCancel(context.Background())
	var (
		writers sync.WaitGroup
		mu      sync.Mutex
		names   []string
		enough  = make(chan struct{})
	)
	for i, p := range c.nodes {
		cl := c.client(p)
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprintf("load/%d/%d", i, n)
				bounded, done := context.WithTimeout(ctx, 2*time.Second)
				_, err := cl.Set(bounded, name, healthpb.HealthCheckResponse_SERVING, client.WriteOptions{})
				done()
				if err != nil {
					continue
				}
				mu.Lock()
				names = append(names, name)
				if len(names) == some {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	return enough, func() []string {
		cancel()
		writers.Wait()
		return names
	}
}

// inspected is what "recover --inspect -o json" prints.
type inspected struct {
	Survivors []struct {
		Node, Data string
		Cluster    string `json:"cluster_id"`
		Index      uint64
		Revision   int64
		Committed  int64 `json:"committed_revision"`
		Missing    []string
	}
	Choices []struct{ Node, Data, Majority string }
}

func inspectSurvivors(t *testing.T, nodes ...*process) (found inspected) {
	t.Helper()
	args := []string{"recover", "--inspect", "-o", "json"}
	for _, p := range nodes {
		args = append(args, p.data)
	}
	if err := json.Unmarshal([]byte(mustRun(t, args...)), &found); err != nil || len(found.Choices) != 1 {
		t.Fatalf("%v: %+v", err, found)
	}
	return found
}

// TestProcessRecover destroys two of three nodes under load. The third becomes a new cluster, which has all that was
// acknowledged and that it had, and goes on. Nodes of the old cluster are refused.
func TestProcessRecover(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	half, stop := c.acknowledgedLoad(300)
	<-half
	c.killAll()
	acknowledged := stop()

	// Which of them has most says the command: that one is left. All three would be a majority, and need no recovery.
	all := inspectSurvivors(t, c.nodes...)
	if !strings.Contains(all.Choices[0].Majority, "nothing needs to be recovered") {
		t.Errorf("%+v", all.Choices)
	}
	var left *process
	for _, p := range c.nodes {
		if p.data == all.Choices[0].Data {
			left = p
		}
	}
	lost := c.others(left)
	if err := os.RemoveAll(lost[0].data); err != nil {
		t.Fatal(err)
	}
	one := inspectSurvivors(t, left)
	was := one.Survivors[0]
	if one.Choices[0].Majority != "" || was.Committed > was.Revision || was.Revision < int64(len(acknowledged)) || len(was.Missing) > 0 {
		t.Errorf("%+v", one)
	}
	saved := mustRun(t, "snapshot", "save", "--data", left.data, left.data+".snapshot")
	if !strings.Contains(saved, fmt.Sprintf("revision %d, log entry %d ", was.Revision, was.Index)) {
		t.Errorf("%s", saved)
	}
	mustRun(t, "snapshot", "inspect", left.data+".snapshot")

	var recovered struct {
		Cluster  string `json:"cluster_id"`
		Revision int64
		Kept     string
		Next     []string
	}
	if err := json.Unmarshal([]byte(mustRun(t, "recover", "--data", left.data, "-o", "json")), &recovered); err != nil {
		t.Fatal(err)
	}
	if recovered.Revision != was.Revision || recovered.Cluster == was.Cluster || !strings.Contains(recovered.Next[0], left.api) {
		t.Errorf("%+v", recovered)
	}
	mustRun(t, "verify", "--data", left.data)
	mustRun(t, "verify", "--data", recovered.Kept)

	// The new cluster has one member.
	for _, m := range left.members {
		if strings.HasPrefix(m, left.name+",") {
			left.members = []string{m}
		}
	}
	left.start()
	left.waitStatus("", healthpb.HealthCheckResponse_SERVING)
	cl := c.client(left)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, name := range acknowledged {
		if got := left.check(ctx, name); got != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%s was acknowledged, and is %s", name, got)
		}
	}
	set, err := cl.Set(ctx, "after", healthpb.HealthCheckResponse_SERVING, client.WriteOptions{})
	if err != nil || set.GetRevision() <= was.Revision {
		t.Errorf("%v, %v", set, err)
	}
	revision := int64(0)
	for e, err := range cl.ListEvents(ctx, client.ListEventsOptions{From: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if revision++; e.GetRevision() != revision {
			t.Fatalf("event %d follows %d", e.GetRevision(), revision-1)
		}
	}

	// One of the old cluster, whose directory was not destroyed after all.
	old := lost[1]
	old.start()
	eventually(t, "a word of the other cluster in the log of the old node", func(context.Context) bool {
		return strings.Contains(old.log.String(), recovered.Cluster[:4]) || !old.running()
	})
	if status := mustRun(t, "status", "-e", left.api); strings.Contains(status, old.name+" ") {
		t.Errorf("the old node has come in:\n%s", status)
	}
	old.kill()

	// Two others join, on empty directories, with what the command said.
	for i, name := range []string{lost[0].name, lost[1].name} {
		p := c.newNode(name)
		p.join = []string{left.peer}
		p.start()
		eventually(t, p.name+" waits to be made a member", func(context.Context) bool {
			return strings.Contains(p.log.String(), "waiting to be made a member of the cluster")
		})
		eventually(t, p.name+" is added", func(context.Context) bool { // the feature level may still have to rise
			exit, _ := rollcall(t, "member", "add", p.name, "--peer", p.peer, "-e", left.api, "--reason", "after the fire")
			return exit == 0
		})
		p.waitStatus("", healthpb.HealthCheckResponse_SERVING)
		cl := c.client(p)
		if _, err := cl.Set(ctx, fmt.Sprintf("joined/%d", i), healthpb.HealthCheckResponse_SERVING, client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		for _, name := range acknowledged[:20] {
			if got := p.check(ctx, name); got != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("%s is %s on %s", name, got, p.name)
			}
		}
	}
	left.kill() // the two are a majority of three, if both vote
	c.set("after-that", healthpb.HealthCheckResponse_SERVING, c.all[len(c.all)-2:]...)
}

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// rollcall runs a command of the binary under test.
func rollcall(t *testing.T, args ...string) (exit int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("rollcall %v: %v", args, err)
	}
	if failed != nil {
		exit = failed.ExitCode()
	}
	return exit, string(out)
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	exit, out := rollcall(t, args...)
	if exit != 0 {
		t.Fatalf("rollcall %v: exit %d\n%s", args, exit, out)
	}
	return out
}

// past is the registry at a revision, and the history up to it.
func past(t *testing.T, cl *client.Client, revision int64) (records map[string]*rollcallv1.ServiceRecord, events []*rollcallv1.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	records = map[string]*rollcallv1.ServiceRecord{}
	for r, err := range cl.List(ctx, client.ListOptions{At: client.AtRevision(revision)}) {
		if err != nil {
			t.Fatal(err)
		}
		records[r.GetService()] = r
	}
	for e, err := range cl.ListEvents(ctx, client.ListEventsOptions{From: 1, To: revision}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return records, events
}

// TestBackup saves a cluster under load and restores it elsewhere: the same map, the same history, and
// writes go on. Every damaged copy of the file is refused and leaves nothing behind.
func TestBackup(t *testing.T) {
	beside(t, ofProcesses)
	old := startProcesses(t, processOptions{})
	ctx, stop := context.WithCancel(context.Background())
	var load sync.WaitGroup
	half := make(chan struct{}, 3)
	for i := range 3 {
		cl := old.client(old.nodes[i])
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				status := healthpb.HealthCheckResponse_SERVING
				if n%3 == 0 {
					status = healthpb.HealthCheckResponse_NOT_SERVING
				}
				if n%7 == 6 {
					_, _ = cl.Delete(ctx, fmt.Sprintf("load/%d/%d", i, n%20), client.WriteOptions{})
				} else {
					_, _ = cl.Set(ctx, fmt.Sprintf("load/%d/%d", i, n%20), status, client.WriteOptions{Reason: fmt.Sprint("turn ", n)})
				}
				if n == 50 {
					half <- struct{}{}
				}
			}
		})
	}
	for range 3 {
		<-half
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "a.snapshot")
	mustRun(t, "snapshot", "save", file, "-e", old.nodes[1].api)
	stop()
	load.Wait()
	if exit, out := rollcall(t, "snapshot", "save", file, "-e", old.nodes[1].api); exit != 1 {
		t.Errorf("a second save into the same file: exit %d, %s", exit, out)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
		t.Errorf("save left %v, %v", found, err)
	}
	inspected := mustRun(t, "snapshot", "inspect", file, "-o", "json")
	var revision int64
	if m := regexp.MustCompile(`"revision": (\d+)`).FindStringSubmatch(inspected); m != nil {
		fmt.Sscan(m[1], &revision)
	}
	if revision < 100 {
		t.Fatalf("the backup is of revision %d: %s", revision, inspected)
	}
	wantRecords, wantEvents := past(t, old.client(), revision)

	fresh := newProcesses(t, processOptions{})
	token := ""
	for i, p := range fresh.nodes {
		args := []string{"snapshot", "restore", file, "--node", p.name, "--data", p.data}
		for _, m := range p.members {
			args = append(args, "--member", m)
		}
		if *logStore != "" {
			args = append(args, "--log-store", *logStore)
		}
		if i == 0 {
			refuseDamaged(t, file, args)
			token = regexp.MustCompile(`--token (\w+)`).FindStringSubmatch(mustRun(t, args...))[1]
		} else {
			mustRun(t, append(args, "--token", token)...)
		}
		if exit, out := rollcall(t, append(args, "--token", token)...); exit != 1 {
			t.Errorf("a second restore into the same directory: exit %d, %s", exit, out)
		}
		mustRun(t, "verify", "--data", p.data)
	}
	fresh.start()
	fresh.waitReady()
	for _, p := range fresh.nodes {
		records, events := past(t, fresh.client(p), revision)
		if len(records) != len(wantRecords) || len(events) != len(wantEvents) {
			t.Fatalf("%s: %d services and %d events, want %d and %d", p.name, len(records), len(events), len(wantRecords), len(wantEvents))
		}
		for name, want := range wantRecords {
			if !proto.Equal(records[name], want) {
				t.Errorf("%s: %v, want %v", p.name, records[name], want)
			}
		}
		for i, want := range wantEvents {
			if !proto.Equal(events[i], want) {
				t.Errorf("%s: event %v, want %v", p.name, events[i], want)
			}
		}
	}
	fresh.set("after", healthpb.HealthCheckResponse_SERVING)
	var events []*rollcallv1.Event
	eventually(t, "the write in the history of any node", func(ctx context.Context) bool {
		events = nil
		for e, err := range fresh.client().ListEvents(ctx, client.ListEventsOptions{From: 1}) {
			if err != nil {
				return false
			}
			events = append(events, e)
		}
		return events[len(events)-1].GetService() == "after"
	})
	for i, e := range events {
		if e.GetRevision() != int64(i)+1 {
			t.Fatalf("event %d has revision %d", i, e.GetRevision())
		}
	}
	eventually(t, "all members to agree", func(context.Context) bool {
		exit, _ := rollcall(t, "verify", "-e", fresh.nodes[2].api)
		return exit == 0
	})
	fresh.killAll()
	for _, p := range fresh.nodes {
		mustRun(t, "verify", "--data", p.data)
	}
	// The old cluster knows nothing of the new one, and goes on.
	mustRun(t, "verify", "-e", old.nodes[0].api)
}

// refuseDamaged restores damaged copies of file.
func refuseDamaged(t *testing.T, file string, restore []string) {
	t.Helper()
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := len(good)
	damaged := map[string][]byte{
		"empty":        nil,
		"foreign":      []byte("#!/bin/sh\necho not a backup\n"),
		"with a tail":  append(append([]byte{}, good...), 0),
		"all but last": good[:n-1],
	}
	for _, at := range []int{4, 11, 40, n / 3, n - 32} {
		damaged[fmt.Sprint("cut at ", at)] = good[:at]
	}
	for _, at := range []int{0, 9, 20, 300, n / 2, n - 40, n - 1} {
		flipped := append([]byte{}, good...)
		flipped[at] ^= 1 << (at % 8)
		damaged[fmt.Sprint("flipped at ", at)] = flipped
	}
	for name, data := range damaged {
		bad := filepath.Join(t.TempDir(), "bad.snapshot")
		if err := os.WriteFile(bad, data, 0o600); err != nil {
			t.Fatal(err)
		}
		args := append([]string{}, restore...)
		args[2] = bad
		exit, out := rollcall(t, args...)
		if exit != 1 || !regexp.MustCompile(`damaged|newer`).MatchString(out) {
			t.Errorf("%s: exit %d, %s", name, exit, out)
		}
		if _, err := os.Stat(restore[6]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: restore left %s: %v", name, restore[6], err)
		}
		if exit, out := rollcall(t, "snapshot", "inspect", bad); exit != 1 {
			t.Errorf("inspect, %s: exit %d, %s", name, exit, out)
		}
	}
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/client"
)

// restored starts three nodes with some history, and returns what makes another cluster of them, with less.
func restored(t *testing.T) (f *fakeCluster, restore func()) {
	f = startBuffered(t, 3)
	f.write(event{service: "a", status: notServing}, event{service: "a", status: serving}, event{service: "b", status: serving},
		event{service: "c", status: serving})
	return f, func() {
		f.restore("b00c", event{service: "a", status: serving}, event{service: "b", status: notServing})
	}
}

func describe(u client.Update) string {
	changed := ""
	if u.ClusterChanged {
		changed = " changed"
	}
	return fmt.Sprintf("%s %s@%d%s", u.Cluster, u.Status, u.Revision, changed)
}

func TestWatchGoesOnWithAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, restore := restored(t)
		w := watch(t, f.client(t), "a")
		synctest.Wait()
		restore()
		time.Sleep(10 * time.Second)
		f.write(event{service: "a", status: notServing})
		w.told()
		var got []string
		for _, u := range w.updates {
			got = append(got, describe(u))
		}
		// The status is the same after the restore. It is told because its revision is.
		want := []string{"3f9a SERVING@2", "b00c SERVING@1 changed", "b00c NOT_SERVING@3"}
		if !slices.Equal(got, want) || w.ended {
			t.Errorf("%q, want %q; ended: %t, %v", got, want, w.ended, w.err)
		}
	})
}

// Of a watch of the node's own names, no revision is told, and so no cluster.
func TestWatchOfOwnNamesBelongsToNoCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, restore := restored(t)
		w := watch(t, f.client(t), "")
		synctest.Wait()
		restore()
		time.Sleep(10 * time.Second)
		f.do(func() {
			for _, n := range f.nodes {
				n.own[""] = notServing
			}
		})
		if got := w.told(); got != "SERVING NOT_SERVING" {
			t.Error(got)
		}
	})
}

func TestWatchServicesBeginsAnewWithAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, restore := restored(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f.do(func() {}) // all nodes are there
		var got []string
		ended := make(chan error, 1)
		go func() {
			var last error
			for u, err := range f.client(t).WatchServices(ctx) {
				if last = err; err != nil {
					break
				}
				var names []string
				for _, r := range u.Services {
					names = append(names, fmt.Sprintf("%s=%s", r.GetService(), r.GetStatus()))
				}
				got = append(got, fmt.Sprintf("%s reset=%t %v -%v synced=%t", u.Cluster, u.Reset, names, u.Deleted, u.Synced))
			}
			ended <- last
		}()
		synctest.Wait()
		restore()
		time.Sleep(10 * time.Second)
		f.write(event{service: "d", status: serving})
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		want := []string{
			"3f9a reset=false [a=SERVING] -[] synced=false", "3f9a reset=false [b=SERVING] -[] synced=false",
			"3f9a reset=false [c=SERVING] -[] synced=false", "3f9a reset=false [] -[] synced=true",
			"b00c reset=true [a=SERVING] -[] synced=false", "b00c reset=false [b=NOT_SERVING] -[] synced=false",
			"b00c reset=false [] -[] synced=true", "b00c reset=false [d=SERVING] -[] synced=true",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
	})
}

func TestWatchEventsEndsWithAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, restore := restored(t)
		c := f.client(t)
		n := 0
		for batch, err := range c.WatchEvents(within(t, time.Minute), client.WatchEventsOptions{From: 1}) {
			if err != nil {
				var e *client.Error
				if !errors.Is(err, client.ErrClusterChanged) || !errors.As(err, &e) || e.ClusterID != "b00c" || e.Reason != client.ReasonClusterChanged {
					t.Errorf("%v", err)
				}
				break
			}
			if batch.Cluster != "3f9a" {
				t.Errorf("%+v", batch)
			}
			if n += len(batch.Events); n == 4 {
				restore()
			}
		}
		if n != 4 || c.Cluster() != "b00c" {
			t.Errorf("%d events, then cluster %s", n, c.Cluster())
		}
		// Who has been told follows the other one.
		for batch, err := range c.WatchEvents(within(t, time.Minute), client.WatchEventsOptions{From: 2}) {
			if err != nil || batch.Cluster != "b00c" {
				t.Errorf("%+v, %v", batch, err)
			}
			break
		}
	})
}

// A node that was set up wrongly, or is the first that was restored, does not take the watches of the others.
func TestAStrayNodeIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := restored(t)
		c := f.client(t)
		w := watch(t, c, "a")
		synctest.Wait()
		f.do(func() { f.nodes[1].stray = "b00c" })
		f.nodes[0].kill()
		time.Sleep(10 * time.Second)
		f.write(event{service: "a", status: notServing})
		if got := w.told(); got != "SERVING NOT_SERVING" || w.updates[1].ClusterChanged || w.updates[1].Cluster != "3f9a" {
			t.Errorf("%s, %+v", got, w.updates)
		}
		if len(f.nodes[1].seen("Watch")) == 0 || c.Cluster() != "3f9a" {
			t.Error("the stray node was not asked")
		}
		if _, err := c.Set(within(t, 5*time.Second), "a", serving, client.WriteOptions{IfRevision: proto.Int64(5)}); err != nil {
			t.Errorf("a conditional write: %v", err)
		}
	})
}

// Also if it is the only one that can be reached for a while: the others may be restarting.
func TestAStrayNodeIsPassedOverWhileTheOthersRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := restored(t)
		w := watch(t, f.client(t), "a")
		synctest.Wait()
		f.do(func() { f.nodes[1].stray = "b00c" })
		f.nodes[0].kill()
		f.nodes[2].kill()
		time.Sleep(3 * time.Second)
		f.nodes[2].start()
		time.Sleep(3 * time.Second)
		f.write(event{service: "a", status: notServing})
		if got := w.told(); got != "SERVING NOT_SERVING" || w.updates[1].ClusterChanged {
			t.Errorf("%s, %+v", got, w.updates)
		}
		f.nodes[2].kill() // for good: then the one that is left counts
		time.Sleep(10 * time.Second)
		if got := w.told(); got != "SERVING NOT_SERVING NOT_SERVING" || !w.updates[2].ClusterChanged || w.updates[2].Cluster != "b00c" {
			t.Errorf("%s, %+v", got, w.updates)
		}
	})
}

// Whatever names a revision is refused by a cluster that knows another revision by that number.
func TestRevisionsOfAnotherClusterAreRefused(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, c *client.Client) error{
		"if revision": func(ctx context.Context, c *client.Client) error {
			_, err := c.Set(ctx, "a", notServing, client.WriteOptions{IfRevision: proto.Int64(1)})
			return err
		},
		"if revision of a batch": func(ctx context.Context, c *client.Client) error {
			_, err := c.SetBatch(ctx, []client.Change{{Service: "b", Status: serving}, {Service: "a", Status: notServing, IfRevision: proto.Int64(1)}}, client.WriteOptions{})
			return err
		},
		"if revision of a delete": func(ctx context.Context, c *client.Client) error {
			_, err := c.Delete(ctx, "a", client.WriteOptions{IfRevision: proto.Int64(1)})
			return err
		},
		"cluster": func(ctx context.Context, c *client.Client) error {
			_, err := c.Set(ctx, "a", notServing, client.WriteOptions{Cluster: "3f9a"})
			return err
		},
		"min revision": func(ctx context.Context, c *client.Client) error {
			_, err := c.Get(client.WithReadOptions(ctx, client.ReadOptions{MinRevision: 1}), "a")
			return err
		},
		"cluster of a read": func(ctx context.Context, c *client.Client) error {
			_, err := c.Check(client.WithReadOptions(ctx, client.ReadOptions{Cluster: "3f9a"}), "a")
			return err
		},
		"revision in the past": func(ctx context.Context, c *client.Client) error {
			_, err := c.GetAt(ctx, "a", client.AtRevision(1))
			return err
		},
		"list in the past": func(ctx context.Context, c *client.Client) error {
			for _, err := range c.List(ctx, client.ListOptions{At: client.AtRevision(1)}) {
				return err
			}
			return nil
		},
		"events from": func(ctx context.Context, c *client.Client) error {
			for _, err := range c.ListEvents(ctx, client.ListEventsOptions{From: 1}) {
				return err
			}
			return nil
		},
		"cluster of a watch": func(ctx context.Context, c *client.Client) error {
			for _, err := range c.WatchEvents(ctx, client.WatchEventsOptions{Cluster: "3f9a"}) {
				return err
			}
			return nil
		},
		"watch from": func(ctx context.Context, c *client.Client) error {
			for _, err := range c.WatchEvents(ctx, client.WatchEventsOptions{From: 1}) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, restore := restored(t)
				c := f.client(t)
				if _, err := c.Get(within(t, 5*time.Second), "a"); err != nil { // learns the cluster
					t.Fatal(err)
				}
				restore()
				time.Sleep(5 * time.Second) // the broken connections are noticed
				err := call(within(t, 30*time.Second), c)
				var e *client.Error
				if !errors.Is(err, client.ErrClusterChanged) || !errors.As(err, &e) || e.Code != codes.FailedPrecondition ||
					e.ClusterID != "b00c" || e.Written != client.WrittenNo {
					t.Fatalf("%v", err)
				}
				if n := len(f.events); n != 2 {
					t.Errorf("it was written: %d events", n)
				}
				// Now the caller knows.
				if strings.HasPrefix(name, "cluster") {
					return
				}
				if err := call(within(t, 30*time.Second), c); err != nil {
					t.Errorf("again: %v", err)
				}
			})
		})
	}
}

func TestPagesBelongToOneCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, restore := restored(t)
		c := f.client(t)
		list := func(next func() (bool, error)) {
			t.Helper()
			for {
				more, err := next()
				if err != nil {
					if !errors.Is(err, client.ErrClusterChanged) {
						t.Error(err)
					}
					return
				}
				if !more {
					t.Error("the list went on in another cluster")
					return
				}
			}
		}
		list(func() (bool, error) {
			for _, err := range c.List(t.Context(), client.ListOptions{PageSize: 1}) {
				if err != nil {
					return false, err
				}
				if f.id == "3f9a" {
					restore()
				}
			}
			return false, nil
		})
		f.restore("3f9a", event{service: "a", status: serving}, event{service: "a", status: notServing})
		c = f.client(t)
		list(func() (bool, error) {
			for _, err := range c.ListEvents(t.Context(), client.ListEventsOptions{PageSize: 1}) {
				if err != nil {
					return false, err
				}
				if f.id == "3f9a" {
					restore()
				}
			}
			return false, nil
		})
	})
}

// Only the cluster that got the first try remembers its request id.
func TestAWriteOfUnknownOutcomeIsNotRepeatedInAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, restore := restored(t)
		c := f.client(t)
		if _, err := c.Set(within(t, 5*time.Second), "z", serving, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		// The answer is lost, and no node answers another try until the cluster is another one.
		busy := func(context.Context, string) error { return refusal(codes.Unavailable, "BUSY", nil) }
		for _, n := range f.nodes {
			n.onAnswer = func(context.Context, int) error {
				f.do(func() {
					for _, n := range f.nodes {
						n.onRead, n.onAnswer = busy, nil
					}
				})
				return refusal(codes.Unknown, "OUTCOME_UNKNOWN", map[string]string{"written": "unknown"})
			}
		}
		time.AfterFunc(5*time.Second, func() {
			restore()
			f.do(func() {
				for _, n := range f.nodes {
					n.onRead = nil
				}
			})
		})
		_, err := c.Set(within(t, 30*time.Second), "a", notServing, client.WriteOptions{RequestID: "once"})
		var e *client.Error
		if !errors.As(err, &e) || e.Written != client.WrittenUnknown || !strings.Contains(e.Message, "cluster_changed") {
			t.Errorf("%v", err)
		}
		if n := len(f.events); n != 2 {
			t.Errorf("it was done in the other cluster: %d events", n)
		}
	})
}

// TestAWatchOfSomeEndpointsBelongsToTheirCluster, whatever cluster the others belong to.
func TestAWatchOfSomeEndpointsBelongsToTheirCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{"a", serving, ""})
		c := f.client(t)
		last := map[string]string{}
		var mu sync.Mutex
		follow := func(name string, endpoints ...string) {
			go func() {
				for u, err := range c.Watch(client.WithEndpoints(t.Context(), endpoints...), "a") {
					if err == nil {
						mu.Lock()
						last[name] = describe(u)
						mu.Unlock()
					}
				}
			}()
		}
		e := c.Endpoints()
		follow("one", e[0])
		follow("half", e[2], e[1])
		time.Sleep(10 * time.Second)
		f.do(func() { f.nodes[0].stray = "b00c" })
		f.nodes[0].drain()
		f.nodes[0].kill()
		f.nodes[0].start()
		time.Sleep(2 * time.Second) // less than what a watch waits when others may serve the old cluster
		mu.Lock()
		defer mu.Unlock()
		if last["one"] != "b00c SERVING@1 changed" || last["half"] != "3f9a SERVING@1" {
			t.Errorf("%q", last)
		}
	})
}

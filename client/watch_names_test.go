package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

func takeNames(t *testing.T, c *client.Client, names ...string) *taken {
	t.Helper()
	return take(t, func(ctx context.Context) iter.Seq2[client.ServicesUpdate, error] {
		return c.WatchNames(ctx, names...)
	}, shortUpdate)
}

// TestWatchNames: each name is told of once the state is complete, others never, and then what changes, across nodes.
func TestWatchNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{"a", serving, ""}, event{"ab", serving, ""}, event{"c", serving, ""})
		w := takeNames(t, f.client(t), "c", "a", "none", "b", "a")
		told := "a=1@3 c=3@3 -b,-none@3!"
		w.want(t, told)
		f.write(event{"ab", notServing, ""})
		w.want(t, told)
		f.write(event{"b", notServing, ""})
		told += " b=5@5!"
		w.want(t, told)
		f.nodes[0].kill()
		f.write(event{"a", missing, ""}, event{"ab", missing, ""}, event{"c", notServing, ""})
		told += " c=8@8 -a@8!"
		w.want(t, told)
		f.nodes[1].breakConnections() // nothing is new at the next node, nor is what does not exist
		w.want(t, told)
		f.write(event{"a", serving, ""})
		told += " a=9@9!"
		w.want(t, told)
		for _, call := range f.nodes[0].seen("WatchServices") {
			if req := call.request.(*rollcallv1.WatchServicesRequest); len(req.GetPrefixes()) > 0 || len(req.GetServices()) != 5 {
				t.Errorf("it asked for %v", req)
			}
		}
	})
}

// TestWatchNamesConcludesNothingEarly: what a node says before its state is complete, or of other services, is not
// believed.
func TestWatchNamesConcludesNothingEarly(t *testing.T) {
	for name, set := range map[string]func(*fakeNode){
		"says first that none exists": func(n *fakeNode) { n.hasty = true },
		"knows no watch by names":     func(n *fakeNode) { n.ignoresNames = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 1)
				f.do(func() { set(f.nodes[0]) })
				f.write(event{"a", serving, ""}, event{"b", serving, ""})
				w := takeNames(t, f.client(t), "a", "none")
				w.want(t, "a=1@2 -none@2!")
				f.write(event{"none", serving, ""}, event{"a", missing, ""})
				synctest.Wait()
				w.mu.Lock()
				defer w.mu.Unlock()
				if got := strings.Join(w.all, " "); got != "a=1@2 -none@2! none=3@3! -a@4!" {
					t.Errorf("%s", got)
				}
			})
		})
	}
}

// TestWatchNamesTellsOfEveryNameOfANewCluster: the first complete state of another cluster tells of each name again.
func TestWatchNamesTellsOfEveryNameOfANewCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, restore := restored(t)
		f.do(func() {})
		w := takeNames(t, f.client(t), "a", "c", "none")
		w.want(t, "a=2@4 c=4@4 -none@4!")
		restore()
		w.want(t, "a=2@4 c=4@4 -none@4! reset:,a=1@2 -c,-none@2!")
	})
}

func TestWatchNamesRefusesWhatNoNodeIsAsked(t *testing.T) {
	f := startBuffered(t, 1)
	c := f.client(t)
	for want, names := range map[string][]string{"no name": nil, "not valid UTF-8": {"a", "b\xff"}} {
		n := 0
		for _, err := range c.WatchNames(t.Context(), names...) {
			n++
			if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != codes.InvalidArgument || !strings.Contains(e.Error(), want) {
				t.Errorf("%q: %v, want %s", names, err, want)
			}
		}
		for _, err := range c.WatchServices(t.Context(), "a", "b\xff") {
			if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != codes.InvalidArgument {
				t.Errorf("%v", err)
			}
		}
		if n != 1 || len(f.nodes[0].seen("WatchServices")) > 0 {
			t.Errorf("%q: %d updates", names, n)
		}
	}
}

func ExampleClient_WatchNames() {
	c, stop := shop()
	defer stop()

	for u, err := range c.WatchNames(context.Background(), "shop/cart", "shop/gift") {
		if err != nil {
			fmt.Println(err)
		}
		for _, r := range u.Services {
			fmt.Println(r.GetService(), r.GetStatus())
		}
		for _, name := range u.Deleted {
			fmt.Println(name, "does not exist")
		}
		if u.Synced {
			break
		}
	}
	// Output:
	// shop/cart SERVING
	// shop/gift does not exist
}

package client_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/client"
)

// askedOf notes the rollcall- metadata of every call, and answers headers to those that have some.
func askedOf(n *fakeNode) *[]string {
	asked := &[]string{}
	n.onRead = func(ctx context.Context, method string) error {
		md, _ := metadata.FromIncomingContext(ctx)
		got := []string{method}
		for _, k := range slices.Sorted(maps.Keys(md)) {
			if strings.HasPrefix(k, "rollcall-") {
				got = append(got, fmt.Sprintf("%s=%s", strings.TrimPrefix(k, "rollcall-"), strings.Join(md[k], "+")))
			}
		}
		*asked = append(*asked, strings.Join(got, " "))
		if len(got) > 1 {
			return grpc.SetHeader(ctx, metadata.Pairs("rollcall-node", "n1", "rollcall-cluster", "c7", "rollcall-revision", "7", "rollcall-age-ms", "1500"))
		}
		return nil
	}
	return asked
}

func TestReadOptions(t *testing.T) {
	stale := 2 * time.Second
	for name, tt := range map[string]struct {
		options client.ReadOptions
		want    string
	}{
		"none":           {client.ReadOptions{}, ""},
		"linearizable":   {client.ReadOptions{Consistency: client.Linearizable}, " consistency=linearizable"},
		"min revision":   {client.ReadOptions{MinRevision: 1, Cluster: "c7"}, " cluster=c7 min-revision=1"},
		"max staleness":  {client.ReadOptions{MaxStaleness: &stale}, " max-staleness=2s"},
		"none at all":    {client.ReadOptions{MaxStaleness: new(time.Duration)}, " max-staleness=0s"},
		"require leader": {client.ReadOptions{RequireLeader: true}, " require-leader=true"},
		"all":            {client.ReadOptions{client.Linearizable, 1, "c7", &stale, true, nil}, " cluster=c7 consistency=linearizable max-staleness=2s min-revision=1 require-leader=true"},
		"cluster":        {client.ReadOptions{Cluster: "c7"}, " cluster=c7"},
		"info alone":     {client.ReadOptions{Info: &client.ReadInfo{}}, " consistency=local"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 1)
				f.id = "c7"
				f.write(event{service: "a", status: serving})
				asked := askedOf(f.nodes[0])
				c := f.client(t)
				ctx := client.WithReadOptions(t.Context(), tt.options)
				if _, err := c.Check(ctx, "a"); err != nil {
					t.Error(err)
				}
				if _, err := c.Get(ctx, "a"); err != nil {
					t.Error(err)
				}
				for _, err := range c.List(ctx, client.ListOptions{}) {
					if err != nil {
						t.Error(err)
					}
				}
				if _, err := c.Set(ctx, "a", notServing, client.WriteOptions{}); err != nil {
					t.Errorf("a change with the same context: %v", err)
				}
				want := []string{"Check" + tt.want, "GetService" + tt.want, "ListServices" + tt.want}
				if !slices.Equal((*asked)[:3], want) {
					t.Errorf("asked %q, want %q", *asked, want)
				}
				if info := tt.options.Info; info != nil && (info.Node != "n1" || info.Cluster != "c7" || info.Revision != 7 || info.Age == nil || *info.Age != 1500*time.Millisecond) {
					t.Errorf("told %+v", info)
				}
			})
		})
	}
}

// The revision of a page and the one that the caller asks for are one key.
func TestReadOptionsAndPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.write(event{service: "a", status: serving}, event{service: "b", status: serving}, event{service: "c", status: serving})
		asked := askedOf(f.nodes[0])
		c := f.client(t)
		ctx := client.WithReadOptions(t.Context(), client.ReadOptions{MinRevision: 2})
		for _, err := range c.List(ctx, client.ListOptions{PageSize: 2}) {
			if err != nil {
				t.Error(err)
			}
		}
		if want := []string{"ListServices min-revision=2", "ListServices cluster=3f9a min-revision=3"}; !slices.Equal(*asked, want) {
			t.Errorf("asked %q, want %q", *asked, want)
		}
	})
}

// What one node cannot confirm, another may.
func TestLinearizableReadMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{service: "a", status: serving})
		f.nodes[0].onRead = func(context.Context, string) error { return refusal(codes.Unavailable, "NOT_FRESH", nil) }
		c := f.client(t)
		ctx := client.WithReadOptions(within(t, 5*time.Second), client.ReadOptions{Consistency: client.Linearizable})
		if s, err := c.Check(ctx, "a"); err != nil || s != serving {
			t.Errorf("%v, %v", s, err)
		}
	})
}

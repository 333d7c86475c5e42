package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// list reads all pages.
func list(t *testing.T, n *testNode, req *rollcallv1.ListServicesRequest) (names []string, pages int) {
	t.Helper()
	ctx := patient(t)
	for {
		res, err := n.reads().ListServices(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, s := range res.GetServices() {
			names = append(names, s.GetService())
		}
		if res.GetNextPageToken() == "" {
			return names, pages
		}
		req.PageToken = res.GetNextPageToken()
	}
}

func TestListServicesPages(t *testing.T) {
	n := single(t)
	var all, shop []string
	for i := range 25 {
		name := fmt.Sprintf("other/%02d", i)
		if i%2 == 0 {
			name = fmt.Sprintf("shop/%02d", i)
			shop = append(shop, name)
		}
		all = append(all, name)
		n.registry.set(name, []Status{serving, notServing}[i%3%2])
	}
	slices.Sort(all)
	for size, pages := range map[int32]int{0: 1, 1: 25, 5: 5, 7: 4, 25: 1, 10_000: 1} {
		got, p := list(t, n, &rollcallv1.ListServicesRequest{PageSize: size})
		if !slices.Equal(got, all) || p != pages {
			t.Errorf("page_size %d: %d pages of %v", size, p, got)
		}
	}
	if got, _ := list(t, n, &rollcallv1.ListServicesRequest{Prefix: "sho", PageSize: 4}); !slices.Equal(got, shop) {
		t.Errorf("prefix: %v", got)
	}
	got, _ := list(t, n, &rollcallv1.ListServicesRequest{Statuses: []Status{notServing}, PageSize: 3})
	if len(got) != 8 {
		t.Errorf("NOT_SERVING: %v", got)
	}
}

func TestAPageFitsWhatClientsReceive(t *testing.T) {
	n := single(t)
	n.registry.reason = strings.Repeat("r", limits.MaxReasonBytes)
	for i := range 6_000 {
		n.registry.services[fmt.Sprintf("%s%05d", strings.Repeat("x", 200), i)] = serving
	}
	got, pages := list(t, n, &rollcallv1.ListServicesRequest{PageSize: limits.MaxPageSize})
	if len(got) != 6_000 || !slices.IsSorted(got) || pages != 2 {
		t.Errorf("%d services in %d pages", len(got), pages)
	}
}

func TestBadListsAreRefused(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	token := encodeToken("3f9a", "shop/a", nil)
	for name, tt := range map[string]struct {
		req     *rollcallv1.ListServicesRequest
		message string
	}{
		"negative page_size":      {&rollcallv1.ListServicesRequest{PageSize: -1}, "page_size is -1"},
		"large page_size":         {&rollcallv1.ListServicesRequest{PageSize: 10_001}, "page_size is 10001"},
		"long prefix":             {&rollcallv1.ListServicesRequest{Prefix: strings.Repeat("x", 257)}, "prefix is 257 bytes"},
		"not a token":             {&rollcallv1.ListServicesRequest{PageToken: "!"}, "page_token is not one"},
		"a token of another kind": {&rollcallv1.ListServicesRequest{PageToken: "AmE"}, "page_token is not one"},
		"an empty token":          {&rollcallv1.ListServicesRequest{PageToken: "AQ"}, "page_token is not one"},
		"a huge token":            {&rollcallv1.ListServicesRequest{PageToken: strings.Repeat("A", 10_000)}, "page_token is not one"},
		"another list's token":    {&rollcallv1.ListServicesRequest{PageToken: token, Prefix: "other"}, "another prefix"},
		"no such status":          {&rollcallv1.ListServicesRequest{Statuses: []Status{9}}, "statuses[0] is 9"},
		"a status twice":          {&rollcallv1.ListServicesRequest{Statuses: []Status{serving, serving}}, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := n.reads().ListServices(ctx, tt.req)
			checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, tt.message})
		})
	}
}

func TestGetService(t *testing.T) {
	n := single(t)
	n.registry.set("a", notServing)
	res, err := n.reads().GetService(patient(t), &rollcallv1.GetServiceRequest{Service: "a"})
	if err != nil || res.GetRevision() != 1 || res.GetService().GetStatus() != notServing {
		t.Errorf("%v %v", res, err)
	}
}

func FuzzListValidate(f *testing.F) {
	f.Add("", "", int32(0), int32(1))
	f.Add("shop", encodeToken("3f9a", "shop/a", nil), int32(5), int32(9))
	f.Fuzz(func(t *testing.T, prefix, token string, size, st int32) {
		after, at, err := validateList(&rollcallv1.ListServicesRequest{Prefix: prefix, PageToken: token, PageSize: size, Statuses: []Status{Status(st)}}, "3f9a")
		if err != nil {
			if proto.Size(errorInfoOf(err)) == 0 {
				t.Errorf("%v has no details", err)
			}
			return
		}
		if size < 0 || size > limits.MaxPageSize || !strings.HasPrefix(after, prefix) && after != "" {
			t.Errorf("accepted page_size %d, after %q of %q", size, after, prefix)
		}
		if encodeToken("3f9a", after, at) != token {
			t.Errorf("token %q is another way to write %q", token, encodeToken("3f9a", after, at))
		}
	})
}

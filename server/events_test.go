package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// listEvents reads all pages from the nodes in turn.
func listEvents(t *testing.T, ctx context.Context, req *rollcallv1.ListEventsRequest, nodes ...*testNode) (revisions []int64, pages int) {
	t.Helper()
	req = proto.CloneOf(req)
	for {
		res, err := nodes[pages%len(nodes)].reads().ListEvents(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, e := range res.GetEvents() {
			revisions = append(revisions, e.GetRevision())
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			return revisions, pages
		}
	}
}

func second(n int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(n, 0)) }

func TestListEvents(t *testing.T) {
	c := newTestCluster(t, 2)
	c.elect("n1")
	a, b := c.nodes["n1"], c.nodes["n2"]
	ctx := patient(t)
	for _, n := range []*testNode{a, b} {
		n.registry.set("shop/a", serving)                          // 1, at 1 s
		n.registry.setAll(notServing, "shop/a", "shop/b", "other") // 2 to 4, at 4 s
		n.registry.set("shop/b", serviceUnknown)                   // 5, at 5 s
		n.registry.set("other", serving)                           // 6, at 6 s
		n.registry.events[5].Actor.Name = "bob"
		n.registry.events[0].Actor.OnBehalfOf = "eve"
	}
	deleted := []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_DELETED}
	for name, tt := range map[string]struct {
		req  *rollcallv1.ListEventsRequest
		want []int64
	}{
		"all":                {&rollcallv1.ListEventsRequest{}, []int64{1, 2, 3, 4, 5, 6}},
		"newest first":       {&rollcallv1.ListEventsRequest{NewestFirst: true}, []int64{6, 5, 4, 3, 2, 1}},
		"a range":            {&rollcallv1.ListEventsRequest{FromRevision: 2, ToRevision: 5}, []int64{2, 3, 4, 5}},
		"a range, backwards": {&rollcallv1.ListEventsRequest{FromRevision: 2, ToRevision: 5, NewestFirst: true}, []int64{5, 4, 3, 2}},
		"a range beyond":     {&rollcallv1.ListEventsRequest{FromRevision: 5, ToRevision: 50}, []int64{5, 6}},
		"the future":         {&rollcallv1.ListEventsRequest{FromRevision: 50}, nil},
		"a service":          {&rollcallv1.ListEventsRequest{Service: "shop/b"}, []int64{3, 5}},
		"prefixes":           {&rollcallv1.ListEventsRequest{Prefixes: []string{"shop/a", "oth"}}, []int64{1, 2, 4, 6}},
		"an actor":           {&rollcallv1.ListEventsRequest{Actor: "bob"}, []int64{6}},
		"on whose behalf":    {&rollcallv1.ListEventsRequest{Actor: "eve"}, []int64{1}},
		"types":              {&rollcallv1.ListEventsRequest{Types: deleted}, []int64{5}},
		"from a time":        {&rollcallv1.ListEventsRequest{FromTime: second(4)}, []int64{2, 3, 4, 5, 6}},
		"between events":     {&rollcallv1.ListEventsRequest{FromTime: second(2), ToTime: second(3)}, nil},
		"to a time":          {&rollcallv1.ListEventsRequest{ToTime: second(4)}, []int64{1, 2, 3, 4}},
		"before all":         {&rollcallv1.ListEventsRequest{ToTime: second(0)}, nil},
		"time and revision":  {&rollcallv1.ListEventsRequest{FromTime: second(2), FromRevision: 3, ToTime: second(5), ToRevision: 4}, []int64{3, 4}},
		"nothing":            {&rollcallv1.ListEventsRequest{Service: "none", Types: deleted}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int32{0, 1, 2} {
				req := proto.CloneOf(tt.req)
				req.PageSize = size
				if got, _ := listEvents(t, ctx, req, a, b); !slices.Equal(got, tt.want) {
					t.Errorf("page_size %d: %v, want %v", size, got, tt.want)
				}
			}
		})
	}
	// A scan that is bounded gives what it found, if only a token.
	a.registry.looks = 2
	if got, pages := listEvents(t, ctx, &rollcallv1.ListEventsRequest{Service: "", Actor: "bob"}, a); !slices.Equal(got, []int64{6}) || pages != 3 {
		t.Errorf("%v in %d pages", got, pages)
	}
	a.registry.looks = 0
	// What is written between two pages is not in the list.
	for _, first := range []bool{false, true} {
		res, err := a.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{PageSize: 5, NewestFirst: first})
		if err != nil || res.GetRevision() < 6 || res.GetOldestRevision() != 1 {
			t.Fatal(res, err)
		}
		a.registry.set("later", serving)
		res, err = a.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{PageToken: res.GetNextPageToken(), NewestFirst: first})
		if want := map[bool]int{false: 1, true: 2}[first]; err != nil || len(res.GetEvents()) != want || res.GetNextPageToken() != "" {
			t.Errorf("newest first %v: %v %v", first, res, err)
		}
	}
	res, err := a.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	a.registry.mu.Lock()
	a.registry.oldest = 4
	a.registry.mu.Unlock()
	_, err = a.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{FromRevision: 3, NewestFirst: true})
	checkError(t, err, want{codes.OutOfRange, rpcerror.ReasonCompacted, "", map[string]string{rpcerror.MetaOldestRevision: "4"}, "revision 3 is asked for"})
	_, err = a.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{PageToken: res.GetNextPageToken()})
	checkError(t, err, want{codes.OutOfRange, rpcerror.ReasonCompacted, "", map[string]string{rpcerror.MetaOldestRevision: "4"}, "revision 2 is asked for"})
	for name, req := range map[string]*rollcallv1.ListEventsRequest{"without a beginning": {ToRevision: 6}, "from a time": {FromTime: second(1), ToRevision: 6}} {
		if got, _ := listEvents(t, ctx, req, a); !slices.Equal(got, []int64{4, 5, 6}) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The next page of a list, and of a past moment, is only had from a node that is as far.
func TestTheNextPageWaitsForItsRevision(t *testing.T) {
	bubble(t, "virtual", func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n1")
		a, b := c.nodes["n1"], c.nodes["n2"]
		ctx := timeout(t, time.Hour)
		a.registry.setAll(serving, "a", "b", "c")
		events, err := a.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{PageSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		at := &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: 3}}
		services, err := a.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{PageSize: 1, At: at})
		if err != nil {
			t.Fatal(err)
		}
		behind := want{codes.Unavailable, rpcerror.ReasonRevisionNotReached, "", nil, "revision 3"}
		next := &rollcallv1.ListEventsRequest{PageToken: events.GetNextPageToken()}
		_, err = b.reads().ListEvents(ctx, next)
		checkError(t, err, behind)
		nextServices := &rollcallv1.ListServicesRequest{PageToken: services.GetNextPageToken(), At: at}
		_, err = b.reads().ListServices(ctx, nextServices)
		checkError(t, err, behind)
		b.registry.setAll(serving, "a", "b", "c")
		if res, err := b.reads().ListEvents(ctx, next); err != nil || len(res.GetEvents()) != 2 {
			t.Error(res, err)
		}
		if res, err := b.reads().ListServices(ctx, nextServices); err != nil || len(res.GetServices()) != 2 {
			t.Error(res, err)
		}
	})
}

func TestAPageOfEventsFitsWhatClientsReceive(t *testing.T) {
	n := single(t)
	for range 6_000 {
		n.registry.set(strings.Repeat("x", 200), serving)
	}
	for _, e := range n.registry.events {
		e.Reason = strings.Repeat("r", limits.MaxReasonBytes)
	}
	got, pages := listEvents(t, patient(t), &rollcallv1.ListEventsRequest{PageSize: limits.MaxPageSize}, n)
	if len(got) != 6_000 || !slices.IsSorted(got) || pages != 2 {
		t.Errorf("%d events in %d pages", len(got), pages)
	}
}

func TestBadListsOfEventsAreRefused(t *testing.T) {
	n := single(t)
	n.registry.set("a", serving)
	n.registry.set("a", serving)
	ctx := patient(t)
	token := (&eventRange{1, 2}).token("3f9a", &rollcallv1.ListEventsRequest{})
	for message, req := range map[string]*rollcallv1.ListEventsRequest{
		"prefixes[0] is 257 bytes":            {Prefixes: []string{strings.Repeat("x", 257)}},
		"service is 257 bytes":                {Service: strings.Repeat("x", 257)},
		"service is given, and prefixes too":  {Service: "a", Prefixes: []string{"a"}},
		"from_revision is -1":                 {FromRevision: -1},
		"to_revision is -1":                   {ToRevision: -1},
		"to_revision is 1, before":            {FromRevision: 2, ToRevision: 1},
		"from_time is not a time; it must be": {FromTime: &timestamppb.Timestamp{Nanos: -1}},
		"to_time is 9999-12-31":               {ToTime: timestamppb.New(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))},
		"to_time is before from_time":         {FromTime: second(2), ToTime: second(1)},
		"actor is 257 bytes":                  {Actor: strings.Repeat("x", 257)},
		"types[0] is 0":                       {Types: []rollcallv1.EventType{0}},
		"types[1] is 77":                      {Types: []rollcallv1.EventType{1, 77}},
		"page_size is -1":                     {PageSize: -1},
		"page_size is 10001":                  {PageSize: 10_001},
		"page_token is not one that":          {PageToken: "!"},
		"page_token belongs to another list:": {PageToken: token, Actor: "bob"},
	} {
		t.Run(message, func(t *testing.T) {
			_, err := n.reads().ListEvents(ctx, req)
			checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, message})
		})
	}
}

// TestEventsWhollyBeforeWhatIsKept: an empty list would say that nothing happened then.
func TestEventsWhollyBeforeWhatIsKept(t *testing.T) {
	c := newTestCluster(t, 1)
	c.elect("n1")
	n := c.nodes["n1"]
	for range 8 {
		n.registry.setAll(serving, "a", "b")
		n.registry.setAll(notServing, "a", "b")
	}
	ctx := patient(t)
	list := func(req *rollcallv1.ListEventsRequest) (*rollcallv1.ListEventsResponse, error) {
		return n.reads().ListEvents(ctx, req)
	}
	for name, req := range map[string]*rollcallv1.ListEventsRequest{
		"nothing had happened":        {ToTime: second(0)},
		"nothing of that service had": {ToRevision: 3, Service: "c"},
	} {
		if res, err := list(req); err != nil || len(res.GetEvents()) > 0 {
			t.Errorf("%s: %v %v", name, res, err)
		}
	}
	n.registry.oldest = 10
	for name, req := range map[string]*rollcallv1.ListEventsRequest{
		"until a revision":           {ToRevision: 9},
		"until a revision, reversed": {ToRevision: 9, NewestFirst: true},
		"until a revision, filtered": {ToRevision: 5, Service: "c", Actor: "nobody"},
		"until a time":               {ToTime: second(4)},
		"until a time, reversed":     {ToTime: second(4), NewestFirst: true},
		"between times":              {FromTime: second(2), ToTime: second(4), Prefixes: []string{"a"}},
		"between revision and time":  {FromRevision: 12, ToTime: second(4)},
		"since, until a revision":    {FromTime: second(2), ToRevision: 4},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := list(req)
			checkError(t, err, want{codes.OutOfRange, rpcerror.ReasonCompacted, "", map[string]string{rpcerror.MetaOldestRevision: "10"}, "before revision 10 is not kept"})
		})
	}
	for name, tt := range map[string]struct {
		req  *rollcallv1.ListEventsRequest
		want string
	}{
		"the oldest":    {&rollcallv1.ListEventsRequest{ToRevision: 10}, "10"},
		"begins before": {&rollcallv1.ListEventsRequest{FromTime: second(1), ToRevision: 11}, "10 11"},
	} {
		var got []string
		res, err := list(tt.req)
		for _, e := range res.GetEvents() {
			got = append(got, fmt.Sprint(e.GetRevision()))
		}
		if s := strings.Join(got, " "); err != nil || s != tt.want {
			t.Errorf("%s: %q, want %q; %v", name, s, tt.want, err)
		}
	}
}

func FuzzListEventsValidate(f *testing.F) {
	f.Add("a", "shop/", "ann", "", int64(1), int64(2), int64(0), int32(1))
	f.Add("", "", "", (&eventRange{0, 7}).token("3f9a", &rollcallv1.ListEventsRequest{}), int64(0), int64(0), int64(-1), int32(0))
	f.Fuzz(func(t *testing.T, service, prefix, actor, token string, from, to, seconds int64, typ int32) {
		req := &rollcallv1.ListEventsRequest{Service: service, FromRevision: from, ToRevision: to, Actor: actor, PageToken: token, ToTime: second(seconds)}
		if prefix != "" {
			req.Prefixes = []string{prefix}
		}
		if typ != 0 {
			req.Types = []rollcallv1.EventType{rollcallv1.EventType(typ)}
		}
		at, err := validateListEvents(req, "3f9a")
		switch {
		case err != nil && proto.Size(errorInfoOf(err)) == 0:
			t.Errorf("%v has no details", err)
		case err == nil && at != nil && at.token("3f9a", req) != token:
			t.Errorf("token %q is another way to write %q", token, at.token("3f9a", req))
		case err == nil && (from < 0 || to < 0 || service != "" && prefix != ""):
			t.Errorf("accepted %v", req)
		}
	})
}

func TestPast(t *testing.T) {
	c := newTestCluster(t, 2)
	c.elect("n1")
	a, b := c.nodes["n1"], c.nodes["n2"]
	ctx := patient(t)
	for _, n := range []*testNode{a, b} {
		n.registry.set("x", serving)                    // 1
		n.registry.setAll(notServing, "w", "x", "y")    // 2 to 4
		n.registry.set("x", serviceUnknown)             // 5
		n.registry.setAll(serving, "v", "w", "x", "y2") // 6 to 9
	}
	at := func(revision int64) *rollcallv1.At {
		return &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: revision}}
	}
	when := func(seconds int64) *rollcallv1.At {
		return &rollcallv1.At{At: &rollcallv1.At_Time{Time: second(seconds)}}
	}
	for name, tt := range map[string]struct {
		at       *rollcallv1.At
		want     string
		revision int64
	}{
		"the beginning":       {at(0), "", 0},
		"a write":             {at(1), "x=1", 1},
		"within a batch":      {at(3), "x=1", 1},
		"the end of a batch":  {at(4), "w=2 x=3 y=4", 4},
		"a deletion":          {at(5), "w=2 y=4", 5},
		"now":                 {at(9), "v=6 w=7 x=8 y=4 y2=9", 9},
		"a time":              {when(4), "w=2 x=3 y=4", 4},
		"between two times":   {when(8), "w=2 y=4", 5},
		"before all":          {when(0), "", 0},
		"after all":           {when(1000), "v=6 w=7 x=8 y=4 y2=9", 9},
		"within the last one": {at(8), "w=2 y=4", 5},
	} {
		t.Run(name, func(t *testing.T) {
			for size := range int32(4) {
				var got []string
				req := &rollcallv1.ListServicesRequest{At: tt.at, PageSize: size}
				for nodes := []*testNode{a, b}; ; nodes[0], nodes[1] = nodes[1], nodes[0] {
					res, err := nodes[0].reads().ListServices(ctx, req)
					if err != nil {
						t.Fatal(err)
					}
					if res.GetRevision() != tt.revision {
						t.Errorf("it is as of %d, want %d", res.GetRevision(), tt.revision)
					}
					for _, r := range res.GetServices() {
						got = append(got, fmt.Sprintf("%s=%d", r.GetService(), r.GetReport().GetRevision()))
					}
					if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
						break
					}
				}
				if s := strings.Join(got, " "); s != tt.want {
					t.Errorf("page_size %d: %q, want %q", size, s, tt.want)
				}
			}
			res, err := a.reads().GetService(ctx, &rollcallv1.GetServiceRequest{Service: "x", At: tt.at})
			if !strings.Contains(tt.want, "x=") {
				checkError(t, err, want{codes.NotFound, rpcerror.ReasonNotFound, "", nil, fmt.Sprintf("at revision %d", tt.revision)})
			} else if err != nil || res.GetRevision() != tt.revision || !strings.Contains(tt.want, fmt.Sprintf("x=%d", res.GetService().GetReport().GetRevision())) {
				t.Errorf("%v %v", res, err)
			}
		})
	}
	a.registry.oldest = 6
	ahead := &rollcallv1.At{At: &rollcallv1.At_Time{Time: timestamppb.New(a.now.Add(timeTolerance + 1))}}
	soon := &rollcallv1.At{At: &rollcallv1.At_Time{Time: timestamppb.New(a.now.Add(timeTolerance))}}
	if res, err := a.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{At: soon}); err != nil || res.GetRevision() != 9 {
		t.Errorf("within the tolerance: %v %v", res, err)
	}
	past := encodeToken("3f9a", "a", &asOf{5})
	for name, tt := range map[string]struct {
		at    *rollcallv1.At
		token string
		w     want
	}{
		"ahead":             {at(10), "", want{codes.OutOfRange, rpcerror.ReasonAhead, "", map[string]string{rpcerror.MetaCurrentRevision: "9"}, "this node is at revision 9"}},
		"compacted":         {at(4), "", want{codes.OutOfRange, rpcerror.ReasonCompacted, "", map[string]string{rpcerror.MetaOldestRevision: "6"}, "revision 4 is asked for"}},
		"an early time":     {when(2), "", want{codes.OutOfRange, rpcerror.ReasonCompacted, "", map[string]string{rpcerror.MetaOldestRevision: "6"}, "at.time 1970"}},
		"a time ahead":      {ahead, "", want{codes.OutOfRange, rpcerror.ReasonTimeAhead, "", nil, "is in the future"}},
		"before zero":       {at(-1), "", want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "at.revision is -1"}},
		"another's token":   {nil, past, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "another point in time"}},
		"a present token":   {at(9), encodeToken("3f9a", "a", nil), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "another point in time"}},
		"a token ahead":     {at(9), encodeToken("3f9a", "a", nil)[:1] + "!", want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "not one that"}},
		"half a past token": {at(9), "AwAA", want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "not one that"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{At: tt.at, PageToken: tt.token})
			checkError(t, err, tt.w)
			if tt.token == "" {
				_, err = a.reads().GetService(ctx, &rollcallv1.GetServiceRequest{Service: "x", At: tt.at})
				checkError(t, err, tt.w)
			}
		})
	}
}

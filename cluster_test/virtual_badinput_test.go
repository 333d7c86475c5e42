package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// reason is the ErrorInfo's of rollcall's domain, or "".
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == "rollcall" {
			return info.GetReason()
		}
	}
	return ""
}

// TestVirtualNamesThatLookTheSameAreTheSame: what looks like the name of a service that is there cannot be
// written, is refused with the character that is wrong, and can be looked up and watched like any name that
// does not exist.
func TestVirtualNamesThatLookTheSameAreTheSame(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx := context.Background()
		cl := c.client()
		defer cl.Close()
		for _, name := range []string{"payments", "caf\u00e9", "\ud55c\uae00"} {
			if _, err := cl.Set(ctx, name, serving, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		revision := c.caughtUp()
		n := c.others(c.leader())[0]
		admin, registry, health := rollcallv1.NewAdminClient(n.dial()), rollcallv1.NewRegistryClient(n.dial()), healthpb.NewHealthClient(n.dial())
		for name, says := range map[string]string{
			"pay\u200bments":           "U+200B at byte 4 is not allowed",
			"\u202epayments":           "U+202E at byte 1 is not allowed",
			"payments\u2060":           "U+2060 at byte 9 is not allowed",
			"\ufeffpayments":           "U+FEFF at byte 1 is not allowed",
			"payments\u00ad":           "U+00AD at byte 9 is not allowed",
			"payments\u034f":           "U+034F at byte 9 is not allowed",
			"payments\ufe0f":           "U+FE0F at byte 9 is not allowed",
			"payments\U000e0100":       "U+E0100 at byte 9 is not allowed",
			"payments\U000e0041":       "U+E0041 at byte 9 is not allowed",
			"payments\u180b":           "U+180B at byte 9 is not allowed",
			"payments\u3164":           "U+3164 at byte 9 is not allowed",
			"\u115fpayments":           "U+115F at byte 1 is not allowed",
			"payments\uffa0":           "U+FFA0 at byte 9 is not allowed",
			"payments\u2800":           "U+2800 at byte 9 is not allowed",
			"payments\u2028":           "U+2028 at byte 9 is not allowed",
			"payments\u00a0":           "U+00A0 at byte 9 is not allowed",
			"payments\ue000":           "U+E000 at byte 9 is not allowed",
			"payments\ufffd":           "U+FFFD at byte 9 is not allowed",
			"payments\u0378":           "U+0378 at byte 9 is not allowed",
			"payments\U0010ffff":       "U+10FFFF at byte 9 is not allowed",
			"cafe\u0301":               "U+0301 at byte 5 is written otherwise",
			"\u1112\u1161\u11ab\uae00": "U+1161 at byte 4 is written otherwise",
			"\u212bngstrom":            "U+212B at byte 1 is written otherwise",
			"\u0301payments":           "U+0301 at byte 1 is not allowed there",
			"team/\u0301payments":      "U+0301 at byte 6 is not allowed there",
		} {
			status0, zero := serving, int64(0)
			for what, err := range map[string]error{
				"set": func() error {
					_, err := admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: name, Status: &status0})
					return err
				}(),
				"delete": func() error {
					_, err := admin.DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: name})
					return err
				}(),
				"batch": func() error {
					_, err := admin.BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{Changes: []*rollcallv1.StatusChange{
						{Service: "fresh", Status: &status0}, {Service: name, Status: &status0, IfRevision: &zero}}})
					return err
				}(),
			} {
				if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), says) {
					t.Errorf("%s of %+q: %v, want it to say %s", what, name, err, says)
				}
			}
			if _, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: name}); status.Code(err) != codes.NotFound {
				t.Errorf("check of %+q: %v", name, err)
			}
			if _, err := registry.GetService(ctx, &rollcallv1.GetServiceRequest{Service: name}); status.Code(err) != codes.NotFound || !strings.Contains(status.Convert(err).Message(), says) {
				t.Errorf("get of %+q: %v", name, err)
			}
			if list, err := registry.ListServices(ctx, &rollcallv1.ListServicesRequest{Prefix: name}); err != nil || len(list.GetServices()) != 0 {
				t.Errorf("list of %+q: %v, %v", name, list, err)
			}
		}
		if after := c.caughtUp(); after != revision {
			t.Errorf("%d events were made", after-revision)
		}
	})
}

// TestVirtualP12BadInput sends what must be refused, through the leader and through a follower: one
// clear error each, no event, no log entry, nobody woken.
func TestVirtualP12BadInput(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx := context.Background()
		cl := c.client()
		defer cl.Close()
		if _, err := cl.Set(ctx, "payments", serving, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		leader := c.leader()
		revision := c.caughtUp()
		type set = rollcallv1.SetServingStatusRequest
		ok, negative, stale := serving, int64(-1), int64(12345)
		bogus := healthpb.HealthCheckResponse_ServingStatus(77)
		gone := noService
		long := strings.Repeat("x", 257)
		many := make([]*rollcallv1.StatusChange, 10_001)
		for i := range many {
			many[i] = &rollcallv1.StatusChange{Service: fmt.Sprintf("s%d", i), Status: &ok}
		}
		for _, n := range []*virtualNode{leader, c.others(leader)[0]} {
			admin := rollcallv1.NewAdminClient(n.dial())
			registry := rollcallv1.NewRegistryClient(n.dial())
			health := healthpb.NewHealthClient(n.dial())
			one := func(r *set) func() error {
				return func() error { _, err := admin.SetServingStatus(ctx, r); return err }
			}
			batch := func(changes ...*rollcallv1.StatusChange) func() error {
				return func() error {
					_, err := admin.BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{Changes: changes})
					return err
				}
			}
			for _, tc := range []struct {
				name string
				call func() error
				want codes.Code
			}{
				{"no status", one(&set{Service: "a"}), codes.InvalidArgument},
				{"unknown status", one(&set{Service: "a", Status: &bogus}), codes.InvalidArgument},
				{"SERVICE_UNKNOWN", one(&set{Service: "a", Status: &gone}), codes.InvalidArgument},
				{"no name", one(&set{Status: &ok}), codes.InvalidArgument},
				{"own name", one(&set{Service: "rollcall.live", Status: &ok}), codes.InvalidArgument},
				{"white space", one(&set{Service: "a b", Status: &ok}), codes.InvalidArgument},
				{"asterisk", one(&set{Service: "shop/*", Status: &ok}), codes.InvalidArgument},
				{"control character", one(&set{Service: "a\x00", Status: &ok}), codes.InvalidArgument},
				{"long name", one(&set{Service: long, Status: &ok}), codes.InvalidArgument},
				{"long reason", one(&set{Service: "a", Status: &ok, Reason: strings.Repeat("x", 1025)}), codes.InvalidArgument},
				{"long actor", one(&set{Service: "a", Status: &ok, Actor: long}), codes.InvalidArgument},
				{"long request id", one(&set{Service: "a", Status: &ok, RequestId: strings.Repeat("x", 65)}), codes.InvalidArgument},
				{"negative if_revision", one(&set{Service: "a", Status: &ok, IfRevision: &negative}), codes.InvalidArgument},
				{"stale if_revision", one(&set{Service: "payments", Status: &ok, IfRevision: &stale}), codes.FailedPrecondition},
				{"empty batch", batch(), codes.InvalidArgument},
				{"batch of too many", batch(many...), codes.InvalidArgument},
				{"service twice in a batch", batch(&rollcallv1.StatusChange{Service: "a", Status: &ok}, &rollcallv1.StatusChange{Service: "a", Status: &ok}), codes.InvalidArgument},
				{"null in a batch", batch(&rollcallv1.StatusChange{Service: "a", Status: &ok}, &rollcallv1.StatusChange{}), codes.InvalidArgument},
				{"one stale in a batch", batch(&rollcallv1.StatusChange{Service: "fresh", Status: &ok}, &rollcallv1.StatusChange{Service: "payments", Status: &gone, IfRevision: &stale}), codes.FailedPrecondition},
				{"delete what is not there", func() error {
					_, err := admin.DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "nothing"})
					return err
				}, codes.NotFound},
				{"get what is not there", func() error {
					_, err := registry.GetService(ctx, &rollcallv1.GetServiceRequest{Service: "nothing"})
					return err
				}, codes.NotFound},
				{"bad page token", func() error {
					_, err := registry.ListServices(ctx, &rollcallv1.ListServicesRequest{PageToken: "?"})
					return err
				}, codes.InvalidArgument},
				{"check a long name", func() error {
					_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: long})
					return err
				}, codes.InvalidArgument},
				{"check what is not there", func() error {
					_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: "nothing"})
					return err
				}, codes.NotFound},
				{"misspelt metadata", func() error {
					ctx := metadata.AppendToOutgoingContext(ctx, "rollcall-min-revison", "1")
					_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
					return err
				}, codes.InvalidArgument},
				{"watch a long name", func() error {
					stream, err := health.Watch(ctx, &healthpb.HealthCheckRequest{Service: long})
					if err != nil {
						return err
					}
					_, err = stream.Recv()
					return err
				}, codes.InvalidArgument},
			} {
				err := tc.call()
				if status.Code(err) != tc.want || reason(err) == "" || status.Convert(err).Message() == "" {
					t.Errorf("%s on %s: %v with reason %q, want %s with a reason", tc.name, n.cfg.Name, err, reason(err), tc.want)
				}
			}
		}
		if got := c.caughtUp(); got != revision {
			t.Errorf("revision %d became %d", revision, got)
		}
		for _, n := range c.nodes {
			if got := n.services(); len(got) != 1 || got["payments"].GetStatus() != serving {
				t.Errorf("%s holds %v", n.cfg.Name, got)
			}
		}
	})
}

// TestVirtualP12BadCommand hands the leader what no follower of this version would forward, as one of
// another version might: the leader, or the fold of every node, refuses it, with nothing changed.
func TestVirtualP12BadCommand(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx := context.Background()
		cl := c.client()
		defer cl.Close()
		c.set(cl, "payments", serving)
		c.awaitLevel(logv1.LevelLayers)
		leader := c.leader()
		revision := c.caughtUp()
		follower := c.others(leader)[0]
		conn, err := grpc.NewClient("passthrough:///leader", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return follower.node.DialPeer(ctx, leader.cfg.Name)
			}))
		must(t, err)
		defer conn.Close()
		peer := peerv1.NewPeerClient(conn)
		write := func(changes ...*logv1.Change) *logv1.Command {
			return &logv1.Command{Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: changes}}}
		}
		change := func(service string) *logv1.Change {
			return &logv1.Change{Service: service, Status: logv1.Status_STATUS_NOT_SERVING}
		}
		with := func(edit func(*logv1.Command)) *logv1.Command {
			cmd := write(change("payments"))
			edit(cmd)
			return cmd
		}
		long, negative := strings.Repeat("x", 2000), int64(-1)
		many := make([]*logv1.Change, 10_001)
		for i := range many {
			many[i] = change(fmt.Sprintf("s%d", i))
		}
		for name, cmd := range map[string]*logv1.Command{
			"nothing":               nil,
			"of no kind":            {Reason: "x"},
			"no changes":            write(),
			"too many changes":      write(many...),
			"no name":               write(change("")),
			"own name":              write(change("rollcall.live")),
			"white space":           write(change("a b")),
			"long name":             write(change(long)),
			"unknown status":        write(&logv1.Change{Service: "payments", Status: 77}),
			"negative if_revision":  write(&logv1.Change{Service: "payments", IfRevision: &negative}),
			"service twice":         write(change("payments"), change("payments")),
			"one bad among good":    write(change("fresh"), change("a b")),
			"another member":        {Kind: &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{Name: leader.cfg.Name, ApiAddress: "127.0.0.9:1", PeerAddress: "127.0.0.9:2", DirectoryId: directoryID(t, leader.cfg.DataDir), Level: logv1.LevelNumber(logv1.Level)}}}},
			"long lease id":         write(&logv1.Change{Service: "payments", LeaseId: long}),
			"long reason":           with(func(cmd *logv1.Command) { cmd.Reason = long }),
			"long actor":            with(func(cmd *logv1.Command) { cmd.Actor = &logv1.Actor{Name: long} }),
			"long request id":       with(func(cmd *logv1.Command) { cmd.RequestId = long }),
			"start of a term":       {Kind: &logv1.Command_TermStart{TermStart: &logv1.TermStart{Term: 99, Leader: "n9", ClusterId: "other"}}},
			"member without a name": {Kind: &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{}}},
			"member with another's directory": {Kind: &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{
				Member: &logv1.Member{Name: "n1", DirectoryId: "another"}}}},
		} {
			resp, err := forward(ctx, peer, cmd)
			switch {
			case err != nil && (status.Code(err) != codes.InvalidArgument || reason(err) == ""):
				t.Errorf("%s: %v", name, err)
			case err == nil && (resp.GetResult().GetRefusal().GetReason() != logv1.Refusal_REASON_INVALID || resp.GetResult().GetRefusal().GetProblem() == logv1.Refusal_PROBLEM_UNSPECIFIED):
				t.Errorf("%s: %v", name, resp.GetResult())
			}
		}
		if got := c.caughtUp(); got != revision {
			t.Errorf("revision %d became %d", revision, got)
		}
		c.set(cl, "after", serving) // nothing is poisoned
		c.caughtUp()
		for _, n := range c.nodes {
			if got := n.services(); len(got) != 2 || got["payments"].GetStatus() != serving || n.mismatched() != 0 {
				t.Errorf("%s holds %v", n.cfg.Name, got)
			}
		}
	})
}

// directoryID is the id of a data directory.
func directoryID(t *testing.T, data string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, "identity.json"))
	must(t, err)
	var identity struct {
		DirectoryID string `json:"directory_id"`
	}
	if must(t, json.Unmarshal(b, &identity)); identity.DirectoryID == "" {
		t.Fatalf("%s", b)
	}
	return identity.DirectoryID
}

// forward sends a command as a follower would, on a stream of its own.
func forward(ctx context.Context, peer peerv1.PeerClient, cmd *logv1.Command) (*peerv1.ForwardedResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := peer.Forward(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&peerv1.ForwardRequest{Commands: []*peerv1.ForwardedCommand{{Command: cmd, Timeout: int64(5 * time.Second)}}})
	if err != nil {
		return nil, err
	}
	resp, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	result := resp.GetResults()[0]
	if len(result.GetFailure()) == 0 {
		return result, nil
	}
	var failure spb.Status
	if err := proto.Unmarshal(result.GetFailure(), &failure); err != nil {
		return nil, err
	}
	return nil, status.ErrorProto(&failure)
}

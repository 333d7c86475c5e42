package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestKeepAlive: it finds out the TTLs by itself, renews until all are lost, and says so.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		c := f.client(t)
		f.grant("short", 2*time.Second)
		f.grant("long", ttl)
		began := time.Now()
		steps := []func(){
			func() { // both are renewed, and a third never was
				time.Sleep(time.Minute)
				f.elect(true)
			},
			func() { f.elect(false) },    // short is overdue
			func() { f.expire("short") }, // it is renewed again
			func() { f.expire("long") },
		}
		var got []string
		for r, err := range c.KeepAlive(within(t, time.Hour), "short", "long", "never", "long") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.LeaseID+" "+r.State.String())
			if left := time.Until(r.Until); r.State == client.LeaseHeld && (left <= 0 || left > ttl) || r.State == client.LeaseLost && !r.Until.IsZero() {
				t.Errorf("%+v", r)
			}
			switch len(got) {
			case 3, 4, 5, 6:
				step := steps[0]
				steps = steps[1:]
				step()
			}
		}
		slices.Sort(got[:3])
		want := []string{"long held", "never lost", "short held", "short overdue", "short held", "short lost", "long lost"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if took := time.Since(began); took > 75*time.Second {
			t.Errorf("it took %v", took)
		}
		// The interval of each is that of its own TTL, in the end.
		long := 0
		for _, r := range f.renewals() {
			if slices.Contains(r.request.(*rollcallv1.KeepAliveRequest).GetLeaseIds(), "long") {
				long++
			}
		}
		if long > 60 {
			t.Errorf("long was renewed %d times", long)
		}
	})
}

// An id that no lease can have would never be renewed, nor lost.
func TestKeepAliveRefusesWhatIsNoID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		f.grant("a", ttl)
		for _, ids := range [][]string{nil, {"a", ""}, {strings.Repeat("x", 65), "a"}, {"b\n"}} {
			n := 0
			for r, err := range c.KeepAlive(within(t, time.Hour), ids...) {
				n++
				if e := failure(t, err); e.Code != codes.InvalidArgument || r != (client.Renewal{}) {
					t.Errorf("%q: %v, %v", ids, r, err)
				}
			}
			if n != 1 || len(f.renewals()) > 0 {
				t.Errorf("%q: %d answers, renewed %d times", ids, n, len(f.renewals()))
			}
		}
	})
}

func TestKeepAliveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		c := f.client(t)
		f.grant("a", ttl)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, err := range c.KeepAlive(ctx, "a") {
			if cancel(); err == nil {
				continue
			}
			if e := failure(t, err); !errors.Is(err, context.Canceled) || e.LeaseID != "a" {
				t.Errorf("%v", err)
			}
		}
		renewals := len(f.renewals())
		time.Sleep(time.Minute)
		if len(f.renewals()) != renewals {
			t.Error("it is renewed after that")
		}
		f.grant("b", time.Hour)
		for range c.KeepAlive(t.Context(), "b") {
			break // a consumer may leave
		}
		for _, err := range c.KeepAlive(t.Context()) {
			if e := failure(t, err); e.Code != codes.InvalidArgument {
				t.Errorf("no lease: %v", err)
			}
		}
		go func() {
			time.Sleep(time.Second)
			c.Close()
		}()
		for _, err := range c.KeepAlive(t.Context(), "b") {
			if err != nil && !errors.Is(err, client.ErrClosed) {
				t.Errorf("%v", err)
			}
		}
	})
}

// TestLeaseCallsAskForWhatTheyAreTold: every option reaches the node.
func TestLeaseCallsAskForWhatTheyAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		ctx := t.Context()
		o := client.WriteOptions{Reason: "why", Actor: "who", RequestID: "id", DryRun: true}
		removal := o
		removal.AllowMissing = true
		for method, tests := range map[string][]struct {
			do   func() error
			want proto.Message
		}{
			"GrantLease": {
				{func() error {
					_, err := c.GrantLease(ctx, client.LeaseOptions{TTL: ttl, OnExpiry: unknown.Enum(), ForgetAfter: time.Hour}, o)
					return err
				}, &rollcallv1.GrantLeaseRequest{
					Ttl: durationpb.New(ttl), OnExpiry: unknown.Enum(), ForgetAfter: durationpb.New(time.Hour),
					Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true,
				}},
				{func() error { _, err := c.GrantLease(ctx, client.LeaseOptions{}, o); return err }, &rollcallv1.GrantLeaseRequest{
					Ttl: durationpb.New(0), Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true, // for the node to refuse
				}},
			},
			"RevokeLease": {
				{func() error {
					_, err := c.RevokeLease(ctx, "l", client.RevokeOptions{Status: serving.Enum()}, removal)
					return err
				}, &rollcallv1.RevokeLeaseRequest{
					LeaseId: "l", Status: serving.Enum(), AllowMissing: true, Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true,
				}},
				{func() error {
					_, err := c.RevokeLease(ctx, "l", client.RevokeOptions{KeepReports: true}, o)
					return err
				}, &rollcallv1.RevokeLeaseRequest{
					LeaseId: "l", KeepReports: true, Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true,
				}},
			},
			"ReleaseLeaseGuard": {
				{func() error { _, err := c.ReleaseLeaseGuard(ctx, o); return err }, &rollcallv1.ReleaseLeaseGuardRequest{
					Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true,
				}},
			},
			"ListLeases": {
				{func() error {
					for range c.ListLeases(ctx, client.ListLeasesOptions{PageSize: 3, LeaseID: "l", All: true}) {
					}
					return nil
				}, &rollcallv1.ListLeasesRequest{PageSize: 3, LeaseId: "l", All: true}},
			},
		} {
			for i, tt := range tests {
				_ = tt.do() // the fake may refuse it
				if got := f.nodes[0].seen(method)[i].request.(proto.Message); !proto.Equal(got, tt.want) {
					t.Errorf("got  %v\nwant %v", got, tt.want)
				}
			}
		}
	})
}

func TestListLeasesGoesOnElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		var want []string
		for i := range 5 {
			want = append(want, fmt.Sprint("l", i))
			f.grant(want[i], ttl)
		}
		f.write(event{"a", serving, ""})
		f.do(func() { f.leases.guard = &rollcallv1.LeaseGuard{Engaged: true, Late: 3} })
		var got []string
		var asOf int64
		var guard *rollcallv1.LeaseGuard
		for l, err := range c.ListLeases(t.Context(), client.ListLeasesOptions{PageSize: 2, AsOf: &asOf, Guard: &guard}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, l.GetLeaseId()); len(got) == 2 {
				f.nodes[0].kill()
			}
		}
		if !slices.Equal(got, want) || asOf != 1 || guard.GetLate() != 3 || len(f.nodes[1].seen("ListLeases")) != 2 {
			t.Errorf("got %q as of %d, guard %v", got, asOf, guard)
		}
		if second := f.nodes[1].seen("ListLeases")[0]; second.minRevision != 1 {
			t.Errorf("the second page may be as of %d", second.minRevision)
		}
	})
}

// TestErrorsOfLeases: a report that is held, a lease that is gone, and others, wrapped or not.
func TestErrorsOfLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		ctx := t.Context()
		f.grant("l1", ttl)
		f.grant("l2", ttl)
		write := func(lease string) error {
			_, err := c.Set(ctx, "a", serving, client.WriteOptions{LeaseID: lease})
			return err
		}
		if err := write("l1"); err != nil {
			t.Fatal(err)
		}
		_, deleted := c.Delete(ctx, "a", client.WriteOptions{})
		_, revoked := c.RevokeLease(ctx, "gone", client.RevokeOptions{}, client.WriteOptions{})
		_, missingRule := c.RemoveRule(ctx, "r", client.WriteOptions{})
		for _, tt := range []struct {
			name       string
			err        error
			held, lost bool
			lease      string
			text       string
		}{
			{"a report without a lease", write(""), true, false, "l1", "set a: fake: lease_held"},
			{"a deletion without one", deleted, true, false, "l1", "delete a: fake: lease_held"},
			{"a lease that is gone", write("gone"), false, true, "gone", "set a: fake: not_found"},
			{"its revocation", revoked, false, true, "gone", "revoke lease gone: fake: not_found"},
			{"something else that is missing", missingRule, false, false, "", "remove rule r: fake: not_found"},
		} {
			e := failure(t, tt.err)
			wrapped := fmt.Errorf("reporting: %w", tt.err)
			if client.IsLeaseHeld(wrapped) != tt.held || client.IsLeaseLost(wrapped) != tt.lost || e.LeaseID != tt.lease || e.Written != client.WrittenNo || e.Error() != tt.text {
				t.Errorf("%s: held %v, lost %v, of lease %q: %v", tt.name, client.IsLeaseHeld(wrapped), client.IsLeaseLost(wrapped), e.LeaseID, e)
			}
		}
		if client.IsLeaseHeld(nil) || client.IsLeaseLost(nil) || client.IsLeaseHeld(context.Canceled) || client.IsLeaseLost(context.Canceled) {
			t.Error("other errors are of leases")
		}
		if err := write("l2"); err != nil { // another live lease takes over
			t.Error(err)
		}
	})
}

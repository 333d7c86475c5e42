package healthserver

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/client"
)

func in(cluster string, o opinion) opinion {
	o.Cluster = cluster
	return o
}

// A registry that lost its disk puts no instance back that an operator had switched off.
func TestTheOwnReportInAnotherClusterIsNoWordOfAnOperator(t *testing.T) {
	expiring := overridden(client.NotServing)
	for _, test := range []struct {
		name  string
		after opinion // than an override of NOT_SERVING in cluster A
		off   bool
	}{
		{"held by the view", held(overridden(client.NotServing)), true},
		{"our report in the new cluster", in(clusterB, report(client.Serving, "lease-2")), true},
		{"our report NOT_SERVING in the new cluster", in(clusterB, report(client.NotServing, "lease-2")), true},
		{"silence", opinion{}, true},
		{"an operator's report in the new cluster", in(clusterB, report(client.Serving, "")), false},
		{"an override SERVING in the new cluster", in(clusterB, overridden(client.Serving)), false},
		{"an override UNKNOWN in the new cluster", in(clusterB, overridden(client.Unknown)), false},
		{"an override NOT_SERVING in the new cluster", in(clusterB, overridden(client.NotServing)), true},
		{"cleared in the same cluster", report(client.Serving, "lease-1"), false},
		{"cleared in the same cluster, and we report NOT_SERVING", report(client.NotServing, "lease-1"), false},
		{"deleted in the same cluster", absent(), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFakeSource()
				src.say(map[string]opinion{service: absent(), instance: expiring})
				s := mustNew(t, withRegistry(src, &fakeLease{}), WithInstance(address))
				run(t, s)
				wantStatus(t, s, "", client.NotServing)
				src.say(map[string]opinion{instance: test.after})
				synctest.Wait()
				want := client.Serving
				if test.off {
					want = client.NotServing
				}
				wantStatus(t, s, "", want)
				time.Sleep(24 * time.Hour)
				wantStatus(t, s, "", want)
			})
		})
	}
}

func TestAnOverrideOfAnotherClusterIsHeldUntilItWouldHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overridden(client.NotServing)
		o.Record.Override.ExpireTime = timestamppb.New(time.Now().Add(time.Hour))
		src := newFakeSource()
		src.say(map[string]opinion{service: absent(), instance: o})
		s := mustNew(t, withRegistry(src, &fakeLease{}), WithInstance(address))
		run(t, s)
		w := watch(t, s, "")
		src.say(map[string]opinion{instance: in(clusterB, report(client.Serving, "lease-2"))})
		time.Sleep(time.Hour - time.Millisecond)
		synctest.Wait()
		wantStatus(t, s, "", client.NotServing)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		wantStatus(t, s, "", client.Serving)
		if got := w.last(); got != client.Serving {
			t.Errorf("Watch sent %v last", got)
		}
	})
}

// In silence nothing ends: the last opinion stays.
func TestAnOverrideDoesNotEndInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overridden(client.NotServing)
		o.Record.Override.ExpireTime = timestamppb.New(time.Now().Add(time.Hour))
		src := newFakeSource()
		src.say(map[string]opinion{service: absent(), instance: o})
		s := mustNew(t, withRegistry(src, &fakeLease{}), WithInstance(address))
		run(t, s)
		time.Sleep(24 * time.Hour)
		wantStatus(t, s, "", client.NotServing)
	})
}

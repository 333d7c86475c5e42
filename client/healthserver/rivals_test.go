package healthserver

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// rival is what another process, with a lease of its own, reports of the instance.
func rival(st client.Status, leaseID string, revision int64, ended bool) map[string]opinion {
	o := report(st, leaseID)
	o.Revision = revision
	o.Record.Report.Actor = &rollcallv1.Actor{Name: "bob", Peer: "10.0.0.8:1"}
	o.Record.Lease = &rollcallv1.Lease{LeaseId: leaseID}
	if ended {
		o.Record.Lease.EndTime = timestamppb.Now()
	}
	return map[string]opinion{instance: o}
}

// publishingWithLog starts a Server that has published SERVING at revision 7, and returns its log.
func publishingWithLog(t *testing.T) (*Server, *fakeSource, *fakeLease, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, l := newPublishing(t, Publish{}, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	run(t, s)
	synctest.Wait()
	l.acknowledge(7)
	synctest.Wait()
	return s, s.source.(*fakeSource), l, &log
}

func wantTold(t *testing.T, log *bytes.Buffer, message string, times int) {
	t.Helper()
	synctest.Wait()
	if got := strings.Count(log.String(), message); got != times {
		t.Errorf("%q is told %d times, want %d:\n%s", message, got, times, log)
	}
}

const (
	thereIsARival = "another process publishes this instance, too"
	aRivalIsGone  = "another process had this instance, and is gone"
)

// A rival's word stands while its lease lives, and each rival is told once.
func TestARivalIsToldAndNotFought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, src, l, log := publishingWithLog(t)
		for revision := range int64(3) {
			src.say(rival(client.NotServing, "lease-2", 8+revision, false))
			time.Sleep(time.Minute)
		}
		wantTold(t, log, thereIsARival, 1)
		if !strings.Contains(log.String(), "by=bob from=10.0.0.8:1 its_lease=lease-2") {
			t.Errorf("log:\n%s", log)
		}
		wantStatus(t, s, "", client.Serving)
		src.say(rival(client.Serving, "lease-3", 20, false))
		wantTold(t, log, thereIsARival, 2)
		wantReports(t, l, client.Serving)
		s.SetServingStatus("", client.NotServing) // a change is published
		synctest.Wait()
		wantReports(t, l, client.Serving, client.NotServing)
		if got := l.rewritten(); got != 0 {
			t.Errorf("%d rewrites", got)
		}
	})
}

// When the rival has ended, or has withdrawn the instance, the living process publishes again, once.
func TestARivalThatIsGoneLeavesNothing(t *testing.T) {
	gone := absent()
	gone.Revision = 9
	for name, end := range map[string]map[string]opinion{
		"ended":     rival(client.NotServing, "lease-2", 9, true),
		"withdrawn": {instance: gone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, src, l, log := publishingWithLog(t)
				src.say(rival(client.NotServing, "lease-2", 8, false))
				time.Sleep(time.Minute)
				src.say(end)
				time.Sleep(time.Minute)
				wantTold(t, log, aRivalIsGone, 1)
				if got := l.rewritten(); got != 1 {
					t.Errorf("%d rewrites", got)
				}
				src.say(map[string]opinion{instance: report(client.Serving, "lease-1")})
				l.acknowledge(10)
				time.Sleep(time.Minute)
				wantReports(t, l, client.Serving)
				if got := l.rewritten(); got != 1 {
					t.Errorf("%d rewrites at last", got)
				}
			})
		})
	}
}

// The registry shows the end of the rival before it acknowledges what was published before that.
func TestAnAcknowledgementThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{})
		run(t, s)
		synctest.Wait()
		s.source.(*fakeSource).say(rival(client.NotServing, "lease-2", 9, true))
		time.Sleep(time.Minute)
		if got := l.rewritten(); got != 0 {
			t.Errorf("%d rewrites before anything was acknowledged", got)
		}
		l.acknowledge(8)
		synctest.Wait()
		if got := l.rewritten(); got != 1 {
			t.Errorf("%d rewrites", got)
		}
	})
}

// What changed while the rival had the instance is published, and not what was published before.
func TestAChangeAtTheEndOfARival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, src, l, _ := publishingWithLog(t)
		src.say(rival(client.Serving, "lease-2", 8, false))
		synctest.Wait()
		s.SetServingStatus("", client.NotServing) // within a second of the report before: it waits
		src.say(rival(client.Serving, "lease-2", 9, true))
		time.Sleep(publishInterval)
		synctest.Wait()
		wantReports(t, l, client.Serving, client.NotServing)
		if got := l.rewritten(); got != 0 {
			t.Errorf("%d rewrites", got)
		}
	})
}

// The last word of a process is not published over the report of the next process, which would end with it.
func TestTheLastWordLeavesTheNextProcessAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, src, l, log := publishingWithLog(t)
		time.Sleep(time.Minute)
		src.say(rival(client.Serving, "lease-2", 8, false))
		synctest.Wait()
		s.Stop(t.Context(), nil)
		wantReports(t, l, client.Serving)
		if !l.isClosed() {
			t.Error("the lease is not ended")
		}
		wantTold(t, log, thereIsARival, 1)
	})
}

// What Shutdown says can be seen before Stop goes on.
func TestTheLastWordIsKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, src, l, _ := publishingWithLog(t)
		time.Sleep(time.Minute)
		src.say(rival(client.Serving, "lease-2", 8, false))
		synctest.Wait()
		s.once.Lock()
		s.stops = true // as Stop does first
		s.once.Unlock()
		s.Shutdown()
		synctest.Wait()
		wantReports(t, l, client.Serving)
	})
}

// If the next process dies during the drain, the last word is published after all. A rival that comes during the drain
// is not told.
func TestTheNextProcessDiesDuringTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, src, l, log := publishingWithLog(t)
		time.Sleep(time.Minute)
		src.say(rival(client.Serving, "lease-2", 8, false))
		synctest.Wait()
		stopped := make(chan struct{})
		go func() {
			s.Stop(t.Context(), nil)
			close(stopped)
		}()
		time.Sleep(defaultDrain / 2)
		src.say(rival(client.Serving, "lease-3", 9, false))
		synctest.Wait()
		wantReports(t, l, client.Serving)
		src.say(rival(client.NotServing, "lease-3", 10, true))
		<-stopped
		wantReports(t, l, client.Serving, client.NotServing)
		wantTold(t, log, thereIsARival, 1)
		if got := l.rewritten(); got != 0 {
			t.Errorf("%d rewrites", got)
		}
	})
}

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/forward"
)

func streamTo(t testing.TB, dial func(context.Context, string) (net.Conn, error)) *forward.Stream {
	conn, err := grpc.NewClient("passthrough:///p", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial))
	if err != nil {
		t.Fatal(err)
	}
	l := forward.NewStream(conn, 10_000, nil)
	t.Cleanup(func() {
		conn.Close()
		l.Close()
	})
	return l
}

// What never left is not unknown.
func TestForwardStreamGivesUpWhatWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := streamTo(t, func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		_, sent, err := l.Do(t.Context(), &peerv1.ForwardedCommand{}, time.Second, time.Time{})
		if sent || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got sent %t, %v", sent, err)
		}
	})
}

func TestForwardStreamAnswersEachCallerItsOwn(t *testing.T) {
	c := newTestCluster(t, 1)
	c.elect("n1")
	n := c.nodes["n1"]
	l := streamTo(t, func(ctx context.Context, _ string) (net.Conn, error) { return n.peerLis.DialContext(ctx) })
	var callers sync.WaitGroup
	for i := range 1024 {
		callers.Go(func() {
			name := fmt.Sprintf("service-%d", i)
			cmd := &logv1.Command{Kind: &logv1.Command_Write{Write: &logv1.Write{
				Changes: []*logv1.Change{{Service: name, Status: logv1.Status_STATUS_SERVING}},
			}}}
			res, _, err := l.Do(t.Context(), &peerv1.ForwardedCommand{Command: cmd}, time.Minute, time.Time{})
			if err != nil {
				t.Error(err)
			} else if got := res.GetResult().GetServices()[0].GetRecord().GetService(); got != name {
				t.Errorf("the caller for %s was answered about %s", name, got)
			}
		})
	}
	callers.Wait()
}

// A member that stops answers what it was sent, and what waits for it is not unknown.
func TestForwardStreamToAMemberThatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1)
		c.elect("n1")
		n := c.nodes["n1"]
		release := make(chan struct{})
		n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			<-release
			return n.agreement.apply(cmd), nil
		})
		l := streamTo(t, func(ctx context.Context, _ string) (net.Conn, error) { return n.peerLis.DialContext(ctx) })
		command := func() *peerv1.ForwardedCommand {
			return &peerv1.ForwardedCommand{Command: &logv1.Command{Kind: &logv1.Command_AnnounceMember{
				AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{Name: "n9"}}}}}
		}
		first := make(chan error, 1)
		go func() {
			_, _, err := l.Do(t.Context(), command(), time.Minute, time.Time{})
			first <- err
		}()
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- n.Stop(timeout(t, time.Minute)) }()
		synctest.Wait()
		if _, sent, err := l.Do(t.Context(), command(), time.Second, time.Time{}); sent || err == nil {
			t.Errorf("a stopping member took a command: sent %t, %v", sent, err)
		}
		close(release)
		if err := <-first; err != nil {
			t.Errorf("what was sent before: %v", err)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

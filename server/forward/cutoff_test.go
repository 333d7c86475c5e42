package forward

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/connectivity"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// TestCutOff: a node that has not been able to connect to the leader for a while says so at once, and takes changes again
// as soon as it is connected.
func TestCutOff(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		p.unreachable.Store(true)
		for _, tt := range []struct {
			known   time.Duration // for how long it is known
			atLeast time.Duration // that a change waits
			want    string
		}{
			{0, 5 * time.Second, "not written: leader n2 cannot be reached: nobody is there"},
			{cutAfter - 1, 5 * time.Second, "not written: leader n2 cannot be reached: nobody is there"},
			{12*time.Second + 1, 0, "not written: n1 cannot connect to leader n2 (10.0.0.2:7601: connection refused, for 12s): send the change to another node"},
		} {
			p.follower.unreachable.Store(int64(tt.known))
			begin := time.Now()
			_, err := p.propose(t.Context(), 10)
			took := time.Since(begin)
			f := rpcerror.OfChange(err)
			if took < tt.atLeast || took > tt.atLeast+time.Second || !notWritten(err) || f.Message != tt.want || f.Meta[rpcerror.MetaWritten] != rpcerror.WrittenNo {
				t.Errorf("known for %s: %q after %s", tt.known, f.Message, took)
			}
			// Many of a stream, too.
			calls := NewCalls(t.Context(), 10)
			c := &Call{ID: 1, Command: &logv1.Command{}, Deadline: time.Now().Add(10 * time.Second)}
			calls.Add([]*Call{c})
			begin = time.Now()
			p.router.Start([]*Call{c})
			calls.Close()
			var answered []*Call
			for more := true; more; {
				var some []*Call
				some, more = calls.Next()
				answered = append(answered, some...)
			}
			_, err = answered[0].Result()
			if took := time.Since(begin); took > tt.atLeast+time.Second || rpcerror.OfChange(err).Message != tt.want {
				t.Errorf("known for %s: one of a stream: %v after %s", tt.known, err, took)
			}
		}
		// A connection that stands is used whatever the last dial said; and a node that waits for one gets it.
		p.unreachable.Store(false)
		conn, err := p.router.Forwarder.pool.Get("n2")
		if err != nil {
			t.Fatal(err)
		}
		for conn.GetState() != connectivity.Ready {
			if _, err := p.propose(t.Context(), 10); err != nil && !strings.Contains(err.Error(), "cannot connect to leader n2") {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		before := p.leader.count()
		if _, err := p.propose(t.Context(), 10); err != nil || p.leader.count() != before+1 {
			t.Errorf("connected again: %v", err)
		}
	})
}

package authn

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func stranger(from net.Addr) context.Context {
	return call(from, overTLS, "Bearer "+accesstoken.New().Text())
}

// took is how long an answer waits.
func (d *door) took(ctx context.Context) time.Duration {
	began := time.Now()
	_, _ = d.Caller(ctx)
	return time.Since(began)
}

func TestFailuresOfAnAddressWaitLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		token := accesstoken.New()
		d.tokens.add("ci", token, 0)
		for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000} {
			if got := d.took(stranger(remote)); got != want*time.Millisecond {
				t.Errorf("failure %d waits %v, want %v", i+1, got, want*time.Millisecond)
			}
			if got := d.took(call(remote, overTLS, "Bearer "+token.Text())); got != 0 {
				t.Errorf("a token that is right waits %v", got)
			}
			if got := d.took(call(remote, overTLS)); got != 0 {
				t.Errorf("an anonymous call waits %v", got)
			}
		}
		if got := d.took(stranger(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 8), Port: 1})); got != firstDelay {
			t.Errorf("another address waits %v", got)
		}
		if got := d.took(stranger(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 9999})); got != maxDelay {
			t.Errorf("another connection of the address waits %v", got)
		}
		time.Sleep(forgetAfter)
		if got := d.took(stranger(remote)); got != firstDelay {
			t.Errorf("after a pause: %v", got)
		}
	})
}

func TestAWaitEndsWithTheCallAndWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		ctx, cancel := context.WithTimeout(stranger(remote), 30*time.Millisecond)
		defer cancel()
		if got := d.took(ctx); got != 30*time.Millisecond {
			t.Errorf("a call that ends waits %v", got)
		}
		go func() {
			time.Sleep(50 * time.Millisecond)
			close(d.ending)
		}()
		if got := d.took(stranger(remote)); got != 50*time.Millisecond {
			t.Errorf("when the node stops: %v", got)
		}
	})
}

// TestANodeThatIsBehindLearnsATokenMeanwhile: it is made through another node and used at once.
func TestANodeThatIsBehindLearnsATokenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		token := accesstoken.New()
		go func() {
			time.Sleep(10 * time.Millisecond)
			d.tokens.add("other", accesstoken.New(), 0)
			time.Sleep(10 * time.Millisecond)
			d.tokens.add("ci", token, 0)
		}()
		began := time.Now()
		c, f := d.Caller(call(remote, overTLS, "Bearer "+token.Text()))
		if f != nil || c.Identity != "token:ci" {
			t.Fatalf("%v, %v", c, f)
		}
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if n := d.Failures()["token_unknown"]; n != 0 || d.log.Len() > 0 {
			t.Errorf("counted %d failures: %s", n, d.log.String())
		}
		if got := d.took(stranger(remote)); got != firstDelay {
			t.Errorf("a failure after it waits %v", got)
		}
	})
}

// TestFloods: however many calls fail, few wait and few addresses are remembered; the others are answered at once.
func TestFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		flood := func(n int, from func(i int) net.Addr) (atOnce int) {
			var mu sync.Mutex
			var calls sync.WaitGroup
			for i := range n {
				calls.Go(func() {
					if d.took(stranger(from(i))) == 0 {
						mu.Lock()
						defer mu.Unlock()
						atOnce++
					}
				})
			}
			synctest.Wait()
			d.failures.mu.Lock()
			if d.failures.waiting > MaxWaiting || len(d.failures.addresses) > maxAddresses {
				t.Errorf("%d wait, %d addresses are remembered", d.failures.waiting, len(d.failures.addresses))
			}
			d.failures.mu.Unlock()
			calls.Wait()
			return atOnce
		}
		if n := flood(1000, func(int) net.Addr { return remote }); n != 1000-maxWaitingPerAddress {
			t.Errorf("of one address %d are answered at once", n)
		}
		if n := flood(10_000, func(i int) net.Addr {
			return &net.TCPAddr{IP: net.IPv4(10, 0, byte(i>>8), byte(i)), Port: 1}
		}); n != 10_000-MaxWaiting {
			t.Errorf("of many addresses %d are answered at once", n)
		}
		if d.failures.waiting != 0 {
			t.Errorf("%d wait after all", d.failures.waiting)
		}
		for key, from := range d.failures.addresses {
			if from.waiting != 0 {
				t.Errorf("%d of %v wait after all", from.waiting, key)
			}
		}
		if n := d.Failures()["token_unknown"]; n != 11_000 {
			t.Errorf("%d are counted", n)
		}
	})
}

func TestWhatCountsAsOneAddress(t *testing.T) {
	for _, tt := range []struct {
		addr net.Addr
		want string
	}{
		{remote, "192.0.2.7/32"},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7"), Port: 2}, "192.0.2.7/32"},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8:1:2:3::4"), Port: 2}, "2001:db8:1:2::/64"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "fe80::/64"},
		{&net.UnixAddr{Name: "x"}, netip.Prefix{}.String()},
		{&net.TCPAddr{}, netip.Prefix{}.String()},
		{nil, netip.Prefix{}.String()},
	} {
		if got := prefixOf(tt.addr).String(); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.addr, got, tt.want)
		}
	}
}

func TestFailuresAreCountedAndLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		token := accesstoken.New()
		for range 3 {
			d.took(call(remote, overTLS, "Bearer "+token.Text()))
		}
		d.took(call(remote, nil, "Bearer "+token.Text()))
		d.took(call(remote, overTLS, "nonsense"))
		lines := strings.Split(strings.TrimSpace(d.log.String()), "\n")
		if len(lines) != 1 {
			t.Fatalf("logged %d lines:\n%s", len(lines), d.log.String())
		}
		for _, part := range []string{"level=WARN", "reason=TOKEN_UNKNOWN", "address=192.0.2.7:4711", "token=" + token.ID(), "held_back=0"} {
			if !strings.Contains(lines[0], part) {
				t.Errorf("%s lacks %s", lines[0], part)
			}
		}
		time.Sleep(warnEvery)
		d.took(call(remote, overTLS, "nonsense"))
		lines = strings.Split(strings.TrimSpace(d.log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[1], "reason=TOKEN_DAMAGED") || !strings.Contains(lines[1], "held_back=4") || strings.Contains(lines[1], "token=") {
			t.Errorf("after a minute:\n%s", d.log.String())
		}
		if strings.Contains(d.log.String(), token.Text()[21:]) {
			t.Error("the log holds the secret")
		}
		want := map[string]uint64{"token_unknown": 3, "token_over_plain_text": 1, "token_damaged": 2, "token_expired": 0, "token_revoked": 0}
		if got := d.Failures(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("counted %v, want %v", got, want)
		}
	})
}

func TestIdentifyNeitherWaitsNorCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		began := time.Now()
		_, f := d.Identify(stranger(remote))
		if f == nil || f.Reason != rpcerror.ReasonTokenUnknown || time.Since(began) != 0 || d.Failures()["token_unknown"] != 0 || d.log.Len() > 0 {
			t.Errorf("%v after %v, %v", f, time.Since(began), d.Failures())
		}
	})
}

package healthserver

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/health"

	"github.com/rollcallhq/rollcall/client"
)

func TestBadInput(t *testing.T) {
	reg := func() Option { return withRegistry(newFakeSource(), &fakeLease{}) }
	long := strings.Repeat("s", 256)
	for _, test := range []struct {
		name    string
		service string
		opts    []Option
		want    string // part of the error
	}{
		{"no service", "", nil, "empty"},
		{"a node's own name", "rollcall.live", nil, "rollcall."},
		{"a pattern", "*", nil, "'*'"},
		{"a pattern at the end", "shop/*", nil, "'*'"},
		{"white space", "shop cart", nil, "white space"},
		{"not UTF-8", "shop\xff", nil, "UTF-8"},
		{"too long", long + "s", nil, "257"},
		{"too long with the instance", long, []Option{WithInstance(address)}, "SERVICE/INSTANCE"},
		{"the unmerged name", "liveness", nil, "unmerged"},
		{"unmerged itself", service, []Option{WithUnmerged(service)}, "unmerged"},
		{"unmerged whole", service, []Option{WithUnmerged("alive", "")}, "unmerged"},
		{"publish without client", service, []Option{WithInstance(address), WithPublish(Publish{})}, "WithClient"},
		{"publish without instance", service, []Option{reg(), WithPublish(Publish{})}, "WithInstance"},
		{"short TTL", service, []Option{WithPublish(Publish{TTL: time.Second - 1})}, "TTL"},
		{"long TTL", service, []Option{WithPublish(Publish{TTL: 24*time.Hour + 1})}, "TTL"},
		{"negative TTL", service, []Option{WithPublish(Publish{TTL: -1})}, "TTL"},
		{"short ForgetAfter", service, []Option{WithPublish(Publish{ForgetAfter: 1})}, "ForgetAfter"},
		{"negative ForgetAfter", service, []Option{WithPublish(Publish{ForgetAfter: -time.Hour})}, "ForgetAfter"},
		{"long ForgetAfter", service, []Option{WithPublish(Publish{ForgetAfter: 366 * 24 * time.Hour})}, "ForgetAfter"},
		{"unknown OnStop", service, []Option{WithPublish(Publish{OnStop: 3})}, "OnStop(3)"},
		{"negative OnStop", service, []Option{WithPublish(Publish{OnStop: -1})}, "OnStop(-1)"},
		{"state file without client", service, []Option{WithStateFile("state")}, "WithClient"},
		{"state file without path", service, []Option{reg(), WithStateFile("")}, "path"},
		{"negative wait", service, []Option{WithInitialWait(-1)}, "negative"},
		{"negative drain", service, []Option{WithDrain(-time.Second)}, "negative"},
		{"nil client", service, []Option{WithClient(nil)}, "nil"},
		{"nil health server", service, []Option{WithHealthServer(nil)}, "nil"},
		{"nil logger", service, []Option{WithLogger(nil)}, "nil"},
		{"nil observer", service, []Option{WithObserver(nil)}, "nil"},
		{"nil option", service, []Option{nil}, "nil"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := New(test.service, test.opts...)
			if err == nil || s != nil {
				t.Fatal("it is accepted")
			}
			if !strings.HasPrefix(err.Error(), "healthserver: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want one about %s", err, test.want)
			}
		})
	}
}

func TestInstances(t *testing.T) {
	for _, good := range []string{
		"10.0.0.7:8080", "127.0.0.1:1", "[2001:db8::1]:443", "[::1]:65535", "host:80", "pod-3.cart.shop.svc.cluster.local:8080", "xn--bcher-kva.example:80", "localhost:8080", "1host:80",
	} {
		if _, err := New(service, WithInstance(good)); err != nil {
			t.Errorf("%s is refused: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ":80", "10.0.0.7", "10.0.0.7:", "host:http", "host:0", "host:65536", "host:-1", "host:+80", "host:080", "host: 80", "host:80 ",
		"0.0.0.0:80", "[::]:80", "[::ffff:0.0.0.0]:80", "[0:0:0:0:0:0:0:0]:80", "0:80", "00.0.0.0:80", "256.1.1.1:80", "10.0.0:80",
		"2001:db8::1:80", "[fe80::1%eth0]:80", "224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80",
		"http://host:80", "host:80/path", "user@host:80", "a,b:80", "*:80", "ho st:80", "[host]:80:90", "host:80:90", "unix:/run/sock", "ho\x00st:80",
	} {
		if _, err := New(service, WithInstance(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		} else if !strings.HasPrefix(err.Error(), "healthserver: the instance") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestWithHealthServer(t *testing.T) {
	h := health.NewServer()
	s := mustNew(t, WithHealthServer(h))
	h.SetServingStatus("", client.NotServing)
	if s.Server != h {
		t.Error("it has another health server")
	}
	wantStatus(t, s, "", client.NotServing)
}

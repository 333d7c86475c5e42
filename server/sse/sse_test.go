package sse

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const openServices = `retry: 2000
event: open
data: {"cluster_id":"3f9a","revision":7,"resumed":false}`

func TestServices(t *testing.T) {
	s := newSite(t, nil)
	tag := tagOf("anonymous", "VIEW_STATUS", "a", "b")
	part := &rollcallv1.WatchServicesResponse{Revision: 7, ClusterId: "3f9a"}
	s.run = one(part, &rollcallv1.WatchServicesResponse{Revision: 8, Synced: true, Deleted: []string{"b\nc"}})
	r := s.get(t, "services:watch?prefixes=b,a&view=status")
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Rollcall-Node": "n1", "Content-Encoding": "", "Other": ""} {
		if got := r.res.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	r.wants(openServices,
		"event: services\n"+`data: {"services":[],"deleted":[],"revision":7,"synced":false,"cluster_id":"3f9a","resumed":false}`,
		"id: 8@3f9a:"+tag+"\nevent: services\n"+`data: {"services":[],"deleted":["b\nc"],"revision":8,"synced":true,"cluster_id":"","resumed":false}`)
	if req, _ := s.last(); !proto.Equal(req, &rollcallv1.WatchServicesRequest{Prefixes: []string{"b", "a"}, View: rollcallv1.View_VIEW_STATUS}) {
		t.Errorf("%v", req)
	}
}

func TestEvents(t *testing.T) {
	s := newSite(t, nil)
	s.run = one(&rollcallv1.WatchEventsResponse{Revision: 4, ClusterId: "3f9a"}, &rollcallv1.WatchEventsResponse{Revision: 4, More: true}, &rollcallv1.WatchEventsResponse{Revision: 6})
	r := s.get(t, "events:watch?from_revision=5")
	r.wants("retry: 2000\nevent: open\n"+`data: {"cluster_id":"3f9a","revision":4,"resumed":false}`,
		"id: 4@3f9a\nevent: events\n"+`data: {"events":[],"revision":4,"more":false,"cluster_id":"3f9a"}`,
		"event: events\n"+`data: {"events":[],"revision":4,"more":true,"cluster_id":""}`,
		"id: 6@3f9a\nevent: events\n"+`data: {"events":[],"revision":6,"more":false,"cluster_id":""}`)
}

// Where a stream begins: what of an id is taken, and what is passed on.
func TestWhereAStreamBegins(t *testing.T) {
	s := newSite(t, nil)
	s.run = func(_ context.Context, req proto.Message, send func(proto.Message) error) error {
		if _, ok := req.(*rollcallv1.WatchEventsRequest); ok {
			return send(&rollcallv1.WatchEventsResponse{})
		}
		return send(&rollcallv1.WatchServicesResponse{})
	}
	tag := tagOf("anonymous", "VIEW_UNSPECIFIED", "a", "b")
	for _, test := range []struct {
		path, header string
		from         int64
		cluster      string
	}{
		{"services:watch", "", 0, ""},
		{"services:watch?from_revision=5", "", 5, ""},
		{"services:watch?from_revision=5", "9", 9, ""},
		{"services:watch?last_event_id=8&from_revision=5", "", 8, ""},
		{"services:watch?last_event_id=8", "9@3f9a", 9, ""},
		{"services:watch?last_event_id=8@3f9a", "", 8, ""},
		{"services:watch?last_event_id=8@other", "", 0, ""},
		{"services:watch?prefixes=a,b", "8@3f9a:" + tag, 8, ""},
		{"services:watch?prefixes=b&prefixes=a", "8@3f9a:" + tag, 8, ""},
		{"services:watch?prefixes=a", "8@3f9a:" + tag, 0, ""},
		{"services:watch?prefixes=a,b&view=status", "8@3f9a:" + tag, 0, ""},
		{"events:watch", "", 0, ""},
		{"events:watch?from_revision=5", "", 5, ""},
		{"events:watch?from_revision=5", "9", 10, ""},
		{"events:watch", "9@other", 10, "other"},
	} {
		s.get(t, test.path, headerLastID, test.header)
		req, md := s.last()
		from := req.(interface{ GetFromRevision() int64 }).GetFromRevision()
		if cluster := strings.Join(md.Get("rollcall-cluster"), ","); from != test.from || cluster != test.cluster {
			t.Errorf("%s after %q: from %d in %q, want %d in %q", test.path, test.header, from, cluster, test.from, test.cluster)
		}
	}
	s.get(t, "events:watch", headerLastID, "9@other", "Rollcall-Cluster", "named")
	if _, md := s.last(); strings.Join(md.Get("rollcall-cluster"), ",") != "named" {
		t.Errorf("%v", md)
	}
	if tagOf("ab", "c") == tagOf("a", "bc") || tagOf("token:a") == tagOf("token:b") {
		t.Error("two questions have one tag")
	}
}

func TestWhatOpensNoStream(t *testing.T) {
	s := newSite(t, nil)
	s.run = func(context.Context, proto.Message, func(proto.Message) error) error { return errStopping }
	for path, want := range map[string]string{
		"services:watch?prefix=a":                                "prefix",
		"services:watch?view=statu":                              "view",
		"services:watch?last_event_id=x":                         `last_event_id is \"x\"`,
		"services:watch?last_event_id=-1":                        "must be the id of an event",
		"services:watch?last_event_id=1&last_event_id=2":         "it is given twice",
		"services:watch?%zz":                                     "query",
		"events:watch?view=status":                               "view",
		"events:watch?from_revision=x":                           "from_revision",
		"events:watch?last_event_id=" + strings.Repeat("9", 200): "must be the id of an event",
	} {
		s.get(t, path).refused(400, "INVALID_ARGUMENT", want)
	}
	s.get(t, "services:watch", "Accept", "application/json, text/event-stream;q=0").refused(400, "INVALID_ARGUMENT", "does not take text/event-stream")
	s.get(t, "events:watch", "Last-Event-ID", "9223372036854775807@3f9a").refused(400, "INVALID_ARGUMENT", "must be the id of an event of this stream")
	s.get(t, "services:watch", "Last-Event-ID", "1x").refused(400, "INVALID_ARGUMENT", `last-event-id is \"1x\"`)
	s.get(t, "services:watch").refused(503, "", "the node is stopping")
	for _, accept := range []string{"*/*", "text/event-stream", "application/json, text/*;q=0.5", "", "text/html;q=x, text/event-stream ; charset=utf-8"} {
		if r := s.get(t, "events:watch", "Accept", accept); r.res.StatusCode != 503 {
			t.Errorf("%q: %d", accept, r.res.StatusCode)
		}
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+s.addr+"/api/v1/services:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || res.StatusCode != 405 {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	if req, err = http.NewRequest(http.MethodHead, "http://"+s.addr+"/api/v1/services:watch", nil); err != nil {
		t.Fatal(err)
	}
	res, err = http.DefaultTransport.RoundTrip(req)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != mediaType {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// A stream that has begun says why it ends.
func TestTheLastEvent(t *testing.T) {
	s := newSite(t, nil)
	s.run = func(_ context.Context, _ proto.Message, send func(proto.Message) error) error {
		if err := send(synced(7)); err != nil {
			return err
		}
		return errStopping
	}
	for _, coding := range []string{"identity", "gzip"} {
		r := s.get(t, "services:watch", "Accept-Encoding", coding)
		if coding == "gzip" {
			z, err := gzip.NewReader(r.res.Body)
			if err != nil {
				t.Fatal(err)
			}
			r.body = bufio.NewReader(z)
		}
		r.wants(openServices)
		if _, err := r.event(); err != nil {
			t.Fatal(err)
		}
		r.wants("event: error\n" + `data: {"code":"UNAVAILABLE","reason":"","message":"the node is stopping","written":"no","details":{}}`)
		if _, err := r.event(); err != io.EOF { // the checksum of gzip is right, too
			t.Errorf("%s: %v", coding, err)
		}
	}
}

// Each event can be read as soon as it is sent, compressed or not, and by HTTP/1.0.
func TestEventsComeAtOnce(t *testing.T) {
	for _, how := range []string{"identity", "gzip", "HTTP/1.0"} {
		s := newSite(t, nil)
		next := make(chan int64)
		s.run = func(ctx context.Context, _ proto.Message, send func(proto.Message) error) error {
			for {
				select {
				case revision := <-next:
					if err := send(synced(revision, strings.Repeat("x", int(revision)*1000))); err != nil {
						return err
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		version := "HTTP/1.1"
		if how == "HTTP/1.0" {
			version = how
		}
		fmt.Fprintf(c, "GET /api/v1/services:watch %s\r\nHost: localhost\r\nAccept-Encoding: %s\r\n\r\n", version, how)
		next <- 1
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = res.Body
		if how == "gzip" {
			if body, err = gzip.NewReader(body); err != nil || res.Header.Get("Content-Encoding") != "gzip" {
				t.Fatal(err, res.Header)
			}
		}
		r := &reader{t, res, bufio.NewReader(body)}
		if _, err := r.event(); err != nil {
			t.Fatal(err)
		}
		for revision := int64(1); revision < 100; revision *= 3 {
			if revision > 1 {
				next <- revision
			}
			if e, err := r.event(); err != nil || !strings.Contains(e, fmt.Sprintf("id: %d@", revision)) {
				t.Fatalf("%s: %.100s, %v", how, e, err)
			}
		}
	}
}

// The timeouts of the port, ten seconds to read and to write, end no stream.
func TestAStreamOutlivesTheTimeouts(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes twelve seconds")
	}
	t.Parallel()
	s := newSite(t, nil)
	begun := time.Now()
	s.run = func(ctx context.Context, req proto.Message, send func(proto.Message) error) error {
		if err := send(synced(7)); err != nil {
			return err
		}
		select {
		case <-time.After(12 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		return one(synced(8))(ctx, req, send)
	}
	r := s.get(t, "services:watch")
	for range 2 {
		if _, err := r.event(); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := r.event(); err != nil || !strings.HasPrefix(e, "id: 8@") || time.Since(begun) < 12*time.Second {
		t.Errorf("%s, %v after %s", e, err, time.Since(begun))
	}
}

func TestHeartbeats(t *testing.T) {
	s := newSite(t, nil)
	s.streams.pace.heartbeat = 20 * time.Millisecond
	s.run = one(synced(7))
	r := s.get(t, "services:watch")
	for range 2 {
		if _, err := r.event(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if line, err := r.body.ReadString('\n'); err != nil || line != ":\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if line, err := r.body.ReadString('\n'); err != nil || line != "\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
}

// What happens soon after an event comes in the next one; a page of a first state does not wait.
func TestPace(t *testing.T) {
	s := newSite(t, nil)
	s.streams.pace.least = 50 * time.Millisecond
	var whole, parts time.Duration
	done := make(chan struct{})
	s.run = func(_ context.Context, _ proto.Message, send func(proto.Message) error) error {
		defer close(done)
		for d, m := range map[*time.Duration]*rollcallv1.WatchServicesResponse{&whole: synced(7), &parts: {Revision: 7}} {
			begun := time.Now()
			for range 5 {
				if err := send(m); err != nil {
					return err
				}
			}
			*d = time.Since(begun)
		}
		return nil
	}
	r := s.get(t, "services:watch")
	if _, err := io.ReadAll(r.body); err != nil {
		t.Fatal(err)
	}
	<-done
	if whole < 5*s.streams.pace.least || parts > 4*s.streams.pace.least {
		t.Errorf("five events took %s, five parts of one %s", whole, parts)
	}
}

func TestLimits(t *testing.T) {
	s := newSite(t, func(cfg *Config) { cfg.MaxStreams, cfg.MaxPerAddress = 3, 2 })
	s.run = one(synced(7), &rollcallv1.WatchServicesResponse{Revision: 7})
	first := s.get(t, "services:watch")
	s.get(t, "services:watch")
	s.get(t, "services:watch").refused(429, "LIMIT_REACHED", "open streams of events from 127.0.0.1")
	if c := s.streams.Counts(); c.Services != 2 || c.RefusedAddress != 1 || c.RefusedAll != 0 {
		t.Errorf("%+v", c)
	}
	s.streams.limits.perAddress = 9
	third := s.get(t, "services:watch")
	r := s.get(t, "services:watch")
	r.refused(429, "LIMIT_REACHED", "half of its --max-http-connections")
	if r.res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if c := s.streams.Counts(); c.RefusedAll != 1 {
		t.Errorf("%+v", c)
	}
	third.res.Body.Close()
	first.res.Body.Close()
	for s.streams.Counts().Services != 1 {
		time.Sleep(time.Millisecond)
	}
	s.get(t, "services:watch").wants(openServices)
}

// An address of IPv6 counts with its network of 64 bits, of which one machine usually has all.
func TestLimitPerNetwork(t *testing.T) {
	l := &limits{most: 9, perAddress: 2, log: slog.New(slog.DiscardHandler), of: map[string]int{}}
	var open int64
	from := func(address string) string {
		return addressOf(&peer.Peer{Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))})
	}
	for _, tc := range []struct{ address, refused string }{
		{"[2001:db8:0:1::1]:1000", ""},
		{"[2001:db8:0:1:ffff::2]:1000", ""},
		{"[2001:db8:0:1::3]:1000", "from 2001:db8:0:1::/64"},
		{"[2001:db8:0:2::1]:1000", ""},
		{"192.0.2.1:1000", ""},
		{"[::ffff:192.0.2.1]:1000", ""},
		{"192.0.2.1:1001", "from 192.0.2.1,"},
		{"192.0.2.2:1000", ""},
	} {
		f := l.enter(from(tc.address), &open)
		switch {
		case f == nil && tc.refused != "":
			t.Errorf("%s is not refused", tc.address)
		case f != nil && (tc.refused == "" || !strings.Contains(f.Message, tc.refused)):
			t.Errorf("%s: %s", tc.address, f.Message)
		}
	}
	l.leave(from("[2001:db8:0:1::1]:1000"), &open)
	if f := l.enter(from("[2001:db8:0:1::3]:1000"), &open); f != nil {
		t.Errorf("after one has left: %s", f.Message)
	}
	for _, nowhere := range []*peer.Peer{nil, {}, {Addr: &net.UnixAddr{Name: "@"}}} {
		if at := addressOf(nowhere); at != "" {
			t.Errorf("%v sits at %q", nowhere, at)
		}
	}
}

// What is sent is taken from the budget meanwhile. A stream for which there is no room ends, and says so.
func TestBudget(t *testing.T) {
	s := newSite(t, func(cfg *Config) { cfg.Pages = newBudget(16 << 10) })
	s.run = func(_ context.Context, _ proto.Message, send func(proto.Message) error) error {
		for _, m := range []*rollcallv1.WatchServicesResponse{synced(7, "a"), synced(8, strings.Repeat("x", 8<<10)), synced(9, strings.Repeat("x", 17<<10))} {
			if err := send(m); err != nil {
				return err
			}
		}
		return nil
	}
	r := s.get(t, "services:watch")
	for range 3 {
		if _, err := r.event(); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := r.event(); err != nil || !strings.HasPrefix(e, "event: error\ndata: ") || !strings.Contains(e, "RESOURCE_EXHAUSTED") {
		t.Errorf("%s, %v", e, err)
	}
}

// A thousand streams are open, idle, and gone without a trace. An idle one holds little.
func TestManyStreams(t *testing.T) {
	const many = 1000
	s := newSite(t, nil)
	s.run = one(synced(7, "a"))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // and the pools
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	conns := make([]net.Conn, many)
	before := heap()
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = c
			fmt.Fprint(c, "GET /api/v1/services:watch HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Error(err)
				return
			}
			z, err := gzip.NewReader(res.Body)
			if err != nil {
				t.Error(err)
				return
			}
			r := &reader{t, res, bufio.NewReader(z)}
			for _, want := range []string{"event: open", "event: services"} {
				if got, err := r.event(); err != nil || !strings.Contains(got, want) {
					t.Errorf("%s, %v", got, err)
				}
			}
		})
	}
	all.Wait()
	for _, c := range conns {
		if c != nil {
			defer c.Close()
		}
	}
	if t.Failed() {
		return
	}
	if c := s.streams.Counts(); c.Services != many {
		t.Errorf("%+v", c)
	}
	each := (int64(heap()) - int64(before)) / many
	t.Logf("%d bytes for each stream", each)
	if each > 64<<10 {
		t.Errorf("%d bytes for each stream", each)
	}
	for _, c := range conns {
		c.Close()
	}
	for s.streams.Counts().Services > 0 {
		time.Sleep(time.Millisecond)
	}
}

package receive

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	encodingproto "google.golang.org/grpc/encoding/proto"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

// fakeCall is a call whose client has sent some bytes. It waits for more until it is given a status.
type fakeCall struct {
	sent     []byte
	closed   bool // the client has ended its side
	encoding string
	most     int // the largest Read
	waits    chan struct{}
	ended    chan *status.Status // capacity 1: one status is kept
}

func newFakeCall(sent []byte, closed bool) *fakeCall {
	return &fakeCall{sent: sent, closed: closed, waits: make(chan struct{}, 1), ended: make(chan *status.Status, 1)}
}

func (c *fakeCall) read(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if len(c.sent) == 0 && c.closed {
		return nil, io.EOF
	}
	if len(c.sent) < n {
		if c.closed {
			return nil, io.ErrUnexpectedEOF
		}
		c.waits <- struct{}{}
		<-c.ended
		return nil, status.FromContextError(context.Canceled).Err()
	}
	b := c.sent[:n]
	c.sent = c.sent[n:]
	return b, nil
}

func (c *fakeCall) ReadMessageHeader(header []byte) error {
	b, err := c.read(len(header))
	copy(header, b)
	return err
}

func (c *fakeCall) Read(n int) (mem.BufferSlice, error) {
	c.most = max(c.most, n)
	b, err := c.read(n)
	return mem.BufferSlice{mem.SliceBuffer(bytes.Clone(b))}, err
}

func (c *fakeCall) RecvCompress() string { return c.encoding }

func (c *fakeCall) WriteStatus(st *status.Status) error {
	select {
	case c.ended <- st:
	default:
	}
	return nil
}

func newLimits(node, perConnection int64) *Limits {
	return New(Config{
		Name: "request-bytes", Node: node, PerConnection: perConnection, Member: "n1", MaxMessage: 4 << 20,
		Codec: encoding.GetCodecV2(encodingproto.Name),
	})
}

// receiveFrom has l receive the request of a call.
func receiveFrom(l *Limits, connection *peer.Peer, call *fakeCall) (*healthpb.HealthCheckRequest, error) {
	q := l.requests.Get().(*request)
	q.ctx, q.from = peer.NewContext(context.Background(), connection), call
	defer l.end(q)
	m := &healthpb.HealthCheckRequest{}
	return m, q.receive(m)
}

func frame(compressed byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(len(message))), message...)
}

func named(size int) []byte {
	b, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: string(bytes.Repeat([]byte("n"), size))})
	if err != nil {
		panic(err)
	}
	return b
}

func deflate(message []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(message)
	w.Close()
	return b.Bytes()
}

func used(l *Limits) int64 {
	used, _, _ := l.Use()
	return used
}

// TestReceive: what gRPC takes is taken, and what it refuses is refused; nothing stays counted.
func TestReceive(t *testing.T) {
	empty := bytes.Repeat([]byte{15<<3 | 2, 0}, maxFields+1) // a field that the message does not know
	for name, tt := range map[string]struct {
		sent     []byte
		encoding string
		want     int // bytes of the name
		code     codes.Code
	}{
		"empty":                     {frame(0, nil), "", 0, codes.OK},
		"small":                     {frame(0, named(20)), "", 20, codes.OK},
		"as large as small is":      {frame(0, named(smallRequest-3)), "", smallRequest - 3, codes.OK},
		"larger":                    {frame(0, named(smallRequest)), "", smallRequest, codes.OK},
		"some chunks":               {frame(0, named(100_000)), "", 100_000, codes.OK},
		"the largest":               {frame(0, named(4<<20-5)), "", 4<<20 - 5, codes.OK},
		"too large":                 {frame(0, named(4<<20-4)), "", 0, codes.ResourceExhausted},
		"no request":                {nil, "", 0, codes.Internal},
		"half a header":             {[]byte{0, 0}, "", 0, codes.Internal},
		"half a request":            {frame(0, named(20))[:10], "", 0, codes.Internal},
		"two requests":              {append(frame(0, named(20)), frame(0, named(20))...), "", 0, codes.Internal},
		"a request and a half":      {append(frame(0, named(20)), 0), "", 0, codes.Internal},
		"not protobuf":              {frame(0, []byte("\xff\xff")), "", 0, codes.Internal},
		"many fields":               {frame(0, empty), "", 0, codes.InvalidArgument},
		"a few fields less":         {frame(0, empty[2:]), "", 0, codes.OK},
		"compressed":                {frame(1, deflate(named(20))), "gzip", 20, codes.OK},
		"much compressed":           {frame(1, deflate(named(4<<20-5))), "gzip", 4<<20 - 5, codes.OK},
		"compressed with no effect": {frame(0, named(20)), "gzip", 20, codes.OK},
		"a bomb":                    {frame(1, deflate(named(4<<20-4))), "gzip", 0, codes.ResourceExhausted},
		"many fields, compressed":   {frame(1, deflate(empty)), "gzip", 0, codes.InvalidArgument},
		"compressed and damaged":    {frame(1, deflate(named(100_000))[:100]), "gzip", 0, codes.Internal},
		"not compressed":            {frame(1, named(20)), "gzip", 0, codes.Internal},
		"compressed, in secret":     {frame(1, deflate(named(20))), "", 0, codes.Internal},
		"an unknown compression":    {frame(1, deflate(named(20))), "brotli", 0, codes.Unimplemented},
		"an unknown format":         {frame(2, named(20)), "gzip", 0, codes.Internal},
	} {
		for _, busy := range []bool{false, true} { // so that all requests are counted
			l := newLimits(64<<20, 16<<20)
			if busy {
				l.active.Add(uncounted)
			}
			call := newFakeCall(tt.sent, true)
			call.encoding = tt.encoding
			m, err := receiveFrom(l, &peer.Peer{}, call)
			if status.Code(err) != tt.code || len(m.GetService()) != tt.want && tt.code == codes.OK {
				t.Errorf("%s: %d bytes, %v; want %d, %v", name, len(m.GetService()), err, tt.want, tt.code)
			}
			if call.most > readBytes {
				t.Errorf("%s: %d bytes are asked for at once", name, call.most)
			}
			if used(l) != 0 || len(l.connections) != 0 {
				t.Errorf("%s: %d bytes of %d connections stay counted", name, used(l), len(l.connections))
			}
		}
	}
}

// TestTheLargestBatchIsNotTooLarge: maxFields is more than a batch and its other fields need.
func TestTheLargestBatchIsNotTooLarge(t *testing.T) {
	if maxFields < limits.MaxChanges+100 {
		t.Errorf("a request may have %d fields, a batch %d changes", maxFields, limits.MaxChanges)
	}
}

// TestHalfSentIsCounted: what has come counts while the rest does not come, and no more than that.
func TestHalfSentIsCounted(t *testing.T) {
	for name, tt := range map[string]struct {
		sent        []byte
		encoding    string
		least, most int64
	}{
		"nothing":                 {nil, "", callBytes, callBytes},
		"a header":                {frame(0, make([]byte, 4<<20))[:5], "", callBytes + readBytes*frameCost, 300 << 10},
		"a small one":             {frame(0, named(1_000))[:900], "", callBytes + 1_000*frameCost, 100 << 10},
		"a part":                  {frame(0, make([]byte, 4<<20))[:1<<20], "", 1 << 20, 1<<20 + 400<<10},
		"all but a byte":          {frame(0, make([]byte, 4<<20))[:4<<20+4], "", 4 << 20, 4<<20 + 400<<10},
		"all but the end":         {frame(0, make([]byte, 4<<20)), "", 4 << 20, 4<<20 + 400<<10},
		"inflated, up to the end": {frame(1, deflate(make([]byte, 4<<20))), "gzip", 4 << 20, 4<<20 + 400<<10},
	} {
		l := newLimits(64<<20, 16<<20)
		l.active.Add(uncounted)
		call := newFakeCall(tt.sent, false)
		call.encoding = tt.encoding
		ended := make(chan error)
		go func() {
			_, err := receiveFrom(l, &peer.Peer{}, call)
			ended <- err
		}()
		<-call.waits
		if got := used(l); got < tt.least || got > tt.most {
			t.Errorf("%s: %d bytes count, want %d to %d", name, got, tt.least, tt.most)
		}
		call.ended <- nil // as when the client leaves
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("%s: %v", name, err)
		}
		if used(l) != 0 {
			t.Errorf("%s: %d bytes stay counted", name, used(l))
		}
	}
}

// TestUncounted: a busy node's few small requests at a time need no count.
func TestUncounted(t *testing.T) {
	l := newLimits(0, 0) // nothing that is counted is taken
	var open []*fakeCall
	ended := make(chan error)
	begin := func() {
		call := newFakeCall(nil, false)
		open = append(open, call)
		go func() {
			_, err := receiveFrom(l, &peer.Peer{}, call)
			ended <- err
		}()
	}
	for range uncounted {
		begin()
		<-open[len(open)-1].waits
	}
	begin()
	if err := <-ended; status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more than need no count: %v", err)
	}
	for _, call := range open[:uncounted] {
		call.ended <- nil
		<-ended
	}
	if _, err := receiveFrom(l, &peer.Peer{}, newFakeCall(frame(0, named(20)), true)); err != nil {
		t.Errorf("after they ended: %v", err)
	}
}

// TestAStreamThatWaitsIsNoRequest: a stream of many messages counts as a request from the header of a message on. One
// that waits for its next message holds nothing, and does not make the node busy for others.
func TestAStreamThatWaitsIsNoRequest(t *testing.T) {
	l := newLimits(64<<20, 16<<20)
	l.active.Add(uncounted)
	receive := func(c *fakeCall) <-chan error {
		q := l.requests.Get().(*request)
		q.ctx, q.from = peer.NewContext(context.Background(), &peer.Peer{}), c
		received := make(chan error, 1)
		go func() {
			err := l.receive(q, &healthpb.HealthCheckRequest{}, false)
			l.end(q)
			received <- err
		}()
		return received
	}
	for name, tt := range map[string]struct {
		sent   []byte
		active int64
		least  int64 // bytes
	}{
		"nothing":       {nil, 0, 0},
		"half a header": {[]byte{0, 0, 0}, 0, 0},
		"a header":      {frame(0, named(20))[:5], 1, callBytes},
		"a part":        {frame(0, make([]byte, 1<<20))[:1<<19], 1, 1 << 19},
	} {
		c := newFakeCall(tt.sent, false)
		received := receive(c)
		<-c.waits
		if active := l.active.Load() - uncounted; active != tt.active || used(l) < tt.least || tt.active == 0 && used(l) != 0 {
			t.Errorf("%s: %d requests hold %d bytes", name, active, used(l))
		}
		c.WriteStatus(nil)
		if err := <-received; status.Code(err) != codes.Canceled {
			t.Errorf("%s: %v", name, err)
		}
		if l.active.Load() != uncounted || used(l) != 0 {
			t.Errorf("%s: %d bytes stay counted", name, used(l))
		}
	}
	c := newFakeCall(append(frame(0, named(20)), frame(0, named(100_000))...), true)
	for _, want := range []error{nil, nil, io.EOF} {
		if err := <-receive(c); err != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// TestWhoHoldsMostIsCutOff: a connection may take its part; when all together take too much, the oldest
// requests of the largest end, and a newcomer is received.
func TestWhoHoldsMostIsCutOff(t *testing.T) {
	const mib = 1 << 20
	l := newLimits(10*mib, 5*mib)
	l.active.Add(uncounted)
	type result struct {
		connection, call int
		err              error
	}
	results := make(chan result, 10)
	connections := []*peer.Peer{{}, {}, {}, {}}
	begin := func(connection, call, bytes int) *fakeCall {
		c := newFakeCall(frame(0, make([]byte, 4*mib))[:bytes], false)
		go func() {
			_, err := receiveFrom(l, connections[connection], c)
			results <- result{connection, call, err}
		}()
		return c
	}
	refused := func(want string, r result) {
		t.Helper()
		st := status.Convert(r.err)
		if st.Code() != codes.ResourceExhausted || len(st.Details()) == 0 {
			t.Errorf("call %d of connection %d: %v", r.call, r.connection, r.err)
		}
		for _, d := range st.Details() {
			if q, ok := d.(interface {
				GetViolations() []*errdetails.QuotaFailure_Violation
			}); ok && q.GetViolations()[0].GetSubject() != want {
				t.Errorf("call %d of connection %d: %v, want %s", r.call, r.connection, q, want)
			}
		}
	}
	var open []*fakeCall
	for i, size := range []int{mib, 3 * mib / 2} { // connection 0: 3 MiB with what is added
		open = append(open, begin(0, i, size))
		<-open[i].waits
	}
	begin(0, 2, 3*mib)
	refused("request-bytes-per-connection", <-results)
	open = append(open, begin(1, 0, 2*mib))
	<-open[2].waits
	open = append(open, begin(2, 0, 3*mib)) // the largest single one, of a connection that is the largest too
	<-open[3].waits
	before := used(l)
	open = append(open, begin(3, 0, 2*mib))
	r := <-results
	refused("request-bytes", r)
	<-open[4].waits
	if r.connection != 0 && r.connection != 2 {
		t.Errorf("connection %d is cut off: it does not hold the most", r.connection)
	}
	if used(l) > 10*mib || before > 10*mib {
		t.Errorf("%d and %d bytes are used", before, used(l))
	}
	for _, c := range open {
		c.WriteStatus(nil)
	}
	for range 4 { // six began, two have ended
		<-results
	}
	if used(l) != 0 || len(l.connections) != 0 {
		t.Errorf("%d bytes of %d connections stay counted", used(l), len(l.connections))
	}
}

// BenchmarkReceive is a small request that has come.
func BenchmarkReceive(b *testing.B) {
	l := newLimits(64<<20, 16<<20)
	sent := frame(0, named(20))
	call := newFakeCall(nil, true)
	connection := &peer.Peer{}
	b.ReportAllocs()
	for b.Loop() {
		call.sent = sent
		if _, err := receiveFrom(l, connection, call); err != nil {
			b.Fatal(err)
		}
	}
}

package receive

import (
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

const (
	// uncounted is how many requests at a time are received without being counted, because they are small and
	// come at once: a busy node receives fewer at any moment.
	uncounted = 256
	// callBytes is about what gRPC holds for a call whose request has not begun.
	callBytes = 8 << 10
	// smallRequest is the size up to which a request is received in one piece.
	smallRequest = 1 << 10
	// A client may send each byte in a frame of its own. gRPC then holds frameCost bytes for each.
	frameCost = 64
	// readBytes is how much of a larger request is read from gRPC at a time, and copied.
	readBytes = 4 << 10
	// chunkBytes is the capacity of the buffers that a larger request is copied to: a size of gRPC's pool.
	chunkBytes = 32 << 10
	// maxFields is how many fields a larger request may have: twice what the largest batch has. Empty changes
	// take two bytes each as they come, and a hundred when they are decoded.
	maxFields = 20_000
)

// Limits bounds what requests that are not complete hold. It counts what has come, not what was announced.
type Limits struct {
	name                string
	node, perConnection int64
	member              string // this node's name, which errors tell
	maxMessage          int
	codec               encoding.CodecV2

	requests        sync.Pool // of *request
	active, refused atomic.Int64

	mu          sync.Mutex // guards what follows, and the fields of request that say so
	used        int64
	connections map[*peer.Peer]*connection
}

// connection is what the counted requests of one connection hold.
type connection struct {
	bytes          int64
	oldest, newest *request
}

// Config is what New needs to know.
type Config struct {
	Name                string // as a QuotaFailure names the limit
	Node, PerConnection int64  // bytes
	Member              string // this node's name, which errors tell
	MaxMessage          int    // bytes, as sent and inflated
	Codec               encoding.CodecV2
}

// New returns limits.
func New(cfg Config) *Limits {
	l := &Limits{
		name: cfg.Name, node: cfg.Node, perConnection: cfg.PerConnection, member: cfg.Member,
		maxMessage: cfg.MaxMessage, codec: cfg.Codec, connections: make(map[*peer.Peer]*connection),
	}
	l.requests.New = func() any {
		q := &request{limits: l}
		q.receive = q.receiveRequest
		return q
	}
	return l
}

// Name is as a QuotaFailure names the limit.
func (l *Limits) Name() string { return l.name }

// Use returns how many bytes requests hold, of how many, and how many requests were refused or cut off.
func (l *Limits) Use() (used, limit, refused int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used, l.node, l.refused.Load()
}

// take counts bytes for a request. The error is a status: the request must end with it.
func (l *Limits) take(q *request, bytes int64) error {
	victims, err := l.tryTake(q, bytes)
	for _, v := range victims {
		// Its reader returns now. It fails only if the connection has ended.
		_ = v.WriteStatus(status.Convert(l.overNode()))
	}
	return err
}

func (l *Limits) tryTake(q *request, bytes int64) (victims []transportStream, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.cut {
		return nil, l.overNode()
	}
	c := q.connection
	if c == nil {
		q.client, _ = peer.FromContext(q.ctx)
		if c = l.connections[q.client]; c == nil {
			c = &connection{}
		}
	}
	if c.bytes+bytes > l.perConnection {
		l.refused.Add(1)
		return nil, l.overConnection()
	}
	if l.used+bytes > l.node {
		if victims = l.makeRoom(bytes, c); l.used+bytes > l.node {
			l.refused.Add(1)
			return victims, l.overNode()
		}
	}
	if q.connection == nil {
		l.connections[q.client] = c
		q.connection = c
		if q.older = c.newest; q.older != nil {
			q.older.newer = q
		} else {
			c.oldest = q
		}
		c.newest = q
	}
	c.bytes += bytes
	q.bytes += bytes
	l.used += bytes
	return victims, nil
}

// makeRoom cuts off the oldest requests of those connections that hold the most, so that a client that sends
// half of many requests hurts itself. It goes on until more than bytes are free, so that it is seldom needed.
// It takes nothing from the connection that asks. mu is held.
func (l *Limits) makeRoom(bytes int64, asking *connection) (victims []transportStream) {
	for l.used+bytes > l.node-l.node/8 {
		largest := asking
		for _, c := range l.connections {
			if c.bytes > largest.bytes {
				largest = c
			}
		}
		if largest == asking {
			return victims
		}
		for enough := largest.bytes / 2; largest.bytes > enough; {
			q := largest.oldest
			q.cut = true
			l.refused.Add(1)
			victims = append(victims, q.from)
			l.forget(q)
		}
	}
	return victims
}

// give gives back bytes of a request.
func (l *Limits) give(q *request, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.connection == nil {
		return // it was cut off
	}
	bytes = min(bytes, q.bytes)
	q.bytes -= bytes
	q.connection.bytes -= bytes
	l.used -= bytes
}

// forget gives back what a request holds. mu is held.
func (l *Limits) forget(q *request) {
	c := q.connection
	l.used -= q.bytes
	if c.bytes -= q.bytes; q.older != nil {
		q.older.newer = q.newer
	} else {
		c.oldest = q.newer
	}
	if q.newer != nil {
		q.newer.older = q.older
	} else {
		c.newest = q.older
	}
	if c.oldest == nil {
		delete(l.connections, q.client)
	}
	q.connection, q.client, q.older, q.newer, q.bytes = nil, nil, nil, nil, 0
}

// done ends the count of a request. The error says that the request was cut off.
func (l *Limits) done(q *request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.connection != nil {
		l.forget(q)
	}
	if q.cut {
		q.cut = false
		return l.overNode()
	}
	return nil
}

func (l *Limits) overConnection() error {
	return l.refusal(rpcerror.LimitReached(l.name+"-per-connection",
		"the requests of this connection that are not complete would hold more than %d bytes of this node's memory; send fewer at once, or open another connection",
		l.perConnection))
}

func (l *Limits) overNode() error {
	return l.refusal(rpcerror.LimitReached(l.name,
		"requests that are not complete would hold more than %d bytes of this node's memory (--client-memory); try again later, or ask another node",
		l.node))
}

// refusal says of a change that it was surely not written.
func (l *Limits) refusal(f *rpcerror.Failure) error {
	f.Meta = map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo}
	return rpcerror.ToStatus(l.member, f)
}

package flowcontrol

import (
	"context"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// smallAnswer is how many bytes an answer may have without being counted. The limit of calls on a connection
// bounds such answers.
const smallAnswer = 4 << 10

// Answers counts the large answers of unary calls against a budget, from when a handler begins to make one
// until gRPC has sent it. Otherwise a client that does not read could have one answer in memory for each of
// its calls.
type Answers struct {
	Budget *budget.Budget
	Node   string // which errors name
}

// On registers services on s. Only the named methods (names without the service) may call Reserve.
func (a *Answers) On(s grpc.ServiceRegistrar, methods ...string) grpc.ServiceRegistrar {
	return countedAnswers{a, s, methods}
}

type countedAnswers struct {
	answers *Answers
	next    grpc.ServiceRegistrar
	methods []string
}

func (c countedAnswers) RegisterService(desc *grpc.ServiceDesc, impl any) {
	counted := *desc
	counted.Methods = slices.Clone(desc.Methods)
	for i, m := range counted.Methods {
		if !slices.Contains(c.methods, m.MethodName) {
			continue
		}
		counted.Methods[i].Handler = func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			r := &reservation{answers: c.answers}
			r.connection, _ = peer.FromContext(ctx)
			res, err := m.Handler(srv, context.WithValue(ctx, reservationKey{}, r), dec, interceptor)
			if err != nil {
				r.give()
				return res, err
			}
			return r.answer(ctx, res)
		}
	}
	c.next.RegisterService(&counted, impl)
}

type reservationKey struct{}

// reservation is what one call has taken from the budget.
type reservation struct {
	answers    *Answers
	connection *peer.Peer
	bytes      atomic.Int64
	final      bool // the call has taken effect, so its answer must not be refused any more
}

// Reserve takes bytes from the budget for the answer to the call of ctx, or refuses the call. final says that
// the call takes effect after this: its answer is sent even if it turns out larger.
func Reserve(ctx context.Context, bytes int, final bool) *rpcerror.Failure {
	r, ok := ctx.Value(reservationKey{}).(*reservation)
	if !ok {
		return nil // the handler was not called by gRPC
	}
	if f := r.answers.Budget.Take(r.connection, int64(bytes)); f != nil {
		return f
	}
	r.bytes.Add(int64(bytes))
	r.final = final
	return nil
}

func (r *reservation) give() {
	r.answers.Budget.Give(r.connection, r.bytes.Swap(0))
}

// answer returns the message to send: res itself, or res in an answer that the budget counts until it has
// left.
func (r *reservation) answer(ctx context.Context, res any) (any, error) {
	m, ok := res.(proto.Message)
	if !ok || r.bytes.Load() == 0 {
		r.give()
		return res, nil
	}
	size := int64(proto.Size(m))
	switch more := size - r.bytes.Load(); {
	case size <= smallAnswer:
		r.give()
		return res, nil
	case more > 0 && !r.final:
		if f := r.answers.Budget.Take(r.connection, more); f != nil {
			r.give()
			return nil, rpcerror.ToStatus(r.answers.Node, f)
		}
		r.bytes.Add(more)
	case more < 0:
		r.bytes.Add(more)
		r.answers.Budget.Give(r.connection, -more)
	}
	SendUncompressed(ctx)
	return &answer{m, r}, nil
}

// answer is a message that the budget counts until gRPC has sent it.
type answer struct {
	message proto.Message
	*reservation
}

// marshal is called by Codec, within SendMsg.
func (a *answer) marshal() (mem.BufferSlice, error) {
	buf, err := encode(a.message)
	if err != nil {
		a.give()
		return nil, err
	}
	a.message = nil
	b := mem.NewBuffer(buf, a)
	if _, untracked := b.(mem.SliceBuffer); untracked {
		a.give()
	}
	return mem.BufferSlice{b}, nil
}

// Put implements mem.BufferPool: the answer has left.
func (a *answer) Put(buf *[]byte) {
	recycle(buf)
	a.give()
}

// Get implements mem.BufferPool. Nothing calls it.
func (a *answer) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }

// SendUncompressed has the answers of a call sent as they are, also if its requests came compressed. gRPC
// gives the buffer of a message back as soon as it has compressed it, and nobody learns when the compressed
// one has left. ctx must be the call's own, and nothing may have been sent.
func SendUncompressed(ctx context.Context) {
	compressed, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
	if ok && (compressed.RecvCompress() == "" || compressed.RecvCompress() == encoding.Identity) {
		return
	}
	// It fails only if ctx is not the context of a call.
	_ = grpc.SetSendCompressor(ctx, encoding.Identity)
}

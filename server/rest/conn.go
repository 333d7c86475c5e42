package rest

import (
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// conn makes the calls of the generated routes. These have set the fields of the request that stand in the path, and know
// nothing of the rest: no header, no query and no body of a request reaches them, so that there is one place that reads
// each.
type conn struct{ handler *Handler }

// Invoke implements grpc.ClientConnInterface.
func (n *conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c := callOf(ctx)
	req, ok := args.(proto.Message)
	if c == nil || !ok {
		return status.Errorf(codes.Internal, "%s was not called by a request", method)
	}
	if err := c.fill(req); err != nil {
		return err
	}
	if c.write {
		c.requestID = withRequestID(req)
	}
	if err := n.handler.cfg.Conn.Invoke(ctx, method, args, reply, opts...); err != nil {
		return inJSON(err, req.ProtoReflect().Descriptor())
	}
	return c.holdAnswer(reply.(proto.Message))
}

// NewStream implements grpc.ClientConnInterface. No route makes a stream.
func (n *conn) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Errorf(codes.Unimplemented, "%s has no route of this kind", method)
}

// fill sets the fields of the call's request that do not stand in the path: of a PUT or POST from its body, else from its
// query. Nothing that it does not understand is passed over, so that a mistyped validate_only changes nothing.
func (c *call) fill(req proto.Message) error {
	query, err := url.ParseQuery(c.req.URL.RawQuery)
	if err != nil {
		return &apijson.Error{Field: "query", Message: "it is not of the form name=value&name=value; write other characters as %XX"}
	}
	inPath := slices.Sorted(maps.Keys(c.path))
	if c.req.Method != http.MethodPut && c.req.Method != http.MethodPost {
		if hasBody(c.req) {
			return &apijson.Error{Field: "body", Message: "a " + c.req.Method + " has none; give the fields as query parameters"}
		}
		return apijson.Query(query, req, inPath...)
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		return &apijson.Error{Field: name, Message: "a " + c.req.Method + " takes no query parameters; give it as a field of the body"}
	}
	if len(c.body) == 0 {
		return nil
	}
	return apijson.Decode(c.body, req, inPath...)
}

// withRequestID gives a change a request id if it has none, and returns it: whoever is told that the outcome is unknown
// can then repeat the change. It returns "" for a request that takes none.
func withRequestID(req proto.Message) string {
	change, ok := req.(interface {
		GetRequestId() string
		GetValidateOnly() bool
	})
	if !ok || change.GetRequestId() != "" || change.GetValidateOnly() {
		if ok {
			return change.GetRequestId()
		}
		return ""
	}
	m := req.ProtoReflect()
	id := rand.Text()
	m.Set(m.Descriptor().Fields().ByName("request_id"), protoreflect.ValueOfString(id))
	return id
}

const (
	// smallAnswer is how many bytes an answer may have without being counted. The limit of calls bounds those.
	smallAnswer = 4 << 10
	// jsonGrowth is about how many bytes of JSON a byte of a message becomes.
	jsonGrowth = 4
)

// holdAnswer takes from the budget what an answer holds as JSON, beside the message. The answer to a change is sent in
// any case.
func (c *call) holdAnswer(m proto.Message) error {
	size := proto.Size(m)
	if size <= smallAnswer {
		return nil
	}
	bytes := int64(size) * jsonGrowth
	f := c.handler.cfg.Answers.Take(c.peer, bytes)
	switch {
	case f == nil:
		c.answering = bytes
	case !c.write:
		return rpcerror.ToStatus(c.handler.cfg.Node, f)
	}
	return nil
}

package healthserver

import (
	"context"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ungated begin the methods that the gates let pass: who asks how the process is gets an answer.
var ungated = [...]string{"/grpc.health.", "/grpc.reflection."}

// newRefusal is the error of the gates. It is made once: making one takes a thousand times as long as refusing.
func newRefusal(service string) error {
	st := status.New(codes.Unavailable, service+" is switched off here by the registry")
	with, err := st.WithDetails(&errdetails.ErrorInfo{
		Domain: "rollcall", Reason: "TARGET_NOT_SERVING", Metadata: map[string]string{"service": service},
	})
	if err != nil { // a name that is not UTF-8, which the registry has not
		with = st
	}
	return with.Err()
}

// UnaryGate is a grpc.UnaryServerInterceptor that refuses calls with UNAVAILABLE while the registry has switched the
// process off. It is for callers that do no health checking, as grpc-js. Refused calls were not begun: they are safe
// to be made again elsewhere. Methods of health and of reflection always pass.
//
// What the process itself says refuses nothing: a process that stops serves what still comes. A call that comes
// during the initial wait waits until the registry is heard, or the wait is over.
func (s *Server) UnaryGate(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if s.verdict.Load() != verdictOn {
		if err := s.refuse(ctx, info.FullMethod); err != nil {
			return nil, err
		}
	}
	return handler(ctx, req)
}

// StreamGate is UnaryGate for streams. A stream that was opened before goes on.
func (s *Server) StreamGate(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if s.verdict.Load() != verdictOn {
		if err := s.refuse(stream.Context(), info.FullMethod); err != nil {
			return err
		}
	}
	return handler(srv, stream)
}

// refuse returns the error of a call that is to be refused. The verdict was not on.
func (s *Server) refuse(ctx context.Context, method string) error {
	for _, prefix := range ungated {
		if strings.HasPrefix(method, prefix) {
			return nil
		}
	}
	for s.look() == verdictWait {
		v, changed := s.changes()
		if v != verdictWait {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if s.look() == verdictOff {
		return s.refusal
	}
	return nil
}

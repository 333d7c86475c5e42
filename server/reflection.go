package server

import (
	"slices"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// maxReflections is how many streams of gRPC's reflection are open on this node. Tools need one for a moment;
// each may hold 64 KiB that nobody reads.
const maxReflections = 100

// reflectionServer is s as gRPC's reflection registers itself on it: with a limit on its streams.
type reflectionServer struct {
	*grpc.Server
	next grpc.ServiceRegistrar
	node string
	open chan struct{} // capacity maxReflections: one for each stream
}

// RegisterService implements grpc.ServiceRegistrar.
func (s *reflectionServer) RegisterService(service *grpc.ServiceDesc, impl any) {
	desc := *service
	desc.Streams = slices.Clone(service.Streams)
	for i, stream := range desc.Streams {
		desc.Streams[i].Handler = func(srv any, ss grpc.ServerStream) error {
			select {
			case s.open <- struct{}{}:
				defer func() { <-s.open }()
			default:
				return rpcerror.ToStatus(s.node, rpcerror.LimitReached("reflections",
					"this node has %d streams of reflection open; close one, or ask another node", maxReflections))
			}
			flowcontrol.SendUncompressed(ss.Context())
			return stream.Handler(srv, ss)
		}
	}
	s.next.RegisterService(&desc, impl)
}

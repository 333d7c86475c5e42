package receive

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// transportStream is gRPC's stream of a call, as far as this package reads requests from it. gRPC tells the
// size of a message to nobody before the whole message is in memory. TestReadsRequestsItself fails if a new
// version of gRPC has other methods. Calls then still work: gRPC reads the requests.
type transportStream interface {
	// ReadMessageHeader returns io.EOF if the client has ended its side.
	ReadMessageHeader(header []byte) error
	// Read waits until n bytes have come. The client may send so many ahead.
	Read(n int) (mem.BufferSlice, error)
	RecvCompress() string
	// WriteStatus ends the call, also while Read waits. It does nothing when the call has ended.
	WriteStatus(*status.Status) error
}

// transportOf returns the stream of a call's context, nil if this version of gRPC has another one.
func transportOf(ctx context.Context) transportStream {
	s, _ := grpc.ServerTransportStreamFromContext(ctx).(transportStream)
	return s
}

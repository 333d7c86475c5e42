package server

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Limits of requests and answers. Those of single fields stand in validate.go.
const (
	// maxRequestBytes is gRPC's own default. The largest batch needs less.
	maxRequestBytes = 4 << 20
	// maxAnswerBytes is what stock clients receive by default: no answer is made larger on
	// purpose.
	maxAnswerBytes = 4 << 20
	// maxSendBytes is above maxAnswerBytes, so that a node configured to list more than its
	// clients receive leaves the refusal to them.
	maxSendBytes = 64 << 20
	// maxPeerBytes leaves room for what a command has more than the request it was made of.
	maxPeerBytes = 16 << 20
	// maxStreams is per connection. Watchers share connections, and grpc-go's client waits in
	// silence at this limit, so it is far above the watches anybody means to have on one; it is
	// there so that one connection cannot take all memory.
	maxStreams = 100_000
	// maxPeerStreams bounds what waits on one follower's connection.
	maxPeerStreams = 10_000
	// maxHeaderBytes is plenty for metadata; gRPC's default is 8 KiB in some languages and 16 MiB
	// in Go.
	maxHeaderBytes = 16 << 10
	// handshakeTimeout bounds a connection that says nothing; gRPC's default is two minutes, and
	// stopping waits for handshakes.
	handshakeTimeout = 5 * time.Second
)

// Keepalive: the default enforcement breaks connections that ping more often than every 5 minutes,
// which health watchers rightly do. The server's own pings find watchers that went without a word.
const (
	keepaliveMinTime = 5 * time.Second
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
)

func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             keepaliveMinTime,
			PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:    keepaliveTime,
			Timeout: keepaliveTimeout,
		}),
		// Stop returns when no handler touches the rooms below any more.
		grpc.WaitForHandlers(true),
	}
}

func apiOptions() []grpc.ServerOption {
	return append(serverOptions(),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(maxSendBytes),
		grpc.MaxConcurrentStreams(maxStreams),
	)
}

func peerOptions() []grpc.ServerOption {
	return append(serverOptions(),
		grpc.MaxRecvMsgSize(maxPeerBytes),
		grpc.MaxSendMsgSize(maxPeerBytes),
		grpc.MaxConcurrentStreams(maxPeerStreams),
	)
}

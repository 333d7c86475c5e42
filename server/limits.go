package server

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/peerconn"
)

// Limits of requests and answers. Limits of single fields are in package limits.
const (
	// maxRequestBytes is gRPC's own default. The largest batch needs less.
	maxRequestBytes = 4 << 20
	// maxAnswerBytes is the largest message that gRPC clients receive by default. No answer is made larger on
	// purpose.
	maxAnswerBytes = 4 << 20
	// spareStreams is how many calls a connection may have besides its watches. Clients wait in
	// silence at gRPC's limit, so it is above that of watches, which are refused with a reason; it
	// is there so that one connection cannot take all memory.
	spareStreams = 1_000
	// maxPeerStreams bounds what waits on one follower's connection.
	maxPeerStreams = 10_000
	// maxHeaderBytes is plenty for metadata; gRPC's default is 8 KiB in some languages and 16 MiB
	// in Go.
	maxHeaderBytes = 16 << 10
	// streamWindow and connWindow are how much a client may send ahead of being read, for a call and
	// for a connection. gRPC would otherwise find out what the network holds, with a ping for about
	// every Check, to let each call send megabytes ahead. Package receive reads at once what comes, so a
	// large request takes a round trip for each streamWindow.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
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
	// idleTime is how long a client's connection stays without a call; an open watch is one.
	// Clients connect again when they need to.
	idleTime = 15 * time.Minute
)

func serverOptions(idle time.Duration) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             keepaliveMinTime,
			PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:              keepaliveTime,
			Timeout:           keepaliveTimeout,
			MaxConnectionIdle: idle,
		}),
		// Stop returns only when no handler runs any more: fsm and raft are closed after it.
		grpc.WaitForHandlers(true),
	}
}

func apiOptions(cfg Config) []grpc.ServerOption {
	options := append(serverOptions(idleTime),
		grpc.ForceServerCodecV2(flowcontrol.NewCodec()),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(maxAnswerBytes),
		grpc.MaxConcurrentStreams(uint32(cfg.MaxWatchesPerConnection+spareStreams)),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
	)
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(cfg.TLS.Credentials()))
	}
	return options
}

func peerOptions() []grpc.ServerOption {
	return append(serverOptions(0), // members stay connected
		grpc.Creds(peerconn.ServerCredentials()),
		grpc.ForceServerCodecV2(peerconn.NewCodec()),
		grpc.MaxRecvMsgSize(peerconn.MaxMessageBytes),
		grpc.MaxSendMsgSize(peerconn.MaxMessageBytes),
		grpc.MaxConcurrentStreams(maxPeerStreams),
	)
}

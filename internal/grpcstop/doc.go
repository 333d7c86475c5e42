// Package grpcstop ends a gRPC server whose clients keep streams open that the server itself must end, as the Watch of
// grpc.health.v1, so that no client opens them again on the same connection.
package grpcstop

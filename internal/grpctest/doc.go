// Package grpctest has gRPC servers in memory for the tests of clients: they serve, hang, refuse and die, also on
// a virtual clock. It is for tests only.
package grpctest

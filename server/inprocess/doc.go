// Package inprocess calls the methods of a gRPC server from within its process, without a connection: the handlers
// run in the goroutine of the caller, with the caller's context (decision 59). The HTTP interface makes its calls so.
//
// The handlers are those that the server registers, with all that wraps them: the audit log, counts, limits. Who the
// caller is, and the metadata of its call, do not belong here: they stand in the context (google.golang.org/grpc/peer,
// metadata.NewIncomingContext).
package inprocess

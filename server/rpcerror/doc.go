// Package rpcerror is the one table from what happened to what a caller is told: the gRPC code, the
// ErrorInfo with its reason, and, of a change, whether it was written.
//
// Code of the server returns a *Failure. The outermost handler turns it into a status with ToStatus. What
// makes a request wrong, or a node unable to answer, is decided elsewhere.
package rpcerror

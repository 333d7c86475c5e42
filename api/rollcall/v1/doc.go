// Package rollcallv1 is the public gRPC API, generated from rollcall.proto, and the names of services that
// are a node's own (names.go). What the fields of a request may hold is in package limits.
package rollcallv1

// Package sse answers the two watches of the registry over HTTP as server-sent events (text/event-stream): what browsers
// read with EventSource or fetch, and everybody else line by line.
//
// What belongs here: the form of an event (event.go), its id, from which a stream goes on (id.go), compression
// (compress.go), how many streams there may be (limits.go), and how one stream is written (stream.go). What is sent is
// what the methods of gRPC send, which are called in this process. Who may ask, hosts and errors before a stream has
// begun belong to package rest.
//
// A stream has no goroutine beside that of its request. While nothing happens it holds neither a page nor anything to
// compress with.
package sse

// Package flowcontrol bounds what gRPC holds for a client that does not read: one status of a watch, one
// message of a stream of events or services. It holds the codec of the API port, because gRPC tells only
// by the buffers that a codec made when a message has left.
//
// What is sent, and to whom, does not belong here.
package flowcontrol

// Package flowcontrol bounds what gRPC holds for a client that does not read: one status of a watch, one
// message of a stream of events or services. It also holds the codec of the API port: gRPC tells that a
// message has left only by releasing the buffer that the codec made for it.
//
// What is sent, and to whom, does not belong here.
package flowcontrol

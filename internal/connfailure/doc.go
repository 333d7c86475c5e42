// Package connfailure says in plain words why a connection or a call failed, given what gRPC says of it. gRPC
// tells the cause as text only, in the words of its own layers: resolvers, balancers, HTTP/2 frames, sockets.
//
// What a node answers does not belong here: that is worded where it is decided.
package connfailure

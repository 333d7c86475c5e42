// Package peerconn keeps the gRPC connections of this node to the other members, one each, and the codec
// of what members say to each other. What is said over them is the matter of those who use them
// (packages forward and freshness, and the server's verification).
package peerconn

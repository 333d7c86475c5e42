// Package peerport is the one port on which nodes talk to each other, and the connections over it.
//
// A connection begins with a hello from both sides. The hello says who the sender is, to which cluster it
// belongs, and what the connection is for: raft, gRPC between members, clock readings, or nothing but the
// answer (a probe). hello.go has its bytes, view.go the rules of who may talk to whom, port.go the side
// that accepts, dial.go the side that dials.
//
// With TLS the hello comes after the TLS handshake, and the certificate must name the member that the hello names
// (secure.go).
//
// Here belong also: which peers answer and which do not (reachability.go), who ended a connection
// (peerconnections.go), and the network below (network.go, tcp.go). What is said over a connection after
// the hello does not belong here.
package peerport

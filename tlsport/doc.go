// Package tlsport secures the ports of a node with TLS, from both sides. A Port says what becomes of a connection
// that was accepted: TLS, plain text, or by its first byte either of them. It also secures what is dialed.
//
// mode.go has what --tls says. port.go makes secured connections (conn.go) and ends those whose certificates are not
// accepted any more (ending.go). handshakes.go bounds what handshakes cost that are not over, for all ports together:
// who comes first, and who makes room. flight.go reads what belongs to a handshake, and no more than it needs.
// credentials.go gives a Port to gRPC, and listener.go to net/http. failure.go says why a handshake failed, in plain
// words, and refusals.go logs it, seldom enough.
//
// Certificates, their files and their identities do not belong here: those are in package certs. What is said over a
// connection does not belong here either.
package tlsport

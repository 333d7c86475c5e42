// Package tlsport secures the ports of a node with TLS, from both sides. A Port says what becomes of a connection
// that was accepted: TLS, plain text, or by its first byte either of them. It also secures what is dialed.
//
// mode.go has what --tls says. port.go makes secured connections (conn.go), with a bounded number of handshakes at a
// time (slots.go) and of connections that wait for theirs (pending.go), and ends those whose certificates are not accepted any more (ending.go). credentials.go gives a
// Port to gRPC, and listener.go to net/http. failure.go says why a handshake failed, in plain words, and refusals.go
// logs it, seldom enough.
//
// Certificates, their files and their identities do not belong here: those are in package certs. What is said over a
// connection does not belong here either.
package tlsport

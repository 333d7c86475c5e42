// Package certs holds the certificates of one process: it reads them from files, verifies them, reads them again
// while the process runs, and makes the TLS configurations that use the newest ones.
//
// Why it is no tls.Config with file names: the roots of a live tls.Config cannot be exchanged. So every handshake
// gets a configuration of its own, from a bundle behind an atomic pointer. A bundle is a certificate, its key and
// the CAs. It is replaced as a whole, and only by one that verifies: a file that is half written, or does not fit
// the others, changes nothing.
//
// The package verifies the other side itself, as crypto/x509 does it, but says in plain words what is wrong
// (Refusal). What a certificate says about its holder is here too: Identity for the API, PeerNames for members.
//
// TLS is 1.3, without session tickets: a session that is resumed would show a certificate that was verified long
// ago, against other CAs.
//
// Issuing certificates is not here: certs/issue.
package certs

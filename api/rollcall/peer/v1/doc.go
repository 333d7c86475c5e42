// Package peerv1 is what the nodes of one cluster say to each other on the peer port, generated from
// peer.proto. Clients never see it.
package peerv1

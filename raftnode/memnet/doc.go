// Package memnet is a network within one process. It is test support: no production package imports it.
//
// It works in the virtual time of a testing/synctest bubble. Hosts can be cut off from each other in
// several ways, and the links between them can be made slow. A Host has the methods of
// peerport.Network.
//
// What a cluster needs of a network belongs here; what runs on it does not.
package memnet

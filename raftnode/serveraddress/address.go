// Package serveraddress is the text by which raft's configuration addresses a server. Raft takes it for a network
// address; here it says which member a server is, and with which data directory.
//
// A founder's address is its name. That of a member that was added or replaced later is "name/directory": so raft's
// configuration tells which data directory of a name it means, also while a member is being replaced. How a member is
// reached does not stand in it: package peerport knows that.
package serveraddress

import (
	"strings"

	"github.com/hashicorp/raft"
)

// Of is the address of a member; directory is "" for a founder.
func Of(name, directory string) raft.ServerAddress {
	if directory == "" {
		return raft.ServerAddress(name)
	}
	return raft.ServerAddress(name + "/" + directory)
}

// Split is the opposite of Of. Names of members have no "/".
func Split(address raft.ServerAddress) (name, directory string) {
	name, directory, _ = strings.Cut(string(address), "/")
	return name, directory
}

package node

import (
	"errors"

	"github.com/rollcallhq/rollcall/raftnode"
)

// Removed says whether a node does not run because it was removed from its cluster: starting it again changes nothing.
func Removed(err error) bool {
	_, removed := errors.AsType[*raftnode.RemovedError](err)
	return removed
}

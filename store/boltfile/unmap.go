package boltfile

import "go.etcd.io/bbolt"

// Unmap gives back what this process has mapped of the file that tx is of. It stays in the system's
// cache, and what is needed is mapped again page by page. Without it, all of a file that was once gone
// through counts as memory of this process until the system is short of it.
func Unmap(tx *bbolt.Tx) {
	// While a transaction is open the file is not mapped anew, and all up to its size is mapped.
	_ = adviseNotNeeded(tx.DB().Info().Data, tx.Size()) // it is advice
}

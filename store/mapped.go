package store

import "go.etcd.io/bbolt"

// unmapAfter is how many bytes of new pages a journal writes until it gives back what is mapped of it.
const unmapAfter = 64 << 20

// unmap gives back what this process has mapped of the file that tx is of. It stays in the system's
// cache, and what is needed is mapped again page by page. Without it, all of a file that was once gone
// through counts as memory of this process until the system is short of it.
func unmap(tx *bbolt.Tx) {
	// While a transaction is open the file is not mapped anew, and all up to its size is mapped.
	_ = adviseNotNeeded(tx.DB().Info().Data, tx.Size()) // it is advice
}

// unmapOften is unmap, once enough has been written since the last time. The journal's disk must be held.
func (j *Journal) unmapOften() error {
	stats := j.db.Stats()
	written := stats.TxStats.GetPageAlloc()
	if written-j.unmapped < unmapAfter {
		return nil
	}
	j.unmapped = written
	return j.db.View(func(tx *bbolt.Tx) error {
		unmap(tx)
		return nil
	})
}

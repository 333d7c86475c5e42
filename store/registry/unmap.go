package registry

import (
	"go.etcd.io/bbolt"

	"github.com/rollcallhq/rollcall/store/boltfile"
)

// unmapAfter is how many bytes of new pages a registry file writes until it gives back what is mapped of it.
const unmapAfter = 64 << 20

// unmapOften is unmap, once enough has been written since the last time. The registry file's disk must be held.
func (j *File) unmapOften() error {
	stats := j.db.Stats()
	written := stats.TxStats.GetPageAlloc()
	if written-j.unmapped < unmapAfter {
		return nil
	}
	j.unmapped = written
	return j.db.View(func(tx *bbolt.Tx) error {
		boltfile.Unmap(tx)
		return nil
	})
}

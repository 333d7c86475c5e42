package registry

import (
	"go.etcd.io/bbolt"

	"github.com/rollcallhq/rollcall/store/boltfile"
)

// unmapAfter is how many bytes of new pages a registry file writes before it gives its mapped memory back to
// the system.
const unmapAfter = 64 << 20

// unmapOften gives mapped memory back if unmapAfter bytes were written since the last time. File.disk must be
// held.
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

package registry

import (
	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
)

// refound makes an extracted registry file one of a cluster without members.
func Refound(name string, meta *logv1.RegistryMeta) error {
	db, err := boltfile.Open(name, bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = boltfile.Guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			if err := tx.DeleteBucket(bucketMembers); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(bucketMembers); err != nil {
				return err
			}
			if err := writeSum(tx, bucketMembers, sums{}); err != nil {
				return err
			}
			return putMeta(tx, meta)
		})
	})
	if err != nil {
		db.CloseAfter(err)
		return err
	}
	return boltfile.Guard(db.Close)
}

package registry

import (
	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
)

// Refound makes an extracted registry file that of another cluster, which meta describes. It deletes the
// records of kinds that belong to a cluster (Kinds.PerCluster).
func Refound(name string, meta *logv1.RegistryMeta, kinds Kinds) error {
	db, err := boltfile.Open(name, bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = boltfile.Guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			buckets, err := kindBuckets(tx)
			if err != nil {
				return err
			}
			for _, k := range buckets {
				if !kinds.PerCluster(k.kind) {
					continue
				}
				if err := tx.DeleteBucket(k.name); err != nil {
					return err
				}
				if err := tx.Bucket(bucketMeta).Delete(sumKey(k.name)); err != nil {
					return err
				}
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

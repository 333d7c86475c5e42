package raftlog

import (
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/rollcallhq/rollcall/store/boltfile"
)

func logBoltOptions() bbolt.Options {
	return bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: boltfile.LockTimeout}
}

func openBoltStore(path string) (*raftboltdb.BoltStore, error) {
	var (
		b     boltfile.DB
		store *raftboltdb.BoltStore
	)
	o := logBoltOptions()
	o.OpenFile = b.OpenFile
	err := boltfile.Guard(func() (err error) {
		store, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &o})
		return err
	})
	if err != nil {
		return nil, b.OpenError(path, err)
	}
	return store, nil
}

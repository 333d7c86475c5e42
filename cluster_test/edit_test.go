package cluster_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	be "encoding/binary"
	"encoding/json"
	"hash/crc64"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

// What stands here changes files of a stopped node so that every checksum in them is right: only the
// replicas' agreement can tell.

// edited writes "payments" SERVING, stops all nodes, has one edited and starts all. For the leader it
// is the only one that can lead: its log is longer by an entry.
func (c *virtual) edited(who string, edit func(*virtualNode)) *virtualNode {
	c.t.Helper()
	cl := c.client()
	defer cl.Close()
	c.set(cl, "payments", serving)
	c.set(cl, "orders", serving)
	c.caughtUp()
	time.Sleep(time.Second) // registry files are flushed
	bad := c.pick(who)
	rest := c.others(bad)
	if who == "leader" {
		c.net.Isolate(memnet.Stall, bad.cfg.Name)
		alone := c.client(bad)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		_, _ = alone.Set(ctx, "in-nobody-elses-log", serving, client.WriteOptions{})
		cancel()
		alone.Close()
	}
	for _, n := range append(rest, bad) {
		n.stop()
	}
	c.net.Heal()
	edit(bad)
	if who == "leader" {
		bad.start()
		rest[0].start()
		c.until(bad.cfg.Name+" to be elected", func() bool {
			return bad.status().GetMembers()[0].GetRole() == rollcallv1.Role_ROLE_LEADER
		})
		rest[1].start()
	} else {
		rest[0].start()
		rest[1].start()
		c.leader(rest...)
		bad.start()
	}
	return bad
}

func removeRegistryFile(t *testing.T, n *virtualNode) {
	t.Helper()
	must(t, os.Remove(filepath.Join(n.cfg.DataDir, "registry.db")))
}

// overwrite changes a text in the registry file of a node that runs, wherever it stands.
func overwrite(t *testing.T, n *virtualNode, before, after string) {
	t.Helper()
	path := filepath.Join(n.cfg.DataDir, "registry.db")
	content, err := os.ReadFile(path)
	must(t, err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	found := 0
	for at := 0; ; found++ {
		next := bytes.Index(content[at:], []byte(before))
		if next < 0 {
			break
		}
		_, err := f.WriteAt([]byte(after), int64(at+next))
		must(t, err)
		at += next + len(before)
	}
	must(t, f.Close())
	if found == 0 {
		t.Fatalf("%s does not hold %q", path, before)
	}
}

// editRegistryFile has the registry file say that a service is NOT_SERVING; without its state hash too, it is
// as one of a version that kept none.
func editRegistryFile(t *testing.T, n *virtualNode, service string, withoutHash bool) {
	t.Helper()
	editRecord(t, filepath.Join(n.cfg.DataDir, "registry.db"), service, withoutHash)
}

func editRecord(t *testing.T, path, service string, withoutHash bool) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		services, meta := tx.Bucket([]byte("kind.1")), tx.Bucket([]byte("meta"))
		key, sumKey := []byte(service), []byte("sum.kind.1")
		old := append([]byte(nil), services.Get(key)...)
		var r logv1.ServiceRecord
		must(t, logv1.Open(old, &r))
		r.Report.Status = logv1.Status_STATUS_NOT_SERVING
		sealed, err := logv1.Seal(&r)
		must(t, err)
		sum := append([]byte(nil), meta.Get(sumKey)...)
		total := be.BigEndian.Uint64(sum[8:]) - recordSum(key, old) + recordSum(key, sealed)
		must(t, meta.Put(sumKey, be.BigEndian.AppendUint64(sum[:8], total)))
		if withoutHash {
			var m logv1.RegistryMeta
			must(t, logv1.Open(meta.Get([]byte("meta")), &m))
			m.StateHash = nil
			sealedMeta, err := logv1.Seal(&m)
			must(t, err)
			must(t, meta.Put([]byte("meta"), sealedMeta))
		}
		return services.Put(key, sealed)
	}))
	must(t, db.Close())
}

// recordSum is the registry file's, see store/registry/load.go.
func recordSum(key, value []byte) uint64 {
	b := be.BigEndian.AppendUint32(nil, uint32(len(key)))
	return crc64.Checksum(append(append(b, key...), value...), crc64.MakeTable(crc64.ECMA))
}

// editLog has the raft log of a stopped node say that a service was set to NOT_SERVING.
func editLog(t *testing.T, n *virtualNode, service string) {
	t.Helper()
	d, err := store.OpenDirectory(n.cfg.DataDir, n.cfg.Name)
	must(t, err)
	defer func() { must(t, d.Close()) }()
	log, err := store.OpenLog(d, raftlog.Options{})
	must(t, err)
	defer func() { must(t, log.Close()) }()
	first, err := log.FirstIndex()
	must(t, err)
	last, err := log.LastIndex()
	must(t, err)
	var entries []*raft.Log
	for i := first; i <= last; i++ {
		l := new(raft.Log)
		must(t, log.GetLog(i, l))
		entries = append(entries, l)
		if l.Type != raft.LogCommand {
			continue
		}
		var e logv1.Entry
		must(t, logv1.Open(l.Data, &e))
		for _, cmd := range e.GetCommands() {
			for _, change := range cmd.GetWrite().GetChanges() {
				if change.GetService() == service {
					change.Status = logv1.Status_STATUS_NOT_SERVING
				}
			}
		}
		l.Data, err = logv1.Seal(&e)
		must(t, err)
	}
	must(t, log.DeleteRange(first, last))
	must(t, log.StoreLogs(entries))
}

// editSnapshot does to the newest snapshot what editRegistryFile does to the registry file.
func editSnapshot(t *testing.T, n *virtualNode, service string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(n.cfg.DataDir, "snapshots", "*"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no snapshots: %v", err)
	}
	for _, dir := range all {
		statePath, metaPath := filepath.Join(dir, "state.bin"), filepath.Join(dir, "meta.json")
		stream, err := os.ReadFile(statePath)
		must(t, err)
		const lead = len("rollcall") + 4
		length := int(be.BigEndian.Uint32(stream[lead-4:]))
		var header logv1.SnapshotHeader
		must(t, logv1.Open(stream[lead:lead+length], &header))
		registryFile := filepath.Join(t.TempDir(), "registry.db")
		must(t, os.WriteFile(registryFile, stream[lead+length:len(stream)-sha256.Size], 0o600))
		editRecord(t, registryFile, service, false)
		content, err := os.ReadFile(registryFile)
		must(t, err)

		header.Size = uint64(len(content))
		sealed, err := logv1.Seal(proto.CloneOf(&header))
		must(t, err)
		stream = be.BigEndian.AppendUint32([]byte("rollcall"), uint32(len(sealed)))
		stream = append(append(stream, sealed...), content...)
		sum := sha256.Sum256(stream)
		stream = append(stream, sum[:]...)
		must(t, os.WriteFile(statePath, stream, 0o600))

		raw, err := os.ReadFile(metaPath)
		must(t, err)
		meta := map[string]any{}
		must(t, json.Unmarshal(raw, &meta))
		meta["Size"] = len(stream)
		meta["CRC"] = be.BigEndian.AppendUint64(nil, crc64.Checksum(stream, crc64.MakeTable(crc64.ECMA)))
		raw, err = json.Marshal(meta)
		must(t, err)
		must(t, os.WriteFile(metaPath, raw, 0o600))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

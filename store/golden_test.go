package store_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/disktest"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// With -golden the files in testdata/levelN of the newest level are written anew. They are what data
// directories of that level look like: once a version is released they are never written again, and what a
// later level adds gets a directory of its own.
var writeGolden = flag.Bool("golden", false, "write testdata/levelN of the newest level")

const goldenTime = 1700000000000000000

// golden is a data directory of a level.
type golden struct {
	level   uint32
	entry   *logv1.Entry
	records []logv1.Record
	events  []*logv1.Event
	content storetest.Content
}

func (g golden) dir() string { return fmt.Sprint("testdata/level", g.level) }

// goldens are the levels' data directories, oldest first.
var goldens = []golden{
	{1, goldenEntry, goldenRecords, goldenEvents, goldenContent},
	{2, layersEntry, layersRecords, layersEvents, layersContent},
}

var (
	goldenActor = &logv1.Actor{Name: "deploy", Peer: "10.0.0.9:5000"}
	// The store keeps it as it is; what it has to be is a matter of the fold.
	goldenHash   = &logv1.StateHash{Version: 1, Index: 5, Hash: []byte("thirty-two bytes of a state hash")}
	goldenMember = &logv1.Member{Name: "n1", ApiAddress: "10.0.0.1:7600", Level: 1}
	goldenEntry  = &logv1.Entry{Time: goldenTime, StateHash: goldenHash, Commands: []*logv1.Command{
		{Actor: &logv1.Actor{Name: "node n1", Verified: true}, Kind: &logv1.Command_TermStart{TermStart: &logv1.TermStart{
			Term: 2, Leader: "n1", ClusterId: "3f9a", RequestIds: 250_000, RequestWindow: 600_000_000_000}}},
		{Actor: goldenActor, Reason: "release", RequestId: "r1",
			Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{
				{Service: "shop/cart", Status: logv1.Status_STATUS_SERVING, IfRevision: new(int64)},
				{Service: "shop/old", Status: logv1.Status_STATUS_SERVICE_UNKNOWN, MustExist: true},
			}}}},
		{Kind: &logv1.Command_Compact{Compact: &logv1.Compact{Horizon: 4}}},
	}}
	goldenRecords = []logv1.Record{
		storetest.Service(&logv1.ServiceRecord{Service: "shop/cart", Report: &logv1.Report{Status: logv1.Status_STATUS_SERVING, Reason: "release",
			Actor: goldenActor, RequestId: "r1", Time: goldenTime - 9, Revision: 1}, StatusTime: goldenTime - 9}),
		storetest.Service(&logv1.ServiceRecord{Service: "shop/pay", Report: &logv1.Report{Actor: goldenActor, LeaseId: "l1", Time: goldenTime,
			Revision: 5}, StatusTime: goldenTime - 5}),
		storetest.Member(goldenMember),
		storetest.Request(4, 1, &logv1.RequestRecord{Caller: "spiffe://shop/deploy", RequestId: "r1", Hash: []byte("sixteen bytes ok"),
			Time: goldenTime, Cost: 1, Result: storetest.Bytes(goldenResult)}),
		storetest.Request(5, 0, &logv1.RequestRecord{RequestId: "r2", Hash: []byte("sixteen bytes no"), Time: goldenTime, Cost: 1,
			Result: storetest.Bytes(&logv1.StoredResult{Revision: 2, Time: goldenTime, Refusal: goldenRefusal})}),
		{Kind: logv1.Kind_KIND_SETTING, Key: "request_limits", Value: &logv1.Setting{RequestLimits: &logv1.RequestLimits{RequestIds: 250_000, Window: 600_000_000_000}}},
	}
	goldenResult = &logv1.StoredResult{Revision: 2, Time: goldenTime, Services: []string{"shop/cart", "shop/old"}, Changed: []bool{true, true},
		Exists: []bool{true, false}, Revisions: []int64{-1, 0}, Statuses: []logv1.Status{1, 0}, StatusTimes: []int64{-9, 0}, Origins: []uint32{0, 0},
		Origin: []*logv1.Origin{{Reason: "release", Actor: goldenActor, Time: -9, RequestId: "r1"}}}
	goldenRefusal = &logv1.Refusal{Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Kind: logv1.Kind_KIND_SERVICE, Key: "shop/cart", Value: 9, CurrentRevision: 1}
	goldenContent = storetest.Holding(&logv1.RegistryMeta{Format: logv1.RegistryFormat, ClusterId: "3f9a", Index: 5, Term: 2, Revision: 5, LogTime: goldenTime,
		Horizon: 4, Compacted: 4, StateHash: goldenHash}, goldenRecords...)
)

// A block that grew, and what a compaction to revision 4 left.
var goldenEvents = []*logv1.Event{
	{Revision: 1, CommitRevision: 2, Type: logv1.EventType_EVENT_TYPE_REPORTED, Time: goldenTime - 9, Actor: goldenActor, Reason: "release",
		RequestId: "r1", Kind: logv1.Kind_KIND_SERVICE, Key: "shop/cart", PreviousStatus: logv1.Status_STATUS_SERVICE_UNKNOWN, Status: logv1.Status_STATUS_SERVING,
		EffectiveStatus: logv1.Status_STATUS_SERVING, StatusTime: goldenTime - 9},
	{Revision: 2, CommitRevision: 2, Type: logv1.EventType_EVENT_TYPE_REPORTED, Time: goldenTime - 9, Actor: goldenActor, Reason: "release",
		RequestId: "r1", Kind: logv1.Kind_KIND_SERVICE, Key: "shop/old", PreviousStatus: logv1.Status_STATUS_SERVICE_UNKNOWN, Status: logv1.Status_STATUS_NOT_SERVING,
		EffectiveStatus: logv1.Status_STATUS_NOT_SERVING, StatusTime: goldenTime - 9},
	{Revision: 3, CommitRevision: 3, Type: logv1.EventType_EVENT_TYPE_MEMBER_CHANGED, Time: goldenTime - 8,
		Actor: &logv1.Actor{Name: "node n1", Verified: true}, Kind: logv1.Kind_KIND_MEMBER, Key: "n1", After: storetest.Bytes(goldenMember)},
	{Revision: 4, CommitRevision: 5, Type: logv1.EventType_EVENT_TYPE_DELETED, Time: goldenTime, Actor: goldenActor, Kind: logv1.Kind_KIND_SERVICE, Key: "shop/old", Deletes: true,
		PreviousStatus: logv1.Status_STATUS_NOT_SERVING, Status: logv1.Status_STATUS_SERVICE_UNKNOWN,
		EffectiveStatus: logv1.Status_STATUS_SERVICE_UNKNOWN, StatusTime: goldenTime},
	{Revision: 5, CommitRevision: 5, Type: logv1.EventType_EVENT_TYPE_REPORTED, Time: goldenTime, Actor: goldenActor, Kind: logv1.Kind_KIND_SERVICE, Key: "shop/pay",
		Status: logv1.Status_STATUS_UNKNOWN, EffectiveStatus: logv1.Status_STATUS_UNKNOWN, LeaseId: "l1", StatusTime: goldenTime - 5},
}

// What level 2 adds: overrides, rules and leases.
var (
	layersOverride = &logv1.Override{Status: logv1.Status_STATUS_NOT_SERVING, StatusTime: goldenTime, ExpireTime: goldenTime + 3_600_000_000_000,
		Reason: "disk swap", Actor: goldenActor, Time: goldenTime, Revision: 6, RequestId: "r3"}
	layersEnded = &logv1.Override{Status: logv1.Status_STATUS_SERVING, StatusTime: goldenTime, EndedTime: goldenTime, EndedRevision: 8,
		Time: goldenTime, Revision: 7}
	layersRule  = &logv1.Rule{Pattern: "shop/*", MinServing: 1, MinPercent: 34, EnforceReports: true, Reason: "never all", Actor: goldenActor, Time: goldenTime, Revision: 9, RequestId: "r4"}
	layersLease = &logv1.Lease{Ttl: 10_000_000_000, OnExpiry: logv1.Status_STATUS_NOT_SERVING, Reason: "agent", Actor: goldenActor, Time: goldenTime, Revision: 10, RequestId: "r5"}
	layersWaits = &logv1.Lease{Ttl: 1_000_000_000, OnExpiry: logv1.Status_STATUS_NOT_SERVING, ForgetAfter: 60_000_000_000, Time: goldenTime, Revision: 2, End: &logv1.LeaseEnd{
		Time: goldenTime, Revision: 11, Status: logv1.Status_STATUS_NOT_SERVING, Done: true, ForgetTime: goldenTime + 60_000_000_000, Actor: layersNode, Reason: "lease expired", Attached: 1}}
	layersGone = &logv1.Lease{Ttl: 1_000_000_000, OnExpiry: logv1.Status_STATUS_UNKNOWN, Time: goldenTime, Revision: 3, End: &logv1.LeaseEnd{
		Time: goldenTime, Revision: 13, Revoked: true, KeepReports: true, Done: true, Actor: goldenActor, Reason: "moves", RequestId: "r6", Attached: 1}}
	layersGuard  = &logv1.LeaseGuard{Engaged: true, Time: goldenTime, Revision: 15, Late: 41, Live: 52}
	layersNode   = &logv1.Actor{Name: "node n1", Verified: true}
	layersBroken = []*logv1.BrokenRule{{Rule: "shop-min", Pattern: "shop/*", Needed: 1, Serving: 0, Total: 2}}
	layersEntry  = &logv1.Entry{Time: goldenTime, StateHash: goldenHash, Level: 2, Commands: []*logv1.Command{
		{Actor: goldenActor, Reason: "disk swap", RequestId: "r3", BreakGlass: []string{"shop-min"}, Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{
			Kind: logv1.Kind_KIND_OVERRIDE, Payload: storetest.Bytes(&logv1.OverrideCommand{Command: &logv1.OverrideCommand_Set{Set: &logv1.SetOverride{
				Pattern: "shop/*", Status: logv1.Status_STATUS_NOT_SERVING, Ttl: 3_600_000_000_000, IfRevision: new(int64)}}})}}},
		{Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: logv1.Kind_KIND_RULE, Payload: storetest.Bytes(&logv1.RuleCommand{
			Command: &logv1.RuleCommand_Set{Set: &logv1.SetRule{Name: "shop-min", Pattern: "shop/*", MinServing: 1, MinPercent: 34, EnforceReports: true}}})}}},
		{Kind: &logv1.Command_Expire{Expire: &logv1.Expire{Term: 2, Overrides: []*logv1.ExpiredOverride{{Pattern: "shop/*", Revision: 6}}}}},
		{Actor: goldenActor, RequestId: "r5", Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: logv1.Kind_KIND_LEASE, Payload: storetest.Bytes(&logv1.LeaseCommand{
			Command: &logv1.LeaseCommand_Grant{Grant: &logv1.GrantLease{LeaseId: "a00000000000000a", Ttl: 10_000_000_000, OnExpiry: logv1.Status_STATUS_NOT_SERVING}}})}}},
		{Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{{Service: "shop/bag", Status: logv1.Status_STATUS_SERVING, LeaseId: "a00000000000000a"}}}}},
		{Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: logv1.Kind_KIND_LEASE, Payload: storetest.Bytes(&logv1.LeaseCommand{
			Command: &logv1.LeaseCommand_Revoke{Revoke: &logv1.RevokeLease{LeaseId: "c00000000000000c", KeepReports: true}}})}}},
		{Actor: layersNode, Reason: "lease expired", Kind: &logv1.Command_Expire{Expire: &logv1.Expire{Term: 2, Leases: []*logv1.ExpiredLease{{LeaseId: "b00000000000000b", SeenRevision: 10}},
			ForgottenLeases: []string{"d00000000000000d"}}}},
		{Kind: &logv1.Command_HoldLeases{HoldLeases: &logv1.HoldLeases{Term: 2, Engaged: true, Late: 41, Live: 52}}},
		{Actor: goldenActor, Reason: "they are gone", Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: logv1.Kind_KIND_LEASE_GUARD}}},
	}}
	layersRecords = append(slices.Clone(goldenRecords),
		logv1.Record{Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/*", Value: layersOverride},
		logv1.Record{Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/pay", Value: layersEnded},
		logv1.Record{Kind: logv1.Kind_KIND_RULE, Key: "shop-min", Value: layersRule},
		logv1.Record{Kind: logv1.Kind_KIND_LEASE, Key: "a00000000000000a", Value: layersLease},
		logv1.Record{Kind: logv1.Kind_KIND_LEASE, Key: "b00000000000000b", Value: layersWaits},
		logv1.Record{Kind: logv1.Kind_KIND_LEASE_GUARD, Key: "guard", Value: layersGuard},
		storetest.Service(&logv1.ServiceRecord{Service: "shop/bag", StatusTime: goldenTime, Report: &logv1.Report{Status: logv1.Status_STATUS_NOT_SERVING,
			Reason: "lease expired", Actor: layersNode, Time: goldenTime, Revision: 12, LeaseId: "b00000000000000b"}}),
		storetest.Service(&logv1.ServiceRecord{Service: "shop/hat", StatusTime: goldenTime - 5, Report: &logv1.Report{Status: logv1.Status_STATUS_SERVING,
			Reason: "moves", Actor: goldenActor, Time: goldenTime, Revision: 14, RequestId: "r6"}}),
		storetest.Request(5, 1, &logv1.RequestRecord{RequestId: "r3", Hash: []byte("sixteen bytes oh"), Time: goldenTime, Cost: 2,
			Result: storetest.Bytes(&logv1.StoredResult{Revision: 6, Time: goldenTime, BrokenRules: layersBroken,
				Overrides: []*logv1.LayeredOverride{{Pattern: "shop/*", Override: layersOverride}},
				Records:   []*logv1.RecordResult{{Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/*", Changed: true, Value: storetest.Bytes(layersOverride), MatchedCount: 2}}})}),
	)
	layersEvents = append(slices.Clone(goldenEvents),
		&logv1.Event{Revision: 6, CommitRevision: 6, Type: logv1.EventType_EVENT_TYPE_OVERRIDE_SET, Time: goldenTime, Actor: goldenActor, Reason: "disk swap", RequestId: "r3",
			Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/*", After: storetest.Bytes(layersOverride), MatchedCount: 2, RuleBreak: &logv1.RuleBreak{Broken: layersBroken, BreakGlass: []string{"shop-min"}}},
		&logv1.Event{Revision: 7, CommitRevision: 7, Type: logv1.EventType_EVENT_TYPE_OVERRIDE_SET, Time: goldenTime,
			Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/pay", After: storetest.Bytes(layersEnded)},
		&logv1.Event{Revision: 8, CommitRevision: 8, Type: logv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED, Time: goldenTime, Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/pay",
			After: storetest.Bytes(layersEnded), Ends: true, MatchedCount: 1},
		&logv1.Event{Revision: 9, CommitRevision: 9, Type: logv1.EventType_EVENT_TYPE_RULE_SET, Time: goldenTime, Actor: goldenActor, Reason: "never all", RequestId: "r4",
			Kind: logv1.Kind_KIND_RULE, Key: "shop-min", After: storetest.Bytes(layersRule)},
		&logv1.Event{Revision: 10, CommitRevision: 10, Type: logv1.EventType_EVENT_TYPE_LEASE_GRANTED, Time: goldenTime, Actor: goldenActor, Reason: "agent", RequestId: "r5",
			Kind: logv1.Kind_KIND_LEASE, Key: "a00000000000000a", After: storetest.Bytes(layersLease)},
		&logv1.Event{Revision: 11, CommitRevision: 12, Type: logv1.EventType_EVENT_TYPE_LEASE_ENDED, Time: goldenTime, Actor: layersNode, Reason: "lease expired",
			Kind: logv1.Kind_KIND_LEASE, Key: "b00000000000000b", After: storetest.Bytes(layersWaits), MatchedCount: 1, RuleBreak: &logv1.RuleBreak{Broken: layersBroken}},
		&logv1.Event{Revision: 12, CommitRevision: 12, Type: logv1.EventType_EVENT_TYPE_EXPIRED, Time: goldenTime, Actor: layersNode, Reason: "lease expired",
			Kind: logv1.Kind_KIND_SERVICE, Key: "shop/bag", PreviousStatus: logv1.Status_STATUS_SERVING, Status: logv1.Status_STATUS_NOT_SERVING,
			EffectiveStatus: logv1.Status_STATUS_NOT_SERVING, LeaseId: "b00000000000000b", StatusTime: goldenTime},
		&logv1.Event{Revision: 13, CommitRevision: 14, Type: logv1.EventType_EVENT_TYPE_LEASE_ENDED, Time: goldenTime, Actor: goldenActor, Reason: "moves", RequestId: "r6",
			Kind: logv1.Kind_KIND_LEASE, Key: "c00000000000000c", Deletes: true, After: storetest.Bytes(layersGone), MatchedCount: 1},
		&logv1.Event{Revision: 14, CommitRevision: 14, Type: logv1.EventType_EVENT_TYPE_REPORTED, Time: goldenTime, Actor: goldenActor, Reason: "moves", RequestId: "r6",
			Kind: logv1.Kind_KIND_SERVICE, Key: "shop/hat", PreviousStatus: logv1.Status_STATUS_SERVING, Status: logv1.Status_STATUS_SERVING,
			EffectiveStatus: logv1.Status_STATUS_SERVING, LeaseId: "c00000000000000c", Detached: true, StatusTime: goldenTime - 5},
		&logv1.Event{Revision: 15, CommitRevision: 15, Type: logv1.EventType_EVENT_TYPE_LEASE_GUARD, Time: goldenTime, Actor: layersNode,
			Kind: logv1.Kind_KIND_LEASE_GUARD, Key: "guard", After: storetest.Bytes(layersGuard)},
	)
	layersContent = storetest.Holding(&logv1.RegistryMeta{Format: logv1.RegistryFormat, ClusterId: "3f9a", Index: 5, Term: 2, Revision: 15, LogTime: goldenTime,
		Horizon: 4, Compacted: 4, StateHash: goldenHash, Level: 2}, layersRecords...)
)

func makeGolden(t *testing.T, g golden) {
	t.Helper()
	if err := os.MkdirAll(g.dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ROLLCALL_LOG_STORE", string(raftlog.BoltDB)) // all in one file
	d := disktest.Open(t, t.TempDir(), disktest.Lazy)
	if err := d.Dir.SetFounding(store.Founding{ClusterID: "3f9a", Members: []store.FoundingMember{
		{Name: "n1", PeerAddress: "10.0.0.1:7601", DirectoryID: d.Dir.Identity().DirectoryID}}}); err != nil {
		t.Fatal(err)
	}
	entry, err := logv1.Seal(g.entry)
	if err != nil {
		t.Fatal(err)
	}
	d.Fill(1, 5)
	if err := d.Log.SetUint64([]byte("CurrentTerm"), 2); err != nil {
		t.Fatal(err)
	}
	meta := g.content.Meta
	// In two flushes: the block of events grows.
	d.Registry.Append(&logv1.Delta{Index: 1, Term: 1, Revision: 1, ClusterID: meta.GetClusterId(), Events: g.events[:1]})
	d.Flush()
	delta := &logv1.Delta{Index: meta.GetIndex(), Term: meta.GetTerm(), Revision: meta.GetRevision(), LogTime: meta.GetLogTime(),
		ClusterID: meta.GetClusterId(), StateHash: meta.GetStateHash(), Horizon: meta.GetHorizon(), Level: meta.GetLevel(), Events: g.events[1:],
		Records: g.records}
	d.Registry.Append(delta)
	d.Flush()
	d.Compact()
	stream := d.Stream()
	d.Close()
	for name, data := range map[string][]byte{"entry": entry, "snapshot": stream, registry.FileName: registryFileIn(t, stream)} {
		if err := os.WriteFile(filepath.Join(g.dir(), name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{raftlog.FileName, "identity.json"} {
		if err := storetest.CopyFile(filepath.Join(d.Path, name), filepath.Join(g.dir(), name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoldenFiles(t *testing.T) {
	if newest := goldens[len(goldens)-1]; newest.level != logv1.Level {
		t.Errorf("there is no data directory of level %d", logv1.Level)
	} else if *writeGolden {
		makeGolden(t, newest)
	}
	for _, g := range goldens {
		t.Run(fmt.Sprint("level", g.level), func(t *testing.T) { checkGolden(t, g) })
	}
}

func checkGolden(t *testing.T, g golden) {
	path := t.TempDir()
	for _, name := range []string{"identity.json", raftlog.FileName, registry.FileName} {
		if err := storetest.CopyFile(filepath.Join(g.dir(), name), filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	d := disktest.Open(t, path, disktest.Lazy)
	defer d.Close()
	if said := d.Logged.String(); said != "" {
		t.Errorf("the registry file was not used: %s", said)
	}
	disktest.NoTemps(t, path)
	storetest.Same(t, d.Load(), g.content)
	sameHistory(t, d, g.events)
	if f := d.Dir.Identity().Founding; f == nil || f.ClusterID != "3f9a" || len(f.Members) != 1 {
		t.Errorf("founding %+v", f)
	}
	if term, err := d.Log.GetUint64([]byte("CurrentTerm")); term != 2 || err != nil {
		t.Errorf("term %d, %v", term, err)
	}
	if last, err := d.Log.LastIndex(); last != 5 || err != nil {
		t.Errorf("last entry %d, %v", last, err)
	}

	stream, err := os.ReadFile(filepath.Join(g.dir(), "snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Registry.Replace(bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	storetest.Same(t, d.Load(), g.content)
	sameHistory(t, d, g.events)
	disktest.NoTemps(t, path)

	backup, file, err := registry.ExtractBackup(filepath.Join(g.dir(), "snapshot"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := file.Events(); n != len(g.events) || err != nil || backup.Meta.GetFormat() != logv1.RegistryFormat {
		t.Errorf("the backup holds %d events, %v; %v", n, err, backup.Meta)
	}
	if err := file.Remove(); err != nil {
		t.Error(err)
	}

	sealedEntry, err := os.ReadFile(filepath.Join(g.dir(), "entry"))
	if err != nil {
		t.Fatal(err)
	}
	entry := new(logv1.Entry)
	if err := logv1.Open(sealedEntry, entry); err != nil || !proto.Equal(entry, g.entry) {
		t.Errorf("entry %v, %v", entry, err)
	}
	if again, err := logv1.Seal(g.entry); err != nil || !bytes.Equal(again, sealedEntry) {
		t.Errorf("the entry is written as %x (%v), was %x", again, err, sealedEntry)
	}
	// The meta is in the header, the rest is bbolt's.
	if again := d.Stream(); !bytes.Equal(header(t, again), header(t, stream)) {
		t.Errorf("the snapshot begins with %x, began with %x", header(t, again), header(t, stream))
	}
}

// sameHistory requires the registry file to hold the golden events.
func sameHistory(t *testing.T, d *disktest.Disk, want []*logv1.Event) {
	t.Helper()
	have, _, err := d.Events(logv1.EventQuery{From: 1})
	if err != nil || !slices.EqualFunc(have, want, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
		t.Errorf("events %v, %v; want %v", have, err, want)
	}
}

// registryFileIn returns the registry file inside a snapshot.
func registryFileIn(t *testing.T, stream []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	if _, err := snapshot.Read(bytes.NewReader(stream), &file); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// header returns how a snapshot begins, but for the size of the file in it: that is up to bbolt.
func header(t *testing.T, stream []byte) []byte {
	t.Helper()
	h, err := snapshot.Read(bytes.NewReader(stream), nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Size = 1
	sealed, err := logv1.Seal(h)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(stream[:len("rollcall")]), sealed...)
}

package convert

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Member returns the member of a name, without what only a node knows of it: whether it votes, and its phase.
func Member(name string, m *logv1.Member) *rollcallv1.Member {
	return &rollcallv1.Member{
		Name:        name,
		ApiAddress:  m.GetApiAddress(),
		PeerAddress: m.GetPeerAddress(),
		Replica:     m.GetReplica(),
		DirectoryId: DirectoryID(m.GetDirectoryId()),
	}
}

// DirectoryID returns what is shown of the id of a data directory: the whole of it is what members recognise each other
// by.
func DirectoryID(id string) string {
	const shown = 8
	return id[:min(len(id), shown)]
}

// memberAfter names the member also if the event deletes it. One that is no member any more has no addresses.
func memberAfter(e *logv1.Event) *rollcallv1.Member {
	var m logv1.Member
	if err := m.UnmarshalVT(e.GetAfter()); err != nil {
		m.Reset() // a newer binary's; its name is known all the same
	}
	if e.GetDeletes() {
		m.ApiAddress, m.PeerAddress = "", ""
	}
	return Member(e.GetKey(), &m)
}

// removedAfter names the member whose data directory was removed, also if the event says that this is not remembered any
// more.
func removedAfter(e *logv1.Event) *rollcallv1.Member {
	var r logv1.RemovedMember
	if err := r.UnmarshalVT(e.GetAfter()); err != nil {
		r.Reset()
		r.DirectoryId = e.GetKey()
	}
	return &rollcallv1.Member{Name: r.GetName(), DirectoryId: DirectoryID(r.GetDirectoryId())}
}

package convert

import (
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestEventsOfMembers: an event names its member, also if it deletes it, and shows the beginning of its directory's id.
func TestEventsOfMembers(t *testing.T) {
	bytes := func(v logv1.Value) []byte {
		b, err := logv1.AppendValue(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	member := bytes(&logv1.Member{Name: "n4", ApiAddress: "a:1", PeerAddress: "a:2", DirectoryId: "0123456789abcdef", Replica: true, Joined: true})
	removed := bytes(&logv1.RemovedMember{Name: "n4", DirectoryId: "0123456789abcdef", Revision: 3})
	for name, test := range map[string]struct {
		event *logv1.Event
		want  *rollcallv1.Member
	}{
		"changed":           {&logv1.Event{Kind: logv1.Kind_KIND_MEMBER, Key: "n4", After: member}, &rollcallv1.Member{Name: "n4", ApiAddress: "a:1", PeerAddress: "a:2", DirectoryId: "01234567", Replica: true}},
		"deleted":           {&logv1.Event{Kind: logv1.Kind_KIND_MEMBER, Key: "n4", Deletes: true, After: member}, &rollcallv1.Member{Name: "n4", DirectoryId: "01234567", Replica: true}},
		"of an old node":    {&logv1.Event{Kind: logv1.Kind_KIND_MEMBER, Key: "n4", Deletes: true}, &rollcallv1.Member{Name: "n4"}},
		"unreadable":        {&logv1.Event{Kind: logv1.Kind_KIND_MEMBER, Key: "n4", After: []byte{0xff}}, &rollcallv1.Member{Name: "n4"}},
		"removed":           {&logv1.Event{Kind: logv1.Kind_KIND_REMOVED_MEMBER, Key: "0123456789abcdef", After: removed}, &rollcallv1.Member{Name: "n4", DirectoryId: "01234567"}},
		"forgotten":         {&logv1.Event{Kind: logv1.Kind_KIND_REMOVED_MEMBER, Key: "0123456789abcdef", Deletes: true, After: removed}, &rollcallv1.Member{Name: "n4", DirectoryId: "01234567"}},
		"removed, odd":      {&logv1.Event{Kind: logv1.Kind_KIND_REMOVED_MEMBER, Key: "0123456789abcdef", After: []byte{0xff}}, &rollcallv1.Member{DirectoryId: "01234567"}},
		"nobody's":          {&logv1.Event{Kind: logv1.Kind_KIND_REMOVED_MEMBER, Key: "?n4", After: bytes(&logv1.RemovedMember{Name: "n4"})}, &rollcallv1.Member{Name: "n4"}},
		"of a short id too": {&logv1.Event{Kind: logv1.Kind_KIND_MEMBER, Key: "n4", After: bytes(&logv1.Member{DirectoryId: "d4"})}, &rollcallv1.Member{Name: "n4", DirectoryId: "d4"}},
	} {
		if got := Event(test.event).GetMember(); !proto.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

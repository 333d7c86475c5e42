package rpcerror

import (
	"testing"

	"google.golang.org/grpc/codes"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestRefusedMembers: what the fold refuses of a change of members, in words that say what to do instead.
func TestRefusedMembers(t *testing.T) {
	for _, tt := range []struct {
		refusal *logv1.Refusal
		code    codes.Code
		reason  string
		text    string
	}{
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_MEMBER_EXISTS, Given: "d0000000-1111", Held: "d0000000-1111"}, codes.AlreadyExists, "MEMBER_EXISTS",
			"not written: n4 is a member already, with this data directory (d0000000)"},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_MEMBER_EXISTS, Given: "e0000000-1111", Held: "d0000000-1111"}, codes.AlreadyExists, "MEMBER_EXISTS",
			"not written: n4 is a member already, with another data directory (d0000000); if that is lost, replace it: rollcall member replace n4; else give the new node another name"},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_DIRECTORY_REMOVED, Given: "d0000000-1111", Held: "n3", Value: 7}, codes.FailedPrecondition, "DIRECTORY_REMOVED",
			"not written: the data directory of n4 (d0000000) was removed from the cluster at revision 7, when it was that of n3, and is never a member again; start the node with an empty data directory"},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_LAST_VOTER}, codes.FailedPrecondition, "LAST_VOTER",
			"not written: n4 is the only member that votes; add another one first, or promote a replica"},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND}, codes.NotFound, "NOT_FOUND", `member "n4" does not exist`},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND, Held: "d0000000-1111", Value: 7}, codes.NotFound, "NOT_FOUND", `member "n4" does not exist: it was removed at revision 7`},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_LIMIT, Field: "voters", Limit: 9}, codes.ResourceExhausted, "TABLE_FULL",
			"not written: there are 9 voters, and there cannot be more; remove one first, or add the node as a replica (--replica)"},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_LIMIT, Field: "replicas", Limit: 20}, codes.ResourceExhausted, "TABLE_FULL",
			"not written: there are 20 replicas, and there cannot be more; remove one first"},
	} {
		tt.refusal.Kind, tt.refusal.Key = logv1.Kind_KIND_MEMBER, "n4"
		f := Refused(tt.refusal)
		if f.Reason != tt.reason || codeOf[f.Reason] != tt.code || f.Message != tt.text || f.Meta[MetaWritten] != WrittenNo || f.Meta[MetaMember] != "n4" {
			t.Errorf("%v:\ngot  %v %s %q %v\nwant %v %s %q", tt.refusal.GetReason(), codeOf[f.Reason], f.Reason, f.Message, f.Meta, tt.code, tt.reason, tt.text)
		}
	}
}

// TestConflictingDirectoriesAreShort: who announces itself with another directory than the cluster knows does not learn
// the id of that one.
func TestConflictingDirectoriesAreShort(t *testing.T) {
	got := RefusalText(&logv1.Refusal{
		Reason: logv1.Refusal_REASON_INVALID, Kind: logv1.Kind_KIND_MEMBER, Key: "n3", Field: "member.directory_id",
		Problem: logv1.Refusal_PROBLEM_CONFLICT, Given: "0b6e2f0a-4c5e-4b58-9a49-2d9a9a6c9d11", Held: "7c1d3b55-1a0e-4b0e-8d8a-5f0d2b7b9e22",
	})
	if want := `member.directory_id of member "n3" is "0b6e2f0a"; the cluster knows it with "7c1d3b55"`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

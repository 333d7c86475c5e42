package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

func TestMemberList(t *testing.T) {
	f := startFake(t)
	f.startMembers()
	rollcall(t, "member", "list").want(t, 0, ""+
		"MEMBER  PHASE  PEER            API             DIRECTORY\n"+
		"n1      voter  127.0.0.1:7601  127.0.0.1:7600  d1rn100\n"+
		"n2      voter  127.0.0.1:7611  127.0.0.1:7610  d1rn200\n"+
		"n3      voter  127.0.0.1:7621  127.0.0.1:7620  d1rn300\n", "")
	phase("n2", joining, "12,345 entries behind")(f)
	phase("n3", rollcallv1.MemberPhase_MEMBER_PHASE_UNSPECIFIED, "")(f) // as an older node tells it
	rollcall(t, "member", "ls", "--no-headers").want(t, 0, ""+
		"n1  voter    127.0.0.1:7601  127.0.0.1:7600  d1rn100\n"+
		"n2  joining  127.0.0.1:7611  127.0.0.1:7610  d1rn200\n"+
		"n3  -        127.0.0.1:7621  127.0.0.1:7620  d1rn300\n"+
		"n2 is joining: 12,345 entries behind\n", "")
	rollcall(t, "member", "list", "-o", "name").want(t, 0, "n1\nn2\nn3\n", "")
	var out struct {
		Cluster string `json:"cluster_id"`
		Leader  string
		Members []map[string]any
	}
	r := rollcall(t, "member", "list", "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
		t.Fatal(err, r)
	}
	if out.Cluster != "3f9ac2d18e6b4f05" || out.Leader != "n1" || len(out.Members) != 3 || out.Members[1]["phase"] != "joining" || out.Members[1]["phase_detail"] != "12,345 entries behind" {
		t.Error(r.stdout)
	}
}

// The status has a column for phases when one of them is of interest.
func TestStatusShowsPhases(t *testing.T) {
	f := startFake(t)
	f.startMembers()
	if r := rollcall(t, "status"); strings.Contains(r.stdout, "PHASE") {
		t.Error(r.stdout)
	}
	if r := rollcall(t, "status", "-o", "wide"); !strings.Contains(r.stdout, "DIRECTORY") || !strings.Contains(r.stdout, "d1rn200") {
		t.Error(r.stdout)
	}
	phase("n3", replica, "")(f)
	if r := rollcall(t, "status"); !strings.Contains(r.stdout, "NODE  ROLE      PHASE    READY") || !strings.Contains(r.stdout, "n3    follower  replica  yes") {
		t.Error(r.stdout)
	}
	phase("n2", joining, "1,234 entries behind")(f)
	phase("n3", leaving, "waits: n2 does not answer, and without it n1 alone has no quorum")(f) // stands among the problems
	r := rollcall(t, "status")
	if !strings.HasSuffix(r.stdout, "\nn2 is joining: 1,234 entries behind\n") {
		t.Error(r.stdout)
	}
	phase("n2", voter, "")(f)
	r = rollcall(t, "status")
	rollcall(t, "status", "--wait", "300ms").want(t, exitNotAsAsked, r.stdout,
		"rollcall: the cluster is not ready after 300ms: n3 is leaving: waits: n2 does not answer, and without it n1 alone has no quorum\n")
}

func TestMemberAddWaitsUntilItVotes(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.startMembers(
			phase("n4", joining, ""),
			phase("n4", joining, "12,345 entries behind"), phase("n4", joining, "12,000 entries behind"), phase("n4", joining, "12,000 entries behind"),
			unanswering(codes.Unavailable, "draining"),
			phase("n4", joining, "9,000 entries behind"), phase("n4", joining, "6,000 entries behind"), phase("n4", joining, "3,000 entries behind"),
			phase("n4", joining, "1,000 entries behind"), phase("n4", joining, "10 entries behind"), phase("n4", joining, "2 entries behind"),
			phase("n4", voter, ""),
		)
		// A new phase is told at once, numbers every two seconds.
		run("member", "add", "n4", "--peer", "127.0.0.1:7631", "--reason", "grow", "--actor", "ann").want(t, 0, "n4 added, revision 1\nn4 is a voter; of 4 voters, 3 must run for changes\n",
			"n4 is joining\nn4 is joining: 10 entries behind\n")
		req := f.members.asked[0].(*rollcallv1.AddMemberRequest)
		if req.GetName() != "n4" || req.GetPeerAddress() != "127.0.0.1:7631" || req.GetReplica() || req.GetReason() != "grow" || req.GetActor() != "ann" || req.GetRequestId() == "" {
			t.Error(req)
		}
	})
}

func TestMemberChangesForPrograms(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.startMembers(phase("n4", joining, "5 entries behind"), phase("n4", voter, ""))
		r := run("member", "add", "n4", "--peer", "127.0.0.1:7631", "-o", "json")
		var out struct {
			Member   map[string]any
			Revision int64
		}
		if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || r.code != 0 || r.stderr != "" {
			t.Fatal(err, r)
		}
		if out.Revision != 1 || out.Member["phase"] != "voter" || out.Member["name"] != "n4" || out.Member["voter"] != true {
			t.Error(r.stdout)
		}
		f.startMembers(phase("n3", leaving, ""), without("n3"))
		run("member", "remove", "n3", "-o", "name").want(t, 0, "n3\n", "")
		f.startMembers(phase("n2", joining, "5 entries behind"))
		r = run("member", "replace", "n2", "-o", "json", "--timeout", "1s")
		if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || r.code != exitNotAsAsked || out.Member["phase"] != "joining" || out.Member["directory_id"] != "d2rn200" {
			t.Error(err, r)
		}
		var failed map[string]any
		if err := json.Unmarshal([]byte(r.stderr), &failed); err != nil || failed["written"] != "yes" || failed["reason"] != "NOT_AS_ASKED" {
			t.Error(err, r)
		}
	})
}

func TestMemberRemoveWaitsUntilItIsGone(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.startMembers(phase("n3", leaving, ""), phase("n3", leaving, "waits: n2 does not answer"), without("n3"))
		run("member", "remove", "n3").want(t, 0, "n3 removed, revision 1\nthe cluster does without n3; of 2 voters, 2 must run for changes\n", "n3 is leaving\n")
		// Another directory of the name may be a member again by then.
		f.startMembers(phase("n3", leaving, ""), phase("n3", leaving, ""), func(f *fake) error {
			m := f.memberOf("n3")
			m.DirectoryId, m.Phase = "d9rn300", joining
			return nil
		})
		run("member", "remove", "n3").want(t, 0, "n3 removed, revision 2\nthe cluster does without n3; of 2 voters, 2 must run for changes\n", "n3 is leaving\n")
	})
}

// A member that is removed ends. If it is the one that is asked, the others say what becomes of it.
func TestMemberRemoveOfTheOneThatIsAsked(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.startMembers(func(f *fake) error { f.noStatus = refusal(codes.Unavailable, "", "it has ended", nil); return nil })
		l := bufconn.Listen(64 << 10)
		other := serveFake(t, l)
		other.startMembers()
		without("n1")(other)
		other.status.Revision = 1
		f.others = map[string]*bufconn.Listener{"127.0.0.1:7620": l}
		run("member", "remove", "n1").want(t, 0, "n1 removed, revision 1\nthe cluster does without n1; of 2 voters, 2 must run for changes\n", "")
	})
}

func TestMemberReplaceAndPromote(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		// What a node that has not folded the change says of the name is of the old directory.
		f.startMembers(func(f *fake) error { f.revision--; f.memberOf("n3").Phase = voter; return nil },
			func(f *fake) error { f.revision++; f.memberOf("n3").Phase = joining; return nil }, phase("n3", voter, ""))
		run("member", "replace", "n3", "--peer", "127.0.0.1:9999", "--force").want(t, 0, "n3 replaced, revision 1\nn3 is a voter; of 3 voters, 2 must run for changes\n", "…")
		if req := f.members.asked[0].(*rollcallv1.ReplaceMemberRequest); req.GetPeerAddress() != "127.0.0.1:9999" || !req.GetForce() {
			t.Error(req)
		}
		f.startMembers(phase("r1", joining, ""), phase("r1", replica, ""), ready("r1"))
		run("member", "add", "r1", "--peer", "127.0.0.1:7631", "--replica").want(t, 0, "r1 added as a replica, revision 2\nr1 is a replica, and ready\n", "r1 is joining\nr1 is a replica, and not ready yet\n")
		f.members.steps = []fakeStep{phase("r1", joining, "waits: 3 voters"), phase("r1", voter, "")}
		run("member", "promote", "r1").want(t, 0, "r1 promoted, revision 3\nr1 is a voter; of 4 voters, 3 must run for changes\n", "r1 is joining: waits: 3 voters\n")
		run("member", "promote", "r1").want(t, 0, "r1 votes already, revision 3\nr1 is a voter; of 4 voters, 3 must run for changes\n", "")
	})
}

func TestMemberChangesThatAreNotCarriedOutInTime(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		const goesOn = `; the cluster goes on by itself; "rollcall member list" shows how far it is` + "\n"
		f.startMembers(phase("n4", joining, "7 entries behind"))
		run("member", "add", "n4", "--peer", "127.0.0.1:7631", "--timeout", "3s").want(t, exitNotAsAsked, "n4 added, revision 1\n",
			"n4 is joining: 7 entries behind\nrollcall: n4 added, revision 1, but that is not carried out after 3s: n4 is joining: 7 entries behind"+goesOn)
		f.startMembers(phase("n4", joining, ""), without("n4"))
		run("member", "add", "n4", "--peer", "127.0.0.1:7631").want(t, exitNotAsAsked, "n4 added, revision 2\n",
			"n4 is joining\nrollcall: n4 added, revision 2, but it is no member any more: somebody else removed or replaced it; \"rollcall events --type member-removed\" shows who\n")
		f.startMembers(func(f *fake) error {
			return refusal(codes.PermissionDenied, client.ReasonDenied, "anonymous may not status", nil)
		})
		run("member", "remove", "n3").want(t, exitNotAsAsked, "n3 removed, revision 3\n",
			"rollcall: n3 removed, revision 3, but how far it is cannot be seen: it needs the verb status; \"rollcall whoami\" shows what you may do\n")
		f.startMembers(func(f *fake) error { f.noStatus = refusal(codes.Unavailable, "", "it stops", nil); return nil })
		f.memberOf("n3").Phase = replica
		r := run("member", "promote", "n3", "--timeout", "2s")
		if r.code != exitNotAsAsked || !strings.Contains(r.stderr, "rollcall: n3 promoted, revision 4, but that is not carried out after 2s: no node says how far it is") {
			t.Error(r)
		}
		f.noStatus = nil
		f.startMembers(func(f *fake) error { f.revision = 4; return nil })
		f.memberOf("n3").Phase = replica
		r = run("member", "promote", "n3", "--timeout", "2s")
		if r.code != exitNotAsAsked || !strings.Contains(r.stderr, "not carried out after 2s: n1 has not received the change yet") {
			t.Error(r)
		}
	})
}

// Ctrl-C ends the wait, and undoes nothing.
func TestMemberWaitIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &app{now: time.Now, output: formatJSON}
	w := &memberWait{a: a, timeout: time.Minute, told: "n4 added, revision 7"}
	_, err := w.wait(ctx, ctx, func(ctx context.Context) (*rollcallv1.GetStatusResponse, error) { return nil, ctx.Err() })
	f, ok := errors.AsType[*failure](err)
	if !ok || f.exit != exitNotAsAsked || !f.made || f.reason != reasonInterrupted || !strings.HasPrefix(f.Error(), "interrupted: n4 added, revision 7, and that is not carried out yet; ") {
		t.Error(err)
	}
}

func TestMemberChangesThatDoNotWait(t *testing.T) {
	f := startFake(t)
	f.startMembers()
	rollcall(t, "member", "add", "n4", "--peer", "[::1]:7631", "--no-wait").want(t, 0, "n4 added, revision 1\n", "")
	rollcall(t, "member", "remove", "n3", "--no-wait").want(t, 0, "n3 removed, revision 2\n", "")
	rollcall(t, "member", "replace", "n2", "--no-wait").want(t, 0, "n2 replaced, revision 3\n", "")
	rollcall(t, "member", "promote", "n4", "--no-wait").want(t, 0, "n4 promoted, revision 4\n", "")
	rollcall(t, "member", "add", "n5", "--peer", "h:1", "--dry-run").want(t, 0, "n5 would be added; dry run, nothing changed\n", "")
	rollcall(t, "member", "add", "n5", "--peer", "h:1", "--replica", "--dry-run").want(t, 0, "n5 would be added as a replica; dry run, nothing changed\n", "")
	rollcall(t, "member", "remove", "n2", "--dry-run").want(t, 0, "n2 would be removed; dry run, nothing changed\n", "")
	rollcall(t, "member", "replace", "n2", "--dry-run").want(t, 0, "n2 would be replaced; dry run, nothing changed\n", "")
	rollcall(t, "member", "promote", "n2", "--dry-run").want(t, 0, "n2 would be promoted; dry run, nothing changed\n", "")
	if f.revision != 4 {
		t.Errorf("revision %d", f.revision)
	}
}

func TestMemberUsage(t *testing.T) {
	f := startFake(t)
	f.startMembers()
	const see = "; see \"rollcall member add --help\"\n"
	for args, want := range map[string]string{
		"member add":                            "NAME is missing" + see,
		"member add n4":                         "--peer is missing: the peer address of n4, host:port\n",
		"member add n4 n5 --peer h:1":           "\"n5\" is one argument too many" + see,
		"member add N4 --peer h:1":              "\"N4\" is not a node name: 1 to 63 of a-z, 0-9, \"-\" and \".\", beginning and ending with a letter or digit\n",
		"member add n4 --peer h":                "--peer is \"h\"; it must be host:port, as 10.0.0.4:7601 or [::1]:7601\n",
		"member add n4 --peer :1":               "--peer is \":1\"; it must be host:port, as 10.0.0.4:7601 or [::1]:7601\n",
		"member add n4 --peer h:0":              "--peer is \"h:0\"; its port must be a number from 1 to 65535\n",
		"member add n4 --peer h:x":              "--peer is \"h:x\"; its port must be a number from 1 to 65535\n",
		"member add n4 --peer h:65536":          "--peer is \"h:65536\"; its port must be a number from 1 to 65535\n",
		"member add n4 --peer h:1 --peer h:2":   "--peer is given twice; give it once" + see,
		"member add n4 --peer h:1 --timeout 0s": "--timeout is 0s; it must be more than 0\n",
		"member replace n3 --peer 1.2.3.4":      "--peer is \"1.2.3.4\"; it must be host:port, as 10.0.0.4:7601 or [::1]:7601\n",
		"member remove n_3":                     "\"n_3\" is not a node name: 1 to 63 of a-z, 0-9, \"-\" and \".\", beginning and ending with a letter or digit\n",
		"member promote -n3":                    "…",
		"transfer-leader N1":                    "\"N1\" is not a node name: 1 to 63 of a-z, 0-9, \"-\" and \".\", beginning and ending with a letter or digit\n",
		"transfer-leader n1 n2":                 "\"n2\" is one argument too many; see \"rollcall transfer-leader --help\"\n",
		"member drop n3":                        "unknown command \"drop\" for \"rollcall member\"; use add, list, promote, remove or replace; see \"rollcall member --help\"\n",
		"member delete n3":                      "unknown command \"delete\" for \"rollcall member\"; did you mean \"remove\"? see \"rollcall member --help\"\n",
	} {
		rollcall(t, strings.Fields(args)...).want(t, exitNotDone, "", "rollcall: "+want)
	}
	if len(f.members.asked) > 0 {
		t.Errorf("something was asked: %v", f.members.asked)
	}
}

// Nodes say what to do about a refusal, and it is not said twice.
func TestMemberRefusals(t *testing.T) {
	f := startFake(t)
	f.startMembers()
	for reason, message := range map[string]string{
		client.ReasonMemberExists:      "not written: n4 is a member already",
		client.ReasonWouldLoseQuorum:   "not written: without n4 there are 2 voters; mend those first",
		client.ReasonUpgradeIncomplete: "not written: n4 runs v1: start a newer version of rollcall there",
	} {
		f.refuseWrites(refusal(codes.FailedPrecondition, reason, message, map[string]string{"written": "no"}))
		rollcall(t, "member", "add", "n4", "--peer", "h:1").want(t, exitNotDone, "", "rollcall: cannot add n4: "+message+"\n")
	}
	f.refuseWrites(refusal(codes.FailedPrecondition, client.ReasonUpgradeIncomplete, "not written: level 2 waits", map[string]string{"written": "no"}))
	rollcall(t, "member", "promote", "n2").want(t, exitNotDone, "", "rollcall: cannot promote n2: not written: level 2 waits; \"rollcall status\" shows which members are to be upgraded first\n")
	f.refuseWrites(refusal(codes.NotFound, "NOT_FOUND", "nobody can take its place; add it: rollcall member add n3 --peer HOST:PORT", nil))
	rollcall(t, "member", "replace", "n3").want(t, exitNotDone, "", "rollcall: cannot replace n3: nobody can take its place; add it: rollcall member add n3 --peer HOST:PORT\n")
	f.refuseWrites(refusal(codes.FailedPrecondition, client.ReasonNotTransferred, "n4 does not vote", map[string]string{"written": "no"}))
	rollcall(t, "transfer-leader", "n4").want(t, exitNotDone, "", "rollcall: cannot transfer leadership to n4: n4 does not vote\n")
	f.refuseWrites(refusal(codes.Unknown, "OUTCOME_UNKNOWN", "outcome unknown: n1 does not lead any more; see rollcall status", map[string]string{"written": "unknown"}))
	rollcall(t, "transfer-leader").want(t, exitUnknown, "", "rollcall: outcome of transfer leadership unknown: "+f.address+": n1 does not lead any more…")
	f.refuseWrites(nil)
	rollcall(t, "member", "remove", "n9").want(t, exitNotDone, "", "rollcall: cannot remove n9: n9 is no member; \"rollcall member list\" shows the members\n")
}

func TestTransferLeader(t *testing.T) {
	f := startFake(t)
	f.startMembers()
	rollcall(t, "transfer-leader").want(t, 0, "n2 leads, term 3\n", "")
	rollcall(t, "transfer-leader", "n3").want(t, 0, "n3 leads, term 4\n", "")
	rollcall(t, "transfer-leader", "-o", "name").want(t, 0, "n2\n", "")
	rollcall(t, "transfer-leader", "n1", "-o", "json").want(t, 0, "{\n  \"leader\": \"n1\",\n  \"term\": 6\n}\n", "")
}

func TestMemberNamesAreCompleted(t *testing.T) {
	f := startFake(t)
	f.startMembers()
	f.memberOf("n2").Replica = true
	for args, want := range map[string]string{
		"member remove ":    "n1\nn2\nn3\n:4\n",
		"member replace n3": "n3\n:4\n",
		"member promote ":   "n2\n:4\n",
		"transfer-leader ":  "n1\nn2\nn3\n:4\n",
		"member remove n1 ": ":4\n",
		"member add ":       ":0\n",
	} {
		words := strings.Split(args, " ")
		r := rollcall(t, append([]string{"__complete"}, words...)...)
		if r.stdout != want {
			t.Errorf("%s: %q, want %q", args, r.stdout, want)
		}
	}
}

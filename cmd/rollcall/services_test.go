package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestSetReportsWhatBecameOfIt(t *testing.T) {
	startFake(t)
	rollcall(t, "set", "shop/cart", "serving").want(t, 0, "shop/cart SERVING, revision 1\n", "")
	rollcall(t, "set", "shop/cart", "SERVING").want(t, 0, "shop/cart SERVING already since revision 1; nothing changed\n", "")
	rollcall(t, "set", "shop/cart", "not-serving", "--dry-run").want(t, 0, "shop/cart would be NOT_SERVING; dry run, nothing changed\n", "")
	rollcall(t, "set", "shop/cart=Not_Serving").want(t, 0, "shop/cart NOT_SERVING, revision 2\n", "")
	rollcall(t, "set", "a=serving", "bb=unknown").want(t, 0, "a   SERVING\nbb  UNKNOWN\n2 of 2 changed, revision 4\n", "")
}

func TestSetSendsItsFlags(t *testing.T) {
	f := startFake(t)
	rollcall(t, "set", "a", "serving", "--reason", "why", "--actor", "alice", "--request-id", "id-1", "--if-revision", "0").want(t, 0, "a SERVING, revision 1\n", "")
	req := <-f.wrote
	got := fmt.Sprint(req.GetService(), req.Status, req.GetReason(), req.GetActor(), req.GetRequestId(), req.IfRevision != nil, req.GetIfRevision(), req.GetValidateOnly())
	if want := fmt.Sprint("a", serving.Enum(), "why", "alice", "id-1", true, 0, false); got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	rollcall(t, "set", "b", "serving").want(t, 0, "…", "")
	req = <-f.wrote
	if req.IfRevision != nil {
		t.Error("if_revision was sent without the flag")
	}
	if req.GetActor() != defaultActor() || req.GetRequestId() == "" {
		t.Errorf("actor %q, request id %q", req.GetActor(), req.GetRequestId())
	}
}

func TestExitStatusesOfWrites(t *testing.T) {
	for _, test := range []struct {
		name   string
		refuse error
		args   []string
		code   int
		stderr string
		asJSON string
	}{
		{
			name:   "revision differs",
			args:   []string{"set", "a", "serving", "--if-revision", "7", "--request-id", "r1"},
			code:   exitNotDone,
			stderr: "rollcall: cannot set a: it does not exist, so it has no revision that --if-revision could name; --if-revision 0 creates it\n",
			asJSON: `{"code":"FAILED_PRECONDITION","reason":"REVISION_MISMATCH","message":"cannot set a: it does not exist, so it has no revision that --if-revision could name; --if-revision 0 creates it","written":"no","request_id":"r1"}`,
		},
		{
			name:   "outcome unknown",
			refuse: refusal(codes.Unknown, "OUTCOME_UNKNOWN", "leadership lost", nil),
			args:   []string{"set", "a", "serving", "--timeout", "800ms", "--request-id", "r1"},
			code:   exitUnknown,
			stderr: "rollcall: outcome of set a unknown: not done within 800ms; last: ENDPOINT: leadership lost; it may have been done, or may still be: repeat it as it was with --request-id r1 within ten minutes, and it is done once\n",
			asJSON: `{"code":"DEADLINE_EXCEEDED","reason":"OUTCOME_UNKNOWN","message":"outcome of set a unknown: not done within 800ms; last: ENDPOINT: leadership lost; it may have been done, or may still be: repeat it as it was with --request-id r1 within ten minutes, and it is done once","written":"unknown","request_id":"r1"}`,
		},
		{
			name:   "outcome unknown, in a node's words for programs",
			refuse: refusal(codes.Unknown, "OUTCOME_UNKNOWN", "outcome unknown: the leader lost the majority; retry only with the same request_id", nil),
			args:   []string{"set", "a", "serving", "--timeout", "800ms", "--request-id", "r1"},
			code:   exitUnknown,
			stderr: "rollcall: outcome of set a unknown: not done within 800ms; last: ENDPOINT: the leader lost the majority; it may have been done, or may still be: repeat it as it was with --request-id r1 within ten minutes, and it is done once\n",
			asJSON: `{"code":"DEADLINE_EXCEEDED","reason":"OUTCOME_UNKNOWN","message":"outcome of set a unknown: not done within 800ms; last: ENDPOINT: the leader lost the majority; it may have been done, or may still be: repeat it as it was with --request-id r1 within ten minutes, and it is done once","written":"unknown","request_id":"r1"}`,
		},
		{
			name:   "--cluster asks for another one",
			refuse: refusal(codes.FailedPrecondition, "CLUSTER_CHANGED", "another cluster", map[string]string{"cluster_id": "3f9a8b7c"}),
			args:   []string{"set", "a", "serving", "--cluster", "ffff", "--request-id", "r1"},
			code:   exitNotDone,
			stderr: "rollcall: cannot set a: --cluster asks for ffff, and the endpoints serve 3f9a8b7c; nothing was changed\n",
			asJSON: `{"code":"FAILED_PRECONDITION","reason":"CLUSTER_CHANGED","message":"cannot set a: --cluster asks for ffff, and the endpoints serve 3f9a8b7c; nothing was changed","written":"no","request_id":"r1","cluster_id":"3f9a8b7c"}`,
		},
		{
			name:   "--cluster with the short id that status shows",
			refuse: refusal(codes.FailedPrecondition, "CLUSTER_CHANGED", "another cluster", map[string]string{"cluster_id": "3f9a8b7c"}),
			args:   []string{"set", "a", "serving", "--cluster", "3f9a", "--request-id", "r1"},
			code:   exitNotDone,
			stderr: "rollcall: cannot set a: --cluster is 3f9a, the beginning of an id; the whole id of the cluster of these endpoints is 3f9a8b7c\n",
			asJSON: `{"code":"FAILED_PRECONDITION","reason":"CLUSTER_CHANGED","message":"cannot set a: --cluster is 3f9a, the beginning of an id; the whole id of the cluster of these endpoints is 3f9a8b7c","written":"no","request_id":"r1","cluster_id":"3f9a8b7c"}`,
		},
		{
			name:   "bare unavailable proves nothing",
			refuse: status.Error(codes.Unavailable, "connection reset"),
			args:   []string{"delete", "a", "--timeout", "800ms", "--request-id", "r1"},
			code:   exitUnknown,
			stderr: "rollcall: outcome of delete a unknown: not done within 800ms; last: ENDPOINT: connection reset; it may have been done, or may still be: repeat it as it was with --request-id r1 within ten minutes, and it is done once\n",
			asJSON: `{"code":"DEADLINE_EXCEEDED","reason":"","message":"outcome of delete a unknown: not done within 800ms; last: ENDPOINT: connection reset; it may have been done, or may still be: repeat it as it was with --request-id r1 within ten minutes, and it is done once","written":"unknown","request_id":"r1"}`,
		},
		{
			name:   "no leader until the time is over",
			refuse: refusal(codes.Unavailable, "NOT_WRITTEN", "no leader", nil),
			args:   []string{"set", "a=serving", "b=serving", "--timeout", "800ms", "--request-id", "r1"},
			code:   exitNotDone,
			stderr: "rollcall: cannot set 2 services: not done within 800ms; last: ENDPOINT: no leader; nothing was written, so it can be repeated; \"rollcall status\" shows what is wrong\n",
			asJSON: `{"code":"DEADLINE_EXCEEDED","reason":"NOT_WRITTEN","message":"cannot set 2 services: not done within 800ms; last: ENDPOINT: no leader; nothing was written, so it can be repeated; \"rollcall status\" shows what is wrong","written":"no","request_id":"r1"}`,
		},
		{
			name:   "no leader, and the other endpoints refuse connections",
			refuse: refusal(codes.Unavailable, "NOT_WRITTEN", "no leader", nil),
			args:   []string{"set", "a", "serving", "-e", virtualFake + ",127.0.0.1:1,127.0.0.1:2", "--timeout", "3s", "--request-id", "r1"},
			code:   exitNotDone,
			stderr: "rollcall: cannot set a: not done within 3s; last: ENDPOINT: no leader; nothing was written, so it can be repeated; \"rollcall status\" shows what is wrong\n",
			asJSON: `{"code":"DEADLINE_EXCEEDED","reason":"NOT_WRITTEN","message":"cannot set a: not done within 3s; last: ENDPOINT: no leader; nothing was written, so it can be repeated; \"rollcall status\" shows what is wrong","written":"no","request_id":"r1"}`,
		},
		{
			name:   "no such service",
			args:   []string{"delete", "a", "--request-id", "r1"},
			code:   exitNotDone,
			stderr: "rollcall: cannot delete a: a does not exist; \"rollcall list\" shows the services\n",
			asJSON: `{"code":"NOT_FOUND","reason":"NOT_FOUND","message":"cannot delete a: a does not exist; \"rollcall list\" shows the services","written":"no","request_id":"r1"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
				f.refuseWrites(test.refuse)
				at := func(s string) string { return strings.ReplaceAll(s, "ENDPOINT", f.address) }
				run(test.args...).want(t, test.code, "", at(test.stderr))
				run(append(test.args, "-o", "json")...).want(t, test.code, "", at(test.asJSON)+"\n")
			})
		})
	}
}

func TestNoNodeAnswersIsOneLineWithAdvice(t *testing.T) {
	dead := closedPort()
	const advice = `start a cluster on this machine with "rollcall dev", or name your nodes with --endpoints`
	for _, args := range [][]string{{"get", "a"}, {"set", "a", "serving"}, {"list"}, {"status"}, {"watch", "a"}, {"watch", "--prefix", "a"}, {"events"}, {"events", "--follow"}, {"events", "--follow", "--since", "1m"}, {"history", "a"}} {
		rollcall(t, append(args, "-e", dead)...).want(t, exitNotDone, "", "rollcall: no endpoint answers: tried "+dead+": connection refused; "+advice+"\n")
	}
	virtual(t, func(t *testing.T, _ *fake, run func(...string) result) {
		run("status", "--wait", "200ms", "-e", dead).want(t, exitNotDone, "", "rollcall: no node answers within 200ms: tried "+dead+": connection refused; "+advice+"\n")
		run("wait", "a", "--timeout", "200ms", "-e", dead).want(t, exitNotDone, "", "rollcall: no node answers within 200ms: tried "+dead+"; "+advice+"\n")
	})
}

// A watch goes on trying and hears nothing of why. That a node answers, and cannot tell yet, is not "no node
// answers".
func TestWaitingForANodeThatCannotTellSaysWhatItSays(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.refuseReads(status.Error(codes.Unavailable, "this node belongs to no cluster yet"))
		want := "rollcall: no node can answer within 10s: " + f.address + `: this node belongs to no cluster yet; "rollcall status" shows what is wrong` + "\n"
		still := "rollcall: no node can answer: " + f.address + `: this node belongs to no cluster yet; still trying; "rollcall status" shows what is wrong` + "\n"
		run("wait", "a", "--timeout", "10s").want(t, exitNotDone, "", still+want)
		run("wait", "a", "--timeout", "2s").want(t, exitNotDone, "", strings.Replace(want, "10s", "2s", 1))
	})
}

// closedPort is tcpmux's, where nobody listens and no other test can come to.
func closedPort() string { return "127.0.0.1:1" }

func TestGet(t *testing.T) {
	f := startFake(t)
	rollcall(t, "set", "a", "serving", "--actor", "alice", "--reason", "two\nlines").want(t, 0, "…", "")
	r := rollcall(t, "get", "a")
	if r.code != 0 || !strings.Contains(r.stdout, `REASON    two\nlines`) {
		t.Errorf("exit status %d, stdout:\n%s", r.code, r.stdout)
	}
	rollcall(t, "get", "b").want(t, 1, "", "rollcall: cannot get b: b does not exist; \"rollcall list\" shows the services\n")

	f.health.SetServingStatus("rollcall.live", serving)
	rollcall(t, "get", "rollcall.live").want(t, 0, "SERVICE  rollcall.live\nSTATUS   SERVING\n", "")
	rollcall(t, "get", "").want(t, 0, "SERVICE  \"\"\nSTATUS   SERVING\n", "")
	r = rollcall(t, "get", "", "-o", "json")
	var own struct{ Service ownStatus }
	if err := json.Unmarshal([]byte(r.stdout), &own); err != nil || own.Service.Status != "SERVING" {
		t.Errorf("own name as JSON: %v: %s", err, r.stdout)
	}
}

func TestList(t *testing.T) {
	startFake(t)
	rollcall(t, "list").want(t, 0, "", "no services yet; \"rollcall set NAME serving\" makes one\n")
	rollcall(t, "list", "-o", "json").want(t, 0, "{\n  \"services\": [],\n  \"revision\": 0,\n  \"cluster_id\": \"3f9a\"\n}\n", "")
	rollcall(t, "set", "shop/b=serving", "shop/a=not_serving", "pay=serving", "--actor", "alice").want(t, 0, "…", "")
	names := func(args ...string) string {
		t.Helper()
		r := rollcall(t, append(args, "-o", "json")...)
		var out struct {
			Services []struct {
				Service string `json:"service"`
			} `json:"services"`
		}
		if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
			t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
		}
		var names []string
		for _, s := range out.Services {
			names = append(names, s.Service)
		}
		return strings.Join(names, " ")
	}
	for _, test := range []struct{ args, want string }{
		{"list", "pay shop/a shop/b"},
		{"list shop/", "shop/a shop/b"},
		{"list --status not-serving,unknown", "shop/a"},
		{"list shop/ --status serving", "shop/b"},
	} {
		if got := names(strings.Fields(test.args)...); got != test.want {
			t.Errorf("%s: %q, want %q", test.args, got, test.want)
		}
	}
	rollcall(t, "list", "--status", "unknown").want(t, 0, "", "no service has such a status\n")
	rollcall(t, "list", "zzz").want(t, 0, "", "no service begins with \"zzz\"\n")
}

func TestWatchFollowsUntilInterrupted(t *testing.T) {
	startFake(t)
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	r, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"watch", "a", "-o", "json"}, strings.NewReader(""), w, &stderr)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("no line; stderr: %s", stderr.String())
		}
		var u update
		if err := json.Unmarshal(lines.Bytes(), &u); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %d record=%t", u.Service, u.Status, u.Revision, u.Record != nil); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	next("a SERVICE_UNKNOWN 0 record=false")
	rollcall(t, "set", "a", "serving").want(t, 0, "…", "")
	next("a SERVING 1 record=true")
	rollcall(t, "set", "a", "not_serving").want(t, 0, "…", "")
	next("a NOT_SERVING 2 record=true")
	interrupt()
	if c := <-code; c != 0 || stderr.Len() > 0 {
		t.Errorf("exit status %d, stderr %q; an interrupt is the way to end it", c, stderr.String())
	}
}

func TestWait(t *testing.T) {
	virtual(t, func(t *testing.T, _ *fake, run func(...string) result) {
		run("wait", "a", "--timeout", "300ms").want(t, exitNotAsAsked, "", "rollcall: a is SERVICE_UNKNOWN, not SERVING, after 300ms\n")
		run("wait", "a", "--for", "service-unknown").want(t, 0, "a SERVICE_UNKNOWN\n", "")
	})
	startFake(t)

	waiting := make(chan result, 1)
	go func() { waiting <- rollcall(t, "wait", "a", "--for", "not_serving") }()
	rollcall(t, "set", "a", "serving", "--actor", "alice").want(t, 0, "…", "")
	rollcall(t, "set", "a", "not_serving", "--actor", "alice", "--reason", "drain").want(t, 0, "…", "")
	(<-waiting).want(t, 0, "a NOT_SERVING, revision 2: drain (alice)\n", "")

	ctx, interrupt := context.WithCancel(context.Background())
	interrupt()
	var stderr bytes.Buffer
	if code := run(ctx, []string{"wait", "a"}, strings.NewReader(""), io.Discard, &stderr); code != exitNotDone || stderr.String() != "rollcall: interrupted\n" {
		t.Errorf("interrupted: exit status %d, %q", code, stderr.String())
	}
}

func TestProbeHasTheCodesOfGRPCHealthProbe(t *testing.T) {
	dead := closedPort()
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"serving", []string{"probe", "up"}, 0, "up SERVING\n", ""},
		{"the node itself", []string{"probe"}, 0, "\"\" SERVING\n", ""},
		{"first endpoint only", []string{"probe", "up", "-e", dead + "," + virtualFake}, 2, "", "rollcall: cannot connect to " + dead + ": connection refused\n"},
		{"usage", []string{"probe", "up", "--rpc-timeout", "0s"}, 1, "", "rollcall: --rpc-timeout is 0s; it must be more than 0\n"},
		{"unknown flag", []string{"probe", "--nope"}, 1, "", "rollcall: unknown flag: --nope; see \"rollcall probe --help\"\n"},
		{"silent", []string{"probe", "-e", virtualSilent, "--connect-timeout", "100ms"}, 2, "", "rollcall: cannot connect to " + virtualSilent + ": no connection within 100ms\n"},
		{"no such service", []string{"probe", "none"}, 3, "", "rollcall: check of none at " + virtualFake + " failed: NOT_FOUND: …"},
		{"not serving", []string{"probe", "down"}, 4, "", "rollcall: down is NOT_SERVING at " + virtualFake + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
				f.health.SetServingStatus("up", serving)
				f.health.SetServingStatus("down", notServing)
				run(test.args...).want(t, test.code, test.stdout, test.stderr)
			})
		})
	}
}

func TestCompletionOffersNamesAndStatuses(t *testing.T) {
	startFake(t)
	rollcall(t, "set", "shop/a=serving", "shop/b=serving", "pay=serving").want(t, 0, "…", "")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "shop/"}, "shop/a\nshop/b\n:4\n"},
		{[]string{"set", "pay", ""}, "serving\nnot_serving\nunknown\n:4\n"},
		{[]string{"set", "pay="}, "pay=serving\npay=not_serving\npay=unknown\n:4\n"},
		{[]string{"set", "pay=serving", "shop/a"}, "shop/a=\n:6\n"},
		{[]string{"wait", "a", "--for", ""}, "serving\nnot_serving\nunknown\nservice_unknown\n:4\n"},
		{[]string{"events", "--type", ""}, "reported\ndeleted\nexpired\noverride-set\noverride-cleared\noverride-expired\nlease-granted\nlease-ended\nmember-changed\nlease-guard\nrule-set\nrule-removed\nlease-ending\nlease-forgotten\naccess-changed\nmember-removed\n:4\n"},
		{[]string{"events", "--service", "shop/"}, "shop/a\nshop/b\n:4\n"},
		{[]string{"events", "shop/a", "shop/"}, "shop/a\nshop/b\n:4\n"},
		{[]string{"watch", "--prefix", "p"}, "pay\n:4\n"},
		{[]string{"history", "p"}, "pay\n:4\n"},
		{[]string{"list", "-o", ""}, "table\nwide\nname\njson\nyaml\n:4\n"},
	} {
		r := rollcall(t, append([]string{"__complete"}, test.args...)...)
		if r.code != 0 || r.stdout != test.want {
			t.Errorf("%q: exit status %d, %q, want %q", test.args, r.code, r.stdout, test.want)
		}
	}
	r := rollcall(t, "__complete", "get", "-e", closedPort(), "a")
	if r.code != 0 || r.stdout != ":4\n" {
		t.Errorf("without a node: exit status %d, %q", r.code, r.stdout)
	}
	if r := rollcall(t, "completion", "bash"); r.code != 0 || !strings.Contains(r.stdout, "__start_rollcall") {
		t.Errorf("no script: exit status %d", r.code)
	}
}

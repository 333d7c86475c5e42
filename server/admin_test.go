package server

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func ptr[T any](v T) *T { return &v }

func TestBadChangesAreRefusedBeforeTheyAreProposed(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	set := func(change func(r *rollcallv1.SetServingStatusRequest)) func() error {
		return func() error {
			r := setRequest("a", serving)
			change(r)
			_, err := n.admin().SetServingStatus(ctx, r)
			return err
		}
	}
	del := func(r *rollcallv1.DeleteServiceRequest) func() error {
		return func() error {
			_, err := n.admin().DeleteService(ctx, r)
			return err
		}
	}
	batch := func(changes ...*rollcallv1.StatusChange) func() error {
		return func() error {
			_, err := n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{Changes: changes})
			return err
		}
	}
	many := func(n int, reason string) func() error {
		return func() error {
			r := &rollcallv1.BatchSetServingStatusRequest{Reason: reason}
			for i := range n {
				r.Changes = append(r.Changes, &rollcallv1.StatusChange{Service: fmt.Sprint("s", i), Status: serving.Enum()})
			}
			_, err := single(t).admin().BatchSetServingStatus(ctx, r)
			return err
		}
	}
	for name, tt := range map[string]struct {
		do      func() error
		message string
	}{
		"no name":                       {set(func(r *rollcallv1.SetServingStatusRequest) { r.Service = "" }), "service is empty"},
		"own name":                      {set(func(r *rollcallv1.SetServingStatusRequest) { r.Service = "rollcall.live" }), "kept for the node's own names"},
		"white space":                   {set(func(r *rollcallv1.SetServingStatusRequest) { r.Service = "a b" }), "white space"},
		"pattern":                       {set(func(r *rollcallv1.SetServingStatusRequest) { r.Service = "a/*" }), "'*'"},
		"long name":                     {set(func(r *rollcallv1.SetServingStatusRequest) { r.Service = strings.Repeat("x", 257) }), "257 bytes"},
		"no status":                     {set(func(r *rollcallv1.SetServingStatusRequest) { r.Status = nil }), "status is required"},
		"SERVICE_UNKNOWN":               {set(func(r *rollcallv1.SetServingStatusRequest) { r.Status = serviceUnknown.Enum() }), "use DeleteService"},
		"no such status":                {set(func(r *rollcallv1.SetServingStatusRequest) { r.Status = Status(7).Enum() }), "status is 7"},
		"negative status":               {set(func(r *rollcallv1.SetServingStatusRequest) { r.Status = Status(-1).Enum() }), "status is -1"},
		"negative revision":             {set(func(r *rollcallv1.SetServingStatusRequest) { r.IfRevision = ptr(int64(-1)) }), "if_revision is -1"},
		"long reason":                   {set(func(r *rollcallv1.SetServingStatusRequest) { r.Reason = strings.Repeat("x", 1025) }), "reason is 1025 bytes"},
		"bell in the reason":            {set(func(r *rollcallv1.SetServingStatusRequest) { r.Reason = "ding\a" }), "reason U+0007 at byte 5 is not allowed: it is a control character"},
		"long actor":                    {set(func(r *rollcallv1.SetServingStatusRequest) { r.Actor = strings.Repeat("x", 257) }), "actor is 257 bytes"},
		"actor as of a token":           {set(func(r *rollcallv1.SetServingStatusRequest) { r.Actor = "token:ci" }), `actor "token:ci" is the name of one who proves who it is`},
		"actor as of a certificate":     {set(func(r *rollcallv1.SetServingStatusRequest) { r.Actor = "cert:web" }), `actor "cert:web" is the name of one`},
		"actor as of an administrator":  {set(func(r *rollcallv1.SetServingStatusRequest) { r.Actor = "static:root" }), `actor "static:root" is the name of one`},
		"actor as of a node":            {set(func(r *rollcallv1.SetServingStatusRequest) { r.Actor = "node n1" }), `actor "node n1" is the name of one`},
		"newline in the actor":          {set(func(r *rollcallv1.SetServingStatusRequest) { r.Actor = "a\nb" }), `actor "a\nb": U+000A at byte 2 is not allowed: it is a control character`},
		"actor that shows otherwise":    {set(func(r *rollcallv1.SetServingStatusRequest) { r.Actor = "ann\u202e" }), "actor \"ann\\u202e\": U+202E at byte 4 is not allowed: it does not show"},
		"actor not normalized":          {set(func(r *rollcallv1.SetServingStatusRequest) { r.Actor = "Rene\u0301" }), "U+0301 at byte 5 is written otherwise"},
		"request_id that does not show": {set(func(r *rollcallv1.SetServingStatusRequest) { r.RequestId = "1\u2060" }), "U+2060 at byte 2 is not allowed"},
		"long request_id":               {set(func(r *rollcallv1.SetServingStatusRequest) { r.RequestId = strings.Repeat("x", 65) }), "request_id is 65 bytes"},
		"several at once":               {set(func(r *rollcallv1.SetServingStatusRequest) { r.Service, r.Status = "", nil }), "(and 1 more)"},
		"delete, no name":               {del(&rollcallv1.DeleteServiceRequest{}), "service is empty"},
		"delete, revision":              {del(&rollcallv1.DeleteServiceRequest{Service: "a", IfRevision: ptr(int64(-5))}), "if_revision is -5"},
		"empty batch":                   {batch(), "changes is empty"},
		"batch, no status":              {batch(&rollcallv1.StatusChange{Service: "a"}), "changes[0].status is required"},
		"batch, bad name":               {batch(&rollcallv1.StatusChange{Service: "a", Status: serving.Enum()}, &rollcallv1.StatusChange{Service: "=", Status: serving.Enum()}), "changes[1].service"},
		"batch, twice":                  {batch(&rollcallv1.StatusChange{Service: "a", Status: serving.Enum()}, &rollcallv1.StatusChange{Service: "a", Status: serving.Enum()}), "already in changes[0]"},
		"batch, revision":               {batch(&rollcallv1.StatusChange{Service: "a", Status: serving.Enum(), IfRevision: ptr(int64(-1))}), "changes[0].if_revision"},
		"batch too long":                {many(10_001, ""), "10001 entries"},
		"batch answer too large":        {many(10_000, strings.Repeat("x", 400)), "shorten the reason or split"},
		"everything wrong at all":       {batch(make([]*rollcallv1.StatusChange, 9_999)...), "more)"},
	} {
		t.Run(name, func(t *testing.T) {
			checkError(t, tt.do(), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, tt.message})
		})
	}
	if n.agreement.count() != 0 {
		t.Error("something was proposed")
	}
}

func TestChangesBecomeCommands(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	call := func(do func() error) *logv1.Command {
		t.Helper()
		before := n.agreement.count()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		n.agreement.mu.Lock()
		defer n.agreement.mu.Unlock()
		if len(n.agreement.proposed) != before+1 {
			t.Fatalf("proposed %d commands", len(n.agreement.proposed)-before)
		}
		cmd := proto.CloneOf(n.agreement.proposed[before])
		if cmd.GetActor().GetPeer() == "" || cmd.GetActor().GetVerified() {
			t.Errorf("actor is %v", cmd.GetActor())
		}
		cmd.Actor.Peer = ""
		return cmd
	}
	check := func(got *logv1.Command, changes ...*logv1.Change) {
		t.Helper()
		want := &logv1.Command{
			Actor: &logv1.Actor{Name: "ann"}, Reason: "two\n\tlines", RequestId: "id",
			Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: changes}},
		}
		if !proto.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	check(call(func() error {
		_, err := n.admin().SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{
			Service: "a", Status: unknown.Enum(), Reason: "two\n\tlines", Actor: "ann", RequestId: "id", IfRevision: ptr(int64(0)),
		})
		return err
	}), &logv1.Change{Service: "a", Status: logv1.Status_STATUS_UNKNOWN, IfRevision: ptr(int64(0))})
	check(call(func() error {
		_, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{
			Service: "a", Reason: "two\n\tlines", Actor: "ann", RequestId: "id", IfRevision: ptr(int64(3)),
		})
		return err
	}), &logv1.Change{Service: "a", Status: logv1.Status_STATUS_SERVICE_UNKNOWN, IfRevision: ptr(int64(3)), MustExist: true})
	check(call(func() error {
		_, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{
			Service: "a", Reason: "two\n\tlines", Actor: "ann", RequestId: "id", AllowMissing: true,
		})
		return err
	}), &logv1.Change{Service: "a", Status: logv1.Status_STATUS_SERVICE_UNKNOWN})
	check(call(func() error {
		res, err := n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{
			Reason: "two\n\tlines", Actor: "ann", RequestId: "id",
			Changes: []*rollcallv1.StatusChange{
				{Service: "b", Status: notServing.Enum()},
				{Service: "a", Status: serviceUnknown.Enum(), IfRevision: ptr(int64(4))},
			},
		})
		if err == nil {
			if s := res.GetServices(); len(s) != 2 || s[0].GetService() != "b" || s[0].GetStatus() != notServing ||
				s[1].GetStatus() != serviceUnknown || s[1].GetReport() != nil || res.GetChangedCount() != 2 {
				t.Errorf("answered %v", res)
			}
		}
		return err
	}),
		&logv1.Change{Service: "b", Status: logv1.Status_STATUS_NOT_SERVING},
		&logv1.Change{Service: "a", Status: logv1.Status_STATUS_SERVICE_UNKNOWN, IfRevision: ptr(int64(4))},
	)
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		ctx := timeout(t, 5*time.Second)
		for _, name := range c.names { // forwarded, and not
			n := c.nodes[name]
			res, err := n.admin().SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "a", Status: serving.Enum(), ValidateOnly: true})
			report := res.GetService().GetReport()
			if err != nil || !res.GetChanged() || res.GetService().GetStatus() != serving || report.GetStatus() != serving {
				t.Errorf("%s: %v %v", name, res, err)
			}
			if res.GetRevision() != 0 || report.GetRevision() != 0 || report.GetTime() != nil || res.GetService().GetStatusTime() != nil {
				t.Errorf("%s: a dry run has a revision or a time: %v", name, res)
			}
			if res, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "a", AllowMissing: true, ValidateOnly: true}); err != nil || res.GetRevision() != 0 {
				t.Errorf("%s: %v %v", name, res, err)
			}
			if _, err := n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{
				Changes: []*rollcallv1.StatusChange{{Service: "a", Status: serving.Enum()}}, ValidateOnly: true,
			}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n.agreement.count() != 0 || n.registry.Revision() != 0 {
				t.Errorf("%s changed something", name)
			}
		}
	})
}

// longest is the largest record that a change can be answered with.
func longest(service, reason, actor, peer string) *logv1.ServiceRecord {
	return &logv1.ServiceRecord{
		Service: service, StatusTime: 1<<63 - 1,
		Report: &logv1.Report{
			Status: 3, Reason: reason, Time: 1<<63 - 1, Revision: 1<<63 - 1,
			Actor: &logv1.Actor{Name: actor, Peer: peer, Verified: true},
		},
	}
}

func TestTheLargestBatchCanBeAnswered(t *testing.T) {
	const peer = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
	reason, actor := strings.Repeat("r", 200), strings.Repeat("a", 100)
	req := &rollcallv1.BatchSetServingStatusRequest{Reason: reason, Actor: actor}
	res := &rollcallv1.BatchSetServingStatusResponse{ChangedCount: limits.MaxChanges, Revision: 1<<63 - 1}
	var changes []*rollcallv1.StatusChange
	for i := range limits.MaxChanges {
		changes = append(changes, &rollcallv1.StatusChange{Service: fmt.Sprintf("team/%05d", i), Status: serving.Enum()})
	}
	most := sort.Search(limits.MaxChanges, func(n int) bool {
		req.Changes = changes[:n+1]
		_, err := validateBatch(req, len(peer))
		return err != nil
	})
	if most == limits.MaxChanges {
		t.Fatal("the test reaches the limit of the count, not of the size")
	}
	req.Changes = changes[:most]
	for _, c := range req.Changes {
		res.Services = append(res.Services, shownRecord(longest(c.GetService(), reason, actor, peer)))
	}
	got := proto.Size(res)
	if got > maxAnswerBytes || got < maxAnswerBytes*4/5 {
		t.Errorf("the largest batch allowed is answered with %d bytes; the limit is %d", got, maxAnswerBytes)
	}
	if proto.Size(req) > maxRequestBytes {
		t.Error("its request is too large to arrive")
	}
}

func TestABatchOfUnchangedReportsOfLongActorsIsAnswered(t *testing.T) {
	n := single(t)
	long := strings.Repeat("a", limits.MaxActorBytes)
	n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
		res := &logv1.Result{}
		for i, c := range cmd.GetWrite().GetChanges() {
			res.Services = append(res.Services, &logv1.ServiceResult{
				Record: longest(c.GetService(), cmd.GetReason(), long, long), Changed: i == 0,
			})
		}
		return res, nil
	})
	req := &rollcallv1.BatchSetServingStatusRequest{}
	for i := range limits.MaxChanges {
		req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: fmt.Sprint("s", i), Status: serving.Enum()})
	}
	res, err := n.admin().BatchSetServingStatus(patient(t), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.GetServices()) != limits.MaxChanges || res.GetServices()[0].GetReport().GetActor() == nil || res.GetServices()[1].GetReport().GetStatus() == unknown {
		t.Error("more than the actors of unchanged reports is missing")
	}
}

func TestRecord(t *testing.T) {
	at := time.Date(2026, 10, 20, 1, 2, 3, 4, time.UTC)
	got := shownRecord(&logv1.ServiceRecord{
		Service: "a", StatusTime: at.UnixNano(),
		Report: &logv1.Report{Status: logv1.Status_STATUS_NOT_SERVING, Reason: "r", Time: at.UnixNano() + 1, Revision: 9, Actor: &logv1.Actor{Name: "ann", Peer: "p"}},
	})
	want := &rollcallv1.ServiceRecord{
		Service: "a", Status: notServing, StatusTime: timestamppb.New(at),
		Report: &rollcallv1.Report{Status: notServing, Reason: "r", Time: timestamppb.New(at.Add(1)), Revision: 9, Actor: &rollcallv1.Actor{Name: "ann", Peer: "p"}},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := shownRecord(&logv1.ServiceRecord{Service: "a"}); got.GetStatus() != healthpb.HealthCheckResponse_SERVICE_UNKNOWN || got.GetReport() != nil || got.GetStatusTime() != nil {
		t.Errorf("deleted: %v", got)
	}
}

// accepted checks that what the server accepts is what the fold accepts.
func accepted(t *testing.T, service string, status *Status, ifRevision *int64) {
	t.Helper()
	if err := limits.Name(service); err != nil {
		t.Errorf("accepted a service name that %v", err)
	}
	if status == nil || *status < 0 || *status > serviceUnknown {
		t.Errorf("accepted status %v", status)
	}
	if ifRevision != nil && *ifRevision < 0 {
		t.Errorf("accepted if_revision %d", *ifRevision)
	}
}

func acceptedCommon(t *testing.T, r changeRequest) {
	t.Helper()
	if len(r.GetReason()) > 1024 || len(r.GetActor()) > 256 || len(r.GetRequestId()) > 64 {
		t.Error("accepted a field that is too long")
	}
	if strings.ContainsAny(r.GetReason()+r.GetActor()+r.GetRequestId(), "\x00\x1b\x7f") || strings.ContainsAny(r.GetActor(), "\n\t") {
		t.Error("accepted a control character")
	}
	if _, err := proto.Marshal(&logv1.Command{Reason: r.GetReason(), RequestId: r.GetRequestId(), Actor: &logv1.Actor{Name: r.GetActor()}}); err != nil {
		t.Errorf("accepted what cannot be logged: %v", err)
	}
}

func FuzzSetValidate(f *testing.F) {
	for _, m := range []*rollcallv1.SetServingStatusRequest{setRequest("a", serving), setRequest("a b", 7), {}, {Service: "a", Reason: "\x1b", IfRevision: ptr(int64(-1))}} {
		b, _ := proto.Marshal(m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var set rollcallv1.SetServingStatusRequest
		if proto.Unmarshal(b, &set) != nil {
			return
		}
		if err := validateSet(&set); err == nil {
			accepted(t, set.GetService(), set.Status, set.IfRevision)
			acceptedCommon(t, &set)
			if set.GetStatus() == serviceUnknown {
				t.Error("accepted SERVICE_UNKNOWN")
			}
		} else if proto.Size(errorInfoOf(err)) == 0 {
			t.Errorf("%v has no details", err)
		}
		var del rollcallv1.DeleteServiceRequest
		if proto.Unmarshal(b, &del) == nil && validateDelete(&del) == nil {
			accepted(t, del.GetService(), serviceUnknown.Enum(), del.IfRevision)
			acceptedCommon(t, &del)
		}
	})
}

func FuzzBatchValidate(f *testing.F) {
	for _, m := range []*rollcallv1.BatchSetServingStatusRequest{
		{}, {Changes: []*rollcallv1.StatusChange{{Service: "a", Status: serving.Enum()}, {Service: "a"}}},
		{Reason: "r", Actor: "a", RequestId: "i", Changes: []*rollcallv1.StatusChange{{Service: "b", Status: serviceUnknown.Enum(), IfRevision: ptr(int64(1))}}},
	} {
		b, _ := proto.Marshal(m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var req rollcallv1.BatchSetServingStatusRequest
		if proto.Unmarshal(b, &req) != nil {
			return
		}
		if _, err := validateBatch(&req, len("127.0.0.1:1")); err != nil {
			if proto.Size(errorInfoOf(err)) == 0 {
				t.Errorf("%v has no details", err)
			}
			return
		}
		if n := len(req.GetChanges()); n < 1 || n > 10_000 {
			t.Errorf("accepted %d changes", n)
		}
		seen := map[string]bool{}
		for _, c := range req.GetChanges() {
			accepted(t, c.GetService(), c.Status, c.IfRevision)
			if seen[c.GetService()] {
				t.Errorf("accepted %q twice", c.GetService())
			}
			seen[c.GetService()] = true
		}
		acceptedCommon(t, &req)
	})
}

// shownRecord is what the API shows of a service in a result.
func shownRecord(r *logv1.ServiceRecord) *rollcallv1.ServiceRecord {
	return convert.ServiceResults(&logv1.Result{Services: []*logv1.ServiceResult{{Record: r}}})[0]
}

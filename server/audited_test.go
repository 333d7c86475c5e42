package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	fsmaccess "github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/auditlog"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// auditLine is a line as who reads the file sees it.
type auditLine struct {
	Time       time.Time `json:"time"`
	Node       string    `json:"node"`
	Identity   string    `json:"identity"`
	OnBehalfOf string    `json:"on_behalf_of"`
	Peer       string    `json:"peer"`
	Method     string    `json:"method"`
	Stream     bool      `json:"stream"`
	Names      []string  `json:"names"`
	NamesTotal int       `json:"names_total"`
	Reason     string    `json:"reason"`
	RequestID  string    `json:"request_id"`
	Outcome    string    `json:"outcome"`
	Refusal    string    `json:"refusal"`
	Verb       string    `json:"verb"`
	Revision   int64     `json:"revision"`
	Took       *float64  `json:"took_seconds"`
}

// auditFile is an audit log of a test.
type auditFile struct {
	path string
	log  *auditlog.Log
}

func openAudit(t *testing.T) *auditFile {
	t.Helper()
	f := &auditFile{path: filepath.Join(t.TempDir(), "audit.log")}
	var err error
	f.log, err = auditlog.Open(auditlog.Config{File: f.path, Node: "n1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.log.Close(context.Background()) })
	return f
}

func (f *auditFile) use(cfg *Config) {
	if cfg.Node == "n1" {
		cfg.Audit = f.log
	}
}

// lines ends the log and returns its lines.
func (f *auditFile) lines(t *testing.T) []auditLine {
	t.Helper()
	if err := f.log.Close(patient(t)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	var all []auditLine
	for text := range strings.Lines(string(b)) {
		var l auditLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if l.Time.IsZero() || l.Node != "n1" || l.Peer == "" || l.Took == nil {
			t.Errorf("%q lacks what every line has", text)
		}
		l.Time, l.Node, l.Peer, l.Took = time.Time{}, "", "", nil
		all = append(all, l)
	}
	return all
}

func checkLines(t *testing.T, got []auditLine, want ...auditLine) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(want):
			t.Errorf("one line too many: %+v", got[i])
		case i >= len(got):
			t.Errorf("there is no line %+v", want[i])
		case !reflect.DeepEqual(got[i], want[i]):
			t.Errorf("line %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}

const (
	methodSet    = "rollcall.v1.Admin/SetServingStatus"
	methodBatch  = "rollcall.v1.Admin/BatchSetServingStatus"
	methodDelete = "rollcall.v1.Admin/DeleteService"
)

// TestEveryChangeIsAudited: the audit log knows a change by what its request has. A new call that changes something
// and has not these fields would have no line.
func TestEveryChangeIsAudited(t *testing.T) {
	reads := map[string]bool{"GetStatus": true, "Verify": true, "TransferLeadership": true, // which has lines of its own
		"WhoAmI": true, "CheckAccess": true, "GetAuth": true, "ListTokens": true, "ListRoles": true, "ListGrants": true}
	for _, desc := range []grpc.ServiceDesc{rollcallv1.Admin_ServiceDesc, rollcallv1.Access_ServiceDesc, rollcallv1.Cluster_ServiceDesc} {
		for _, m := range desc.Methods {
			errStop := errors.New("stop")
			_, _ = m.Handler(nil, context.Background(), func(req any) error {
				if _, ok := req.(changeRequest); ok == reads[m.MethodName] {
					t.Errorf("%s/%s: its request is a change: %v", desc.ServiceName, m.MethodName, ok)
				}
				return errStop
			}, nil)
		}
	}
}

func TestUnaryWritesAreAudited(t *testing.T) {
	audit := openAudit(t)
	n := single(t, audit.use)
	ctx, admin := patient(t), n.admin()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "a", Status: serving.Enum(), Actor: "ann", Reason: "up", RequestId: "1"}))
	var batch rollcallv1.BatchSetServingStatusRequest
	var names []string
	for i := range 25 {
		names = append(names, fmt.Sprint("b", i))
		batch.Changes = append(batch.Changes, &rollcallv1.StatusChange{Service: names[i], Status: serving.Enum()})
	}
	must(admin.BatchSetServingStatus(ctx, &batch))
	must(admin.DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "a"}))
	must(admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "dry", Status: serving.Enum(), ValidateOnly: true}))
	if _, err := admin.DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "", Reason: "two\nlines"}); err == nil {
		t.Fatal("a name that is empty was taken")
	}
	answer := func(err error) {
		n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) { return nil, err })
	}
	for _, err := range []error{
		overloaded{"pending-changes"},
		&rpcerror.Failure{Reason: "DENIED", Message: "no", Code: codes.PermissionDenied, Meta: map[string]string{"written": "no", "identity": "token:ci", "verb": "report", "name": "x"}},
		unknownErr{errors.New("cut off")},
	} {
		answer(err)
		if _, err := admin.SetServingStatus(ctx, setRequest("x", serving)); err == nil {
			t.Fatal("a refusal is no error")
		}
	}
	answer(&rpcerror.Failure{Reason: "DENIED", Message: "no", Code: codes.PermissionDenied, Meta: map[string]string{"written": "no"}})
	must(admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "dry", Status: serving.Enum(), ValidateOnly: true}))
	n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Kind: logv1.Kind_KIND_SERVICE, Key: "x", CurrentRevision: 7}, Revision: 7}, nil
	})
	if _, err := admin.SetServingStatus(ctx, setRequest("x", serving)); err == nil {
		t.Fatal("a refusal is no error")
	}
	const anonymous = "anonymous"
	checkLines(t, audit.lines(t),
		auditLine{Identity: anonymous, OnBehalfOf: "ann", Method: methodSet, Names: []string{"a"}, Reason: "up", RequestID: "1", Outcome: "done", Revision: 1},
		auditLine{Identity: anonymous, Method: methodBatch, Names: names[:20], NamesTotal: 25, Outcome: "done", Revision: 26},
		auditLine{Identity: anonymous, Method: methodDelete, Names: []string{"a"}, Outcome: "done", Revision: 27},
		auditLine{Identity: anonymous, Method: methodDelete, Reason: "two\nlines", Outcome: "refused", Refusal: "INVALID_ARGUMENT"},
		auditLine{Identity: anonymous, Method: methodSet, Names: []string{"x"}, Outcome: "refused", Refusal: "LIMIT_REACHED"},
		auditLine{Identity: "token:ci", Method: methodSet, Names: []string{"x"}, Outcome: "denied", Refusal: "DENIED", Verb: "report"},
		auditLine{Identity: anonymous, Method: methodSet, Names: []string{"x"}, Outcome: "unknown", Refusal: "OUTCOME_UNKNOWN"},
		auditLine{Identity: anonymous, Method: methodSet, Names: []string{"x"}, Outcome: "refused", Refusal: "REVISION_MISMATCH"},
	)
}

// TestLeasesAreAuditedByTheirIDs: the caller does not name the lease that it is granted.
func TestLeasesAreAuditedByTheirIDs(t *testing.T) {
	audit := openAudit(t)
	n := single(t, audit.use)
	n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
		return &logv1.Result{Revision: 5, Records: []*logv1.RecordResult{{Kind: logv1.Kind_KIND_LEASE, Key: "ab12", Changed: true}}}, nil
	})
	ctx := patient(t)
	if _, err := n.admin().GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: "ab12"}); err != nil {
		t.Fatal(err)
	}
	checkLines(t, audit.lines(t),
		auditLine{Identity: "anonymous", Method: "rollcall.v1.Admin/GrantLease", Names: []string{"ab12"}, Outcome: "done", Revision: 5},
		auditLine{Identity: "anonymous", Method: "rollcall.v1.Admin/RevokeLease", Names: []string{"ab12"}, Outcome: "done", Revision: 5},
	)
}

// TestForwardedWritesAreAuditedWhereTheyCame: with the outcome, and once.
func TestForwardedWritesAreAuditedWhereTheyCame(t *testing.T) {
	for _, leader := range []string{"n1", "n2"} {
		t.Run(leader+" leads", func(t *testing.T) {
			audit := openAudit(t)
			c := newTestCluster(t, 2, audit.use)
			c.elect(leader)
			for _, name := range []string{"n1", "n2"} {
				if _, err := c.nodes[name].admin().SetServingStatus(patient(t), setRequest("via-"+name, serving)); err != nil {
					t.Fatal(err)
				}
			}
			checkLines(t, audit.lines(t), auditLine{Identity: "anonymous", Method: methodSet, Names: []string{"via-n1"}, Outcome: "done", Revision: 1})
		})
	}
}

func TestStreamedWritesAreAudited(t *testing.T) {
	audit := openAudit(t)
	n := single(t, audit.use)
	ctx, cancel := context.WithCancel(patient(t))
	defer cancel()
	stream := n.openWriteStream(t, ctx)
	do := func(write *rollcallv1.StreamedWrite) {
		t.Helper()
		sendWrites(t, stream, write)
		answersOf(t, stream, 1)
	}
	do(&rollcallv1.StreamedWrite{Id: 1, Write: &rollcallv1.StreamedWrite_Set{Set: &rollcallv1.SetServingStatusRequest{Service: "a", Status: serving.Enum(), Actor: "ann", Reason: "up", RequestId: "r1"}}})
	do(&rollcallv1.StreamedWrite{Id: 2, Brief: true, Write: &rollcallv1.StreamedWrite_Batch{Batch: &rollcallv1.BatchSetServingStatusRequest{Changes: []*rollcallv1.StatusChange{
		{Service: "b", Status: serving.Enum()}, {Service: "c", Status: serving.Enum()}}}}})
	do(&rollcallv1.StreamedWrite{Id: 3, Write: &rollcallv1.StreamedWrite_Delete{Delete: &rollcallv1.DeleteServiceRequest{Service: "b"}}})
	do(&rollcallv1.StreamedWrite{Id: 4, Write: &rollcallv1.StreamedWrite_Delete{Delete: &rollcallv1.DeleteServiceRequest{Service: ""}}})
	do(&rollcallv1.StreamedWrite{Id: 5, Write: &rollcallv1.StreamedWrite_Set{Set: &rollcallv1.SetServingStatusRequest{Service: "dry", Status: serving.Enum(), ValidateOnly: true}}})
	do(&rollcallv1.StreamedWrite{Id: 6, Write: &rollcallv1.StreamedWrite_KeepAlive{KeepAlive: &rollcallv1.KeepAliveRequest{}}})
	n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return nil, unknownErr{errors.New("cut off")}
	})
	do(streamedSet(7, "x", serving))
	checkLines(t, audit.lines(t),
		auditLine{Identity: "anonymous", OnBehalfOf: "ann", Method: methodSet, Stream: true, Names: []string{"a"}, Reason: "up", RequestID: "r1", Outcome: "done", Revision: 1},
		auditLine{Identity: "anonymous", Method: methodBatch, Stream: true, Names: []string{"b", "c"}, Outcome: "done", Revision: 3},
		auditLine{Identity: "anonymous", Method: methodDelete, Stream: true, Names: []string{"b"}, Outcome: "done", Revision: 4},
		auditLine{Identity: "anonymous", Method: methodDelete, Stream: true, Names: []string{""}, Outcome: "refused", Refusal: "INVALID_ARGUMENT"},
		auditLine{Identity: "anonymous", Method: methodSet, Stream: true, Names: []string{"x"}, Outcome: "unknown", Refusal: "OUTCOME_UNKNOWN"},
	)
}

// withToken is a call that shows a token.
func withToken(ctx context.Context, token accesstoken.Token) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token.Text())
}

// TestCallersAreAudited: who proves to be somebody is named, and who fails to is written down too, in all calls. What
// they showed is not.
func TestCallersAreAudited(t *testing.T) {
	audit := openAudit(t)
	n := single(t, audit.use)
	known, stranger := accesstoken.New(), accesstoken.New()
	sum := known.SHA256()
	n.access.change(func(r *fakeRights) {
		r.tokens[known.ID()] = fakeToken{"ci", &logv1.Token{SecretSha256: sum[:]}}
	})
	ctx := patient(t)
	if _, err := n.admin().SetServingStatus(withToken(ctx, known), &rollcallv1.SetServingStatusRequest{Service: "a", Status: serving.Enum(), Actor: "ann", Reason: "Bearer " + known.Text()}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.admin().SetServingStatus(withToken(ctx, stranger), setRequest("a", serving)); err == nil {
		t.Fatal("a stranger wrote")
	}
	stream, err := n.admin().WriteStream(withToken(ctx, stranger))
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Fatal(err)
	}
	access := rollcallv1.NewAccessClient(n.conn)
	if _, err := access.WhoAmI(withToken(ctx, stranger), &rollcallv1.WhoAmIRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Fatal(err)
	}
	if _, err := access.WhoAmI(withToken(ctx, known), &rollcallv1.WhoAmIRequest{}); err != nil {
		t.Fatal(err)
	}
	n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Kind: logv1.Kind_KIND_TOKEN, Key: "new", Given: "token:ci", Limit: int64(fsmaccess.Auth)}}, nil
	})
	other := sha256.Sum256([]byte("another secret"))
	if _, err := access.CreateToken(withToken(ctx, known), &rollcallv1.CreateTokenRequest{Name: "new", SecretSha256: other[:], Grants: []*rollcallv1.Grant{{Role: "viewer", Patterns: []string{"*"}}}}); status.Code(err) != codes.PermissionDenied {
		t.Fatal(err)
	}
	lines := audit.lines(t)
	b, err := os.ReadFile(audit.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{known.Text()[21:], stranger.Text()[21:], string(other[:]), hex.EncodeToString(other[:]), base64.StdEncoding.EncodeToString(other[:])} {
		if strings.Contains(string(b), secret) {
			t.Errorf("the log holds a secret: %s", b)
		}
	}
	checkLines(t, lines,
		auditLine{Identity: "token:ci", OnBehalfOf: "ann", Method: methodSet, Names: []string{"a"}, Reason: "Bearer rct_" + known.ID() + "...", Outcome: "done", Revision: 1},
		auditLine{Method: methodSet, Names: []string{"a"}, Outcome: "unauthenticated", Refusal: "TOKEN_UNKNOWN"},
		auditLine{Method: "rollcall.v1.Admin/WriteStream", Outcome: "unauthenticated", Refusal: "TOKEN_UNKNOWN"},
		auditLine{Method: "rollcall.v1.Access/WhoAmI", Outcome: "unauthenticated", Refusal: "TOKEN_UNKNOWN"},
		auditLine{Identity: "token:ci", Method: "rollcall.v1.Access/CreateToken", Names: []string{"new"}, Outcome: "denied", Refusal: "DENIED", Verb: "auth"},
	)
}

// TestBackupsAreAudited: who has a backup has everything.
func TestBackupsAreAudited(t *testing.T) {
	audit := openAudit(t)
	n := single(t, audit.use)
	n.exporter.content, n.exporter.closed = []byte("backup"), make(chan struct{}, 1)
	stream, err := rollcallv1.NewClusterClient(n.conn).ExportSnapshot(patient(t), &rollcallv1.ExportSnapshotRequest{})
	for err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	checkLines(t, audit.lines(t), auditLine{Identity: "anonymous", Method: "rollcall.v1.Cluster/ExportSnapshot", Outcome: "done"})
}

// TestLinesOfDenialsAreBounded: whatever the leader says to a stranger's writes, the file does not grow with them.
func TestLinesOfDenialsAreBounded(t *testing.T) {
	audit := openAudit(t)
	n := single(t, audit.use)
	n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
		reason := logv1.Refusal_REASON_DENIED
		if cmd.GetReason() == "late" {
			reason = logv1.Refusal_REASON_REVISION_MISMATCH
		}
		return &logv1.Result{Refusal: &logv1.Refusal{Reason: reason, Kind: logv1.Kind_KIND_SERVICE, Key: "x", Given: "anonymous", Limit: int64(fsmaccess.Report)}}, nil
	})
	ctx, cancel := context.WithCancel(patient(t))
	defer cancel()
	began := time.Now()
	const unary, streamed = 400, 800
	for range unary {
		if _, err := n.admin().SetServingStatus(ctx, setRequest("x", serving)); status.Code(err) != codes.PermissionDenied {
			t.Fatal(err)
		}
	}
	stream := n.openWriteStream(t, ctx)
	for i := range streamed {
		sendWrites(t, stream, streamedSet(uint64(i+1), "x", serving))
		answersOf(t, stream, 1)
	}
	const late = 20
	for range late {
		req := setRequest("x", serving)
		req.Reason = "late"
		if _, err := n.admin().SetServingStatus(ctx, req); status.Code(err) != codes.Aborted && status.Code(err) != codes.FailedPrecondition {
			t.Fatal(err)
		}
	}
	allowed := 500 + 50*int(time.Since(began)/time.Second+1)
	if err := audit.log.Close(patient(t)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(audit.path)
	if err != nil {
		t.Fatal(err)
	}
	denied := strings.Count(string(b), `"outcome":"denied"`)
	if left := audit.log.Stats().LeftOut; denied > allowed || int(left)+denied != unary+streamed || left == 0 {
		t.Errorf("%d lines of denials, at most %d are allowed; %d were left out", denied, allowed, left)
	}
	if !strings.Contains(string(b), `"why":"too many refused calls at once"`) {
		t.Error("no line says that there were others")
	}
	if got := strings.Count(string(b), `"refusal":"REVISION_MISMATCH"`); got != late {
		t.Errorf("%d lines of writes that a caller might have made, want %d", got, late)
	}
}

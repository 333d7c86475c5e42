package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// clusterService is rollcall.v1.Cluster as clients see it.
type clusterService struct {
	rollcallv1.UnimplementedClusterServer
	node, version string
	start         time.Time
	timeout       time.Duration // for each other member
	source        Node
	registry      Registry
	layers        Layers
	leases        Leases
	logClock      func() int64
	readiness     *readiness
	pool          *peerconn.Pool
	incoming      freshness.Incoming
	replica       Replica                             // nil: knows no state hashes
	exporter      Exporter                            // nil: exports nothing
	storage       func() (*rollcallv1.Storage, error) // nil: not told
	reads         reads
	agreement     Agreement
	members       Members
	changes       *admin
	changing      chan struct{}              // capacity 1: changes of members take turns
	cutOff        func(call context.Context) // closes the connection of a call
	exporting     chan struct{}              // capacity 1: an export takes disk, as much as the registry file does
	log           *slog.Logger

	mu   sync.Mutex           // guards down
	down map[string]time.Time // since when a member does not answer, by name
}

// localCluster is rollcall.v1.Cluster as other members see it. It answers from this node alone and asks no
// other member, so that a question cannot go round in circles.
type localCluster struct {
	rollcallv1.UnimplementedClusterServer
	cluster *clusterService
}

// GetStatus implements rollcall.v1.Cluster.
func (s *localCluster) GetStatus(context.Context, *rollcallv1.GetStatusRequest) (res *rollcallv1.GetStatusResponse, err error) {
	c := s.cluster
	defer rpcerror.Recovered(c.log, c.node, "Cluster.GetStatus", false, &err)
	res, st := c.local()
	for _, m := range st.Members { // only a leader knows what changes of members wait for
		if m.GetPhaseDetail() != "" && m.GetName() != c.node {
			res.Members = append(res.Members, &rollcallv1.MemberStatus{Member: m})
		}
	}
	return res, nil
}

// GetStatus implements rollcall.v1.Cluster.
func (s *clusterService) GetStatus(ctx context.Context, req *rollcallv1.GetStatusRequest) (res *rollcallv1.GetStatusResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Cluster.GetStatus", false, &err)
	may, err := s.admit(ctx)
	if err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	res, st := s.local()
	if req.GetLocalOnly() {
		return res, nil
	}
	answers := s.ask(ctx, st.Members, st.Formed)
	if err := ctx.Err(); err != nil {
		return nil, rpcerror.ToStatus(s.node, err) // the caller left: members that seem silent may have had no time to answer
	}
	res = s.merge(res, st, answers)
	now := time.Unix(0, s.logClock())
	res.Problems = append(res.Problems, guardProblems(s.leases.LeaseGuard(), now)...)
	res.Problems = append(res.Problems, layerProblems(s.layers, may, now)...)
	return res, nil
}

// admit returns what the caller may read, who must be allowed to see the state of the cluster. It tells others nothing.
func (s *clusterService) admit(ctx context.Context) (*authz.Reader, error) {
	may, f := s.reads.access.Reader(ctx)
	if f != nil {
		return nil, f
	}
	if err := s.reads.deny(may.Denied(access.Status)); err != nil {
		return nil, err
	}
	return may, failed(s.incoming.CheckCluster(ctx, s.node, s.registry.ClusterID()))
}

// local is what this node knows of itself: the answer's only member is this one.
func (s *clusterService) local() (*rollcallv1.GetStatusResponse, NodeStatus) {
	st := s.source.NodeStatus()
	now := time.Now()
	draining := s.readiness.drains()
	freshAt := s.readiness.freshness.At()
	v := evaluate(st, freshAt, draining, now, s.readiness.maxStaleness)
	self := &rollcallv1.MemberStatus{
		Member:       memberNamed(st.Members, s.node),
		Role:         st.Role,
		Ready:        v.ready,
		Revision:     s.registry.Revision(),
		Term:         st.Term,
		AppliedIndex: st.AppliedIndex,
		Version:      s.version,
		Error:        cmp.Or(v.readsWhy, st.Alarm),
		MaxLevel:     st.MaxLevel,
		HoldLevel:    st.HoldLevel,
		CannotReach:  st.cannotReach(),
	}
	if st.CommitIndex > st.AppliedIndex {
		self.LagEntries = st.CommitIndex - st.AppliedIndex
	}
	if s.storage != nil {
		usage, err := s.storage()
		if err != nil {
			s.log.Warn("size of the data directory is not known", "node", s.node, "error", err)
		}
		self.Storage = usage // nil with an error
	}
	self.ClockOffset = clockOffset(st.Clocks, s.node)
	if !st.CertificateExpires.IsZero() {
		self.CertificateExpires = timestamppb.New(st.CertificateExpires)
	}
	if !s.start.IsZero() {
		self.StartTime = timestamppb.New(s.start)
	}
	if !freshAt.IsZero() {
		self.LeaderAge = durationpb.New(max(0, now.Sub(freshAt)))
	}
	res := &rollcallv1.GetStatusResponse{
		ClusterId: st.ClusterID,
		Node:      s.node,
		Leader:    st.Leader,
		Term:      st.Term,
		Revision:  self.Revision,
		Writable:  v.leader,
		Members:   []*rollcallv1.MemberStatus{self},
		Level:     st.Level,

		AccessEnforced: s.reads.access.Enforced(),

		LevelHeld: st.LevelHeld,
	}
	if !st.Leading && !draining && st.Failed == "" && s.canForward(st) {
		res.Writable = true // as far as this node knows, by forwarding
	}
	res.Problems = localProblems(s.node, st, v, res.Writable)
	return res, st
}

// clockOffset is nil for a member whose clock was not measured lately.
func clockOffset(clocks []ClockOffset, member string) *durationpb.Duration {
	for _, c := range clocks {
		if c.Member == member {
			return durationpb.New(c.Ahead)
		}
	}
	return nil
}

func memberNamed(members []*rollcallv1.Member, name string) *rollcallv1.Member {
	for _, m := range members {
		if m.GetName() == name {
			return m
		}
	}
	return &rollcallv1.Member{Name: name}
}

// answer is what one other member said when it was asked for its status.
type answer struct {
	member *rollcallv1.Member
	res    *rollcallv1.GetStatusResponse // nil: it did not answer
	why    string                        // why it did not answer
	since  time.Time                     // since when it does not answer
	lost   bool                          // its data is lost: it waits to be made a member
	astray bool                          // it runs, and has not found this cluster
}

// ask asks all other members at once. look: it also looks whether those that do not answer have lost their data.
func (s *clusterService) ask(ctx context.Context, members []*rollcallv1.Member, look bool) []answer {
	answers := make([]answer, 0, len(members))
	for _, m := range members {
		if m.GetName() != s.node {
			answers = append(answers, answer{member: m})
		}
	}
	ctx, cancelAnswer := deadline.Answerable(ctx, s.timeout) // some answers are better than none
	defer cancelAnswer()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var asking sync.WaitGroup
	for i := range answers {
		a := &answers[i]
		asking.Go(func() {
			res, err := s.askOne(ctx, a.member.GetName())
			if err == nil {
				a.res = res
			} else {
				a.why = peerconn.Describe(err)
				if look {
					a.lost, a.astray = s.waits(ctx, a.member)
				}
			}
		})
	}
	asking.Wait()
	s.note(answers)
	return answers
}

// waits looks whether a node of a member's name waits, where the member should be, for a cluster. With another data
// directory the member has lost its data; with that of the member the node has not found this cluster.
func (s *clusterService) waits(ctx context.Context, m *rollcallv1.Member) (lost, astray bool) {
	if m.GetPeerAddress() == "" || m.GetDirectoryId() == "" || ctx.Err() != nil {
		return false, false
	}
	h, err := s.members.ProbeAddress(ctx, m.GetPeerAddress())
	if err != nil || h.GetNode() != m.GetName() || h.GetClusterId() != "" || h.GetWaiting() == nil {
		return false, false
	}
	known := ShortDirectoryID(h.GetDirectoryId()) == m.GetDirectoryId()
	return !known, known
}

// errNoStatus means that a member's answer held no member.
var errNoStatus = errors.New("answered without a status")

func (s *clusterService) askOne(ctx context.Context, name string) (*rollcallv1.GetStatusResponse, error) {
	conn, err := s.pool.Get(name)
	if err != nil {
		return nil, err
	}
	if err := conn.Ready(ctx, true); err != nil {
		return nil, err
	}
	res, err := rollcallv1.NewClusterClient(conn).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
	switch st := status.Convert(err); {
	case st.Code() == codes.DeadlineExceeded:
		return nil, context.DeadlineExceeded
	case err != nil:
		return nil, errors.New(st.Message())
	case len(res.GetMembers()) == 0:
		return nil, errNoStatus
	}
	return res, nil
}

// note keeps since when each member has not answered. Members are asked only when somebody calls GetStatus,
// not in the background.
func (s *clusterService) note(answers []answer) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == nil {
		s.down = make(map[string]time.Time)
	}
	for i := range answers {
		a := &answers[i]
		name := a.member.GetName()
		if a.res != nil {
			delete(s.down, name)
			continue
		}
		since, ok := s.down[name]
		if !ok {
			since = now
			s.down[name] = now
		}
		a.since = since
	}
}

// merge makes one answer of this node's own and those of the others, members in the order of st.
func (s *clusterService) merge(own *rollcallv1.GetStatusResponse, st NodeStatus, answers []answer) *rollcallv1.GetStatusResponse {
	res := own
	self := own.GetMembers()[0]
	statuses := []*rollcallv1.MemberStatus{self}
	// Members may name different leaders: the one of the newest term counts.
	newest := own
	for _, a := range answers {
		if a.res == nil {
			statuses = append(statuses, &rollcallv1.MemberStatus{Member: a.member, Error: a.why})
			continue
		}
		ms := a.res.GetMembers()[0]
		ms.Member = a.member // the addresses as this node knows them
		ms.ClockOffset = clockOffset(st.Clocks, a.member.GetName())
		statuses = append(statuses, ms)
		if a.res.GetLeader() != "" && (newest.GetLeader() == "" || a.res.GetTerm() > newest.GetTerm()) {
			newest = a.res
		}
	}
	res.Leader, res.Term = newest.GetLeader(), newest.GetTerm()

	leader := &answer{}
	head := max(st.CommitIndex, st.AppliedIndex)
	if res.Leader == s.node {
		leader.res = own
	} else {
		for i := range answers {
			if answers[i].member.GetName() == res.Leader {
				leader = &answers[i]
			}
		}
	}
	// By the leader's own word, and through this node.
	res.Writable = leader.res.GetWritable() && own.GetWritable() && res.Leader == st.Leader
	if leader.res != nil {
		head = max(head, leader.res.GetMembers()[0].GetAppliedIndex())
	}
	if leader.res != nil && leader.res != own {
		takeDetails(statuses, leader.res)
	}
	res.Members = make([]*rollcallv1.MemberStatus, 0, len(statuses))
	byName := make(map[string]*rollcallv1.MemberStatus, len(statuses))
	for _, ms := range statuses {
		byName[ms.GetMember().GetName()] = ms
		if ms.GetAppliedIndex() > 0 && head > ms.GetAppliedIndex() {
			ms.LagEntries = head - ms.GetAppliedIndex()
		} else {
			ms.LagEntries = 0
		}
	}
	for _, m := range st.Members {
		if ms := byName[m.GetName()]; ms != nil {
			res.Members = append(res.Members, ms)
			delete(byName, m.GetName())
		}
	}
	if byName[s.node] != nil { // not a member, or not any more
		res.Members = append(res.Members, self)
	}
	res.Problems = problems(s.node, st, res, leader, answers, time.Now())
	return res
}

package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// model is the registry in the plainest way: it copies everything before each command, and throws
// the copy away if something is wrong with it.
type model struct {
	services map[string]modelService
	members  map[string]string // name → addresses and directory
	revision int64
	time     int64
	horizon  int64
	level    uint32
	allowed  map[string]uint32 // level, by member that announced itself

	ids      int // of requests remembered
	window   int64
	requests []modelRequest // oldest first
}

type modelRequest struct {
	caller, id, content, verdict string
	revision, time               int64
	cost                         int
}

type modelService struct {
	status        logv1.Status
	reason, lease string
	revision      int64
	since, at     int64
}

func newModel() model {
	return model{services: map[string]modelService{}, members: map[string]string{}, horizon: 1, level: 1, allowed: map[string]uint32{}}
}

// apply returns the result as text: refusal, or which changes changed something.
func (m *model) apply(cmd *logv1.Command) string {
	defer m.forget()
	write := cmd.GetWrite() != nil && cmd.RequestId != "" && m.ids > 0
	r := modelRequest{id: cmd.RequestId, content: content(cmd), time: m.time, cost: max(1, len(cmd.GetWrite().GetChanges()))}
	if cmd.GetActor().GetVerified() {
		r.caller = cmd.Actor.Name
	}
	if write {
		for _, first := range m.requests {
			switch {
			case first.caller != r.caller || first.id != r.id:
			case first.content == r.content:
				return fmt.Sprintf("again %s @%d", first.verdict, first.revision)
			default:
				return fmt.Sprintf("REASON_INVALID @%d", m.revision)
			}
		}
	}
	next := *m
	next.services, next.members, next.allowed = maps.Clone(m.services), maps.Clone(m.members), maps.Clone(m.allowed)
	r.verdict = next.run(cmd)
	if !strings.HasPrefix(r.verdict, "REASON") {
		*m = next
	} else {
		r.cost = 1
	}
	if r.revision = m.revision; write && r.verdict != "REASON_INVALID" {
		m.requests = append(m.requests, r)
	}
	return fmt.Sprintf("%s @%d", r.verdict, r.revision)
}

// content is all of cmd that makes it the same request as another.
func content(cmd *logv1.Command) string {
	c := proto.CloneOf(cmd)
	c.RequestId = ""
	if c.Actor == nil {
		c.Actor = &logv1.Actor{}
	}
	c.Actor.Peer = ""
	return string(marshal(c))
}

func (m *model) forget() {
	for len(m.requests) > 0 {
		cost := 0
		for _, r := range m.requests {
			cost += r.cost
		}
		if m.requests[0].time >= m.time-m.window && (cost <= m.ids || len(m.requests) == 1) {
			return
		}
		m.requests = m.requests[1:]
	}
}

func (m *model) run(cmd *logv1.Command) string {
	switch k := cmd.Kind.(type) {
	case *logv1.Command_TermStart:
		if k.TermStart.RequestIds > 0 {
			m.ids, m.window = int(k.TermStart.RequestIds), k.TermStart.RequestWindow
		}
		return "[]"
	case *logv1.Command_Compact:
		if k.Compact.Horizon < 1 || k.Compact.Horizon > m.revision+1 {
			return "REASON_INVALID"
		}
		m.horizon = max(m.horizon, k.Compact.Horizon)
		return "[]"
	case *logv1.Command_AnnounceMember:
		mb := k.AnnounceMember.Member
		now := modelMember(mb)
		was, ok := m.members[mb.Name]
		if ok && !strings.HasSuffix(was, "|"+mb.DirectoryId) {
			return "REASON_INVALID"
		}
		if mb.Level < m.level {
			return "REASON_INVALID"
		}
		if was != now {
			m.members[mb.Name] = now
			m.revision++
		}
		if m.allowed[mb.Name] = mb.Level; mb.HoldLevel != 0 {
			m.allowed[mb.Name] = min(mb.Level, mb.HoldLevel)
		}
		return "[]"
	case *logv1.Command_RaiseLevel:
		for _, name := range k.RaiseLevel.Members {
			if max(m.allowed[name], 1) < k.RaiseLevel.Level && k.RaiseLevel.Level > m.level {
				return "REASON_INVALID"
			}
		}
		m.level = max(m.level, k.RaiseLevel.Level)
		return "[]"
	}
	changes := cmd.GetWrite().GetChanges()
	seen := map[string]bool{}
	for _, c := range changes {
		if strings.ContainsAny(c.Service, " *") || c.Service == "" || strings.HasPrefix(c.Service, "rollcall.") ||
			c.Status > 3 || seen[c.Service] || (c.IfRevision != nil && *c.IfRevision < 0) {
			return "REASON_INVALID"
		}
		seen[c.Service] = true
	}
	if len(changes) == 0 || len(cmd.Reason) > 1024 {
		return "REASON_INVALID"
	}
	changed := []bool{}
	for _, c := range changes {
		was, ok := m.services[c.Service]
		if c.LeaseId != "" {
			return "REASON_NOT_FOUND" // there are no leases in this model
		}
		if c.IfRevision != nil && *c.IfRevision != was.revision {
			return "REASON_REVISION_MISMATCH"
		}
		if c.Status == gone {
			if !ok && c.MustExist {
				return "REASON_NOT_FOUND"
			}
			changed = append(changed, ok)
			if ok {
				m.revision++
				delete(m.services, c.Service)
			}
			continue
		}
		now := modelService{c.Status, cmd.Reason, c.LeaseId, was.revision, was.since, was.at}
		if ok && now == was {
			changed = append(changed, false)
			continue
		}
		m.revision++
		now.revision, now.at = m.revision, m.time
		if !ok || now.status != was.status {
			now.since = m.time
		}
		m.services[c.Service] = now
		changed = append(changed, true)
	}
	return fmt.Sprint(changed)
}

func (m *model) dump() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.services)) {
		fmt.Fprintf(&b, "%s %v\n", name, m.services[name])
	}
	fmt.Fprintln(&b, m.members, m.revision, m.time, m.horizon, m.ids, m.window)
	for _, r := range m.requests {
		fmt.Fprintf(&b, "%q of %q at %d: %d, costs %d\n", r.id, r.caller, r.time, r.revision, r.cost)
	}
	return b.String()
}

func modelMember(m *logv1.Member) string {
	return fmt.Sprint(m.ApiAddress, "|", m.PeerAddress, "|", m.Version, "|", m.Level, "|", m.HoldLevel, "|", m.DirectoryId)
}

// decoded is the first answer to r.
func decoded(r *request) *logv1.Result {
	p, err := decodeResult(r.decode().GetResult(), r.key().id)
	if err != nil {
		panic(err)
	}
	return p
}

func (h *harness) modelDump() string {
	v := h.view.Load()
	m := newModel()
	v.services.Scan(func(r *record) bool {
		m.services[r.name] = modelService{
			logv1.Status(r.status), r.origin.reason, r.origin.leaseID, r.revision, r.statusTime, r.origin.time,
		}
		return true
	})
	for name, mb := range h.Members() {
		m.members[name] = modelMember(mb)
	}
	m.revision, m.time, m.horizon = v.revision, v.logTime, v.horizon
	m.ids, m.window = h.state.requests.limits.ids, h.state.requests.limits.window
	for _, r := range h.state.requests.order {
		m.requests = append(m.requests, modelRequest{caller: r.key().caller, id: r.key().id, time: r.time, revision: decoded(r).GetRevision(), cost: int(r.cost)})
	}
	return m.dump()
}

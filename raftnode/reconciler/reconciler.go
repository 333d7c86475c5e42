package reconciler

import (
	"cmp"
	"fmt"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Server is one of raft's configuration.
type Server struct {
	Name      string
	Directory string // of its data; "": a founder's
	Voter     bool
}

// Progress is how far a server is, as its leader knows.
type Progress struct {
	Known  bool
	Behind uint64 // entries that it lacks
	Steady bool   // it has lacked few for a while, and answers: see Watch
}

// State is what a step is decided on.
type State struct {
	Node     string   // which leads
	Servers  []Server // committed
	Members  map[string]*logv1.Member
	Removed  map[string]*logv1.RemovedMember // the tombstones
	Answered map[string]bool                 // by name: the server has answered this leader just now
	Progress map[string]Progress             // by name
}

// Kind is what a step does.
type Kind int

const (
	None Kind = iota
	AddNonvoter
	AddVoter
	Remove
	// Transfer hands the leadership to another voter, as this leader is to be removed.
	Transfer
)

// Step is one change.
type Step struct {
	Kind      Kind
	Name      string
	Directory string // of the server that is added or gets its vote, as in Server
	To        string // Transfer: who is to lead
}

// want is a difference between what is and what should be.
type want struct {
	kind   Kind
	server Server // as it is, or for AddNonvoter as it should be
	force  bool   // of the tombstone
}

// Settled reports that there is nothing to do, whoever answers.
func Settled(s State) bool { return len(wants(s)) == 0 }

// wants lists the differences, in the order in which they are looked at: what goes, what comes, what gets a vote. Where
// all else is equal they go by name.
func wants(s State) []want {
	var all []want
	present := map[string]bool{}
	for _, server := range s.Servers {
		present[server.Name] = true
		m := s.Members[server.Name]
		switch {
		case m == nil || directory(m) != server.Directory:
			if tombstone := buried(s, server); tombstone != nil {
				all = append(all, want{Remove, server, tombstone.GetForce()})
			}
		case !server.Voter && m.GetJoined() && !m.GetReplica():
			all = append(all, want{AddVoter, server, false})
		}
	}
	for name, m := range s.Members {
		if m.GetJoined() && m.GetDirectoryId() != "" && !present[name] {
			all = append(all, want{AddNonvoter, Server{Name: name, Directory: m.GetDirectoryId()}, false})
		}
	}
	order := []Kind{Remove, AddNonvoter, AddVoter}
	slices.SortFunc(all, func(a, b want) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.kind), slices.Index(order, b.kind)),
			last(a.server.Voter, b.server.Voter),
			last(a.server.Name == s.Node, b.server.Name == s.Node),
			cmp.Compare(a.server.Name, b.server.Name),
		)
	})
	return all
}

// last sorts what is true behind what is not.
func last(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// directory is the one that raft's configuration should name.
func directory(m *logv1.Member) string {
	if m.GetJoined() {
		return m.GetDirectoryId()
	}
	return ""
}

// buried returns the tombstone of a server; nil: nobody has removed it.
func buried(s State, server Server) *logv1.RemovedMember {
	var found *logv1.RemovedMember
	for _, r := range s.Removed {
		if r.GetName() != server.Name || server.Directory != "" && r.GetDirectoryId() != server.Directory {
			continue
		}
		if found == nil || r.GetRevision() > found.GetRevision() {
			found = r
		}
	}
	return found
}

// Next returns the step to make now, and why the members that are not as they should be wait, in words, by name. With
// no step to make the Kind is None. An answer more never makes a step impossible.
func Next(s State) (Step, map[string]string) {
	waits := map[string]string{}
	var next Step
	for _, w := range wants(s) {
		var step Step
		var wait string
		switch w.kind {
		case Remove:
			step, wait = remove(s, w)
		case AddNonvoter:
			step = Step{Kind: AddNonvoter, Name: w.server.Name, Directory: w.server.Directory}
		case AddVoter:
			step, wait = promote(s, w.server)
		}
		if wait != "" {
			waits[w.server.Name] = wait
			continue
		}
		if next.Kind == None {
			next = step
		}
	}
	return next, waits
}

func remove(s State, w want) (Step, string) {
	if !w.server.Voter {
		return Step{Kind: Remove, Name: w.server.Name}, ""
	}
	left := slices.DeleteFunc(voters(s), func(name string) bool { return name == w.server.Name })
	if len(left) == 0 {
		return Step{}, "waits: it is the only voter"
	}
	if !w.force {
		if wait := quorum(s, left); wait != "" {
			return Step{}, wait
		}
	}
	if w.server.Name != s.Node {
		return Step{Kind: Remove, Name: w.server.Name}, ""
	}
	if to := successor(s); to != "" {
		return Step{Kind: Transfer, Name: s.Node, To: to}, ""
	}
	return Step{}, "waits: it leads, and no other voter answers and is close enough to take over"
}

func promote(s State, server Server) (Step, string) {
	switch p := s.Progress[server.Name]; {
	case !p.Known:
		return Step{}, fmt.Sprintf("waits: %s does not answer", server.Name)
	case p.Behind > Near:
		return Step{}, fmt.Sprintf("%s entries behind", thousands(p.Behind))
	case !s.Answered[server.Name]:
		return Step{}, fmt.Sprintf("waits: %s does not answer", server.Name)
	case !p.Steady:
		return Step{}, fmt.Sprintf("has caught up; it votes when it has kept up for %s", SteadyFor)
	}
	if wait := quorum(s, append(voters(s), server.Name)); wait != "" {
		return Step{}, wait
	}
	return Step{Kind: AddVoter, Name: server.Name, Directory: server.Directory}, ""
}

func voters(s State) []string {
	var names []string
	for _, server := range s.Servers {
		if server.Voter {
			names = append(names, server.Name)
		}
	}
	slices.Sort(names)
	return names
}

// quorum says why the named voters would have no quorum that answers; "": they have one.
func quorum(s State, names []string) string {
	var answered, silent []string
	for _, name := range names {
		if name == s.Node || s.Answered[name] {
			answered = append(answered, name)
		} else {
			silent = append(silent, name)
		}
	}
	need := len(names)/2 + 1
	if len(answered) >= need {
		return ""
	}
	verb := "does"
	if len(silent) > 1 {
		verb = "do"
	}
	return fmt.Sprintf("waits: %s %s not answer; of the %d voters afterwards %d are needed, and %s",
		list(silent), verb, len(names), need, answering(answered))
}

func answering(names []string) string {
	switch len(names) {
	case 0:
		return "none answers"
	case 1:
		return "only " + names[0] + " answers"
	}
	return "only " + list(names) + " answer"
}

// successor is the voter to lead instead of this one: it answers, and lacks little; "": there is none. Those that are
// not to be removed themselves go first.
func successor(s State) string {
	going := map[string]bool{}
	for _, w := range wants(s) {
		if w.kind == Remove {
			going[w.server.Name] = true
		}
	}
	names := slices.DeleteFunc(voters(s), func(name string) bool {
		p := s.Progress[name]
		return name == s.Node || !s.Answered[name] || !p.Known || p.Behind > Near
	})
	if len(names) == 0 {
		return ""
	}
	return slices.MinFunc(names, func(a, b string) int {
		return cmp.Or(last(going[a], going[b]), cmp.Compare(s.Progress[a].Behind, s.Progress[b].Behind), cmp.Compare(a, b))
	})
}

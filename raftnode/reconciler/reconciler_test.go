package reconciler

import (
	"maps"
	"strings"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func founder(name string) *logv1.Member {
	return &logv1.Member{Name: name, DirectoryId: "founder-" + name}
}

func joined(name, directory string) *logv1.Member {
	return &logv1.Member{Name: name, DirectoryId: directory, Joined: true}
}

func replica(name, directory string) *logv1.Member {
	return &logv1.Member{Name: name, DirectoryId: directory, Joined: true, Replica: true}
}

func tombstone(name, directory string) *logv1.RemovedMember {
	return &logv1.RemovedMember{Name: name, DirectoryId: directory}
}

func forced(name, directory string) *logv1.RemovedMember {
	return &logv1.RemovedMember{Name: name, DirectoryId: directory, Force: true}
}

// three is n1, which leads, n2 and n3, as they were founded. All answer.
func three() State {
	s := State{
		Node:     "n1",
		Servers:  []Server{{"n1", "", true}, {"n2", "", true}, {"n3", "", true}},
		Members:  map[string]*logv1.Member{"n1": founder("n1"), "n2": founder("n2"), "n3": founder("n3")},
		Removed:  map[string]*logv1.RemovedMember{},
		Answered: map[string]bool{"n1": true, "n2": true, "n3": true},
		Progress: map[string]Progress{},
	}
	for name := range s.Members {
		s.Progress[name] = Progress{Known: true, Steady: true}
	}
	return s
}

func (s *State) member(m *logv1.Member) { s.Members[m.GetName()] = m }

func (s *State) bury(r *logv1.RemovedMember) {
	s.Removed[r.GetDirectoryId()] = r
	if m := s.Members[r.GetName()]; m.GetDirectoryId() == r.GetDirectoryId() {
		delete(s.Members, r.GetName())
	}
}

func (s *State) silent(names ...string) {
	for _, name := range names {
		delete(s.Answered, name)
		p := s.Progress[name]
		p.Steady = false
		s.Progress[name] = p
	}
}

func (s *State) server(name, directory string, voter bool, p Progress) {
	s.Servers = append(s.Servers, Server{name, directory, voter})
	s.Answered[name] = true
	s.Progress[name] = p
}

func TestNext(t *testing.T) {
	ready := Progress{Known: true, Steady: true}
	for name, tt := range map[string]struct {
		change  func(*State)
		want    Step
		waits   map[string]string // the beginning of each
		settled bool
	}{
		"nothing to do": {change: func(*State) {}, settled: true},
		"a founder that the registry has never heard of": {
			change: func(s *State) { delete(s.Members, "n3") }, settled: true,
		},
		"a server that the registry has never heard of": {
			change: func(s *State) { s.server("n9", "d9", true, ready) }, settled: true,
		},
		"a founder that is missing in raft": {
			change: func(s *State) { s.Servers = s.Servers[:2] }, settled: true,
		},
		"a server of another directory, without a tombstone": {
			change: func(s *State) { s.member(joined("n3", "d3")) }, settled: true,
		},
		"a new member": {
			change: func(s *State) { s.member(joined("n4", "d4")) },
			want:   Step{Kind: AddNonvoter, Name: "n4", Directory: "d4"},
		},
		"a new member while nobody answers": {
			change: func(s *State) { s.member(joined("n4", "d4")); s.silent("n2", "n3") },
			want:   Step{Kind: AddNonvoter, Name: "n4", Directory: "d4"},
		},
		"a new replica": {
			change: func(s *State) { s.member(replica("n4", "d4")) },
			want:   Step{Kind: AddNonvoter, Name: "n4", Directory: "d4"},
		},
		"a replica stays one": {
			change: func(s *State) { s.member(replica("n4", "d4")); s.server("n4", "d4", false, ready) }, settled: true,
		},
		"of two the first by name": {
			change: func(s *State) { s.member(joined("n5", "d5")); s.member(joined("n4", "d4")) },
			want:   Step{Kind: AddNonvoter, Name: "n4", Directory: "d4"},
		},
		"it has caught up": {
			change: func(s *State) { s.member(joined("n4", "d4")); s.server("n4", "d4", false, ready) },
			want:   Step{Kind: AddVoter, Name: "n4", Directory: "d4"},
		},
		"it is silent": {
			change: func(s *State) {
				s.member(joined("n4", "d4"))
				s.server("n4", "d4", false, ready)
				delete(s.Answered, "n4")
			},
			waits: map[string]string{"n4": "waits: n4 does not answer"},
		},
		"it has said nothing yet": {
			change: func(s *State) { s.member(joined("n4", "d4")); s.server("n4", "d4", false, Progress{}) },
			waits:  map[string]string{"n4": "waits: n4 does not answer"},
		},
		"it lags": {
			change: func(s *State) {
				s.member(joined("n4", "d4"))
				s.server("n4", "d4", false, Progress{Known: true, Behind: 1234567})
			},
			waits: map[string]string{"n4": "1,234,567 entries behind"},
		},
		"it has just caught up": {
			change: func(s *State) {
				s.member(joined("n4", "d4"))
				s.server("n4", "d4", false, Progress{Known: true, Behind: Near})
			},
			waits: map[string]string{"n4": "has caught up; it votes when it has kept up for 5s"},
		},
		"with one of three away a fourth may vote": {
			change: func(s *State) { s.member(joined("n4", "d4")); s.server("n4", "d4", false, ready); s.silent("n3") },
			want:   Step{Kind: AddVoter, Name: "n4", Directory: "d4"},
		},
		"two of five would not be a quorum": {
			change: func(s *State) {
				s.server("n4", "", true, ready)
				s.member(joined("n5", "d5"))
				s.server("n5", "d5", false, ready)
				s.silent("n2", "n3", "n4")
			},
			waits: map[string]string{"n5": "waits: n2, n3 and n4 do not answer; of the 5 voters afterwards 3 are needed, and only n1 and n5 answer"},
		},
		"one that lags holds up nobody": {
			change: func(s *State) {
				s.member(joined("n4", "d4"))
				s.server("n4", "d4", false, Progress{Known: true, Behind: 5000})
				s.member(joined("n5", "d5"))
				s.server("n5", "d5", false, ready)
			},
			want:  Step{Kind: AddVoter, Name: "n5", Directory: "d5"},
			waits: map[string]string{"n4": "5,000 entries behind"},
		},
		"a follower is removed": {
			change: func(s *State) { s.bury(tombstone("n3", "founder-n3")) },
			want:   Step{Kind: Remove, Name: "n3"},
		},
		"a founder whose directory nobody knew is removed": {
			change: func(s *State) {
				delete(s.Members, "n3")
				s.Removed["?n3"] = tombstone("n3", "")
			},
			want: Step{Kind: Remove, Name: "n3"},
		},
		"a silent follower is removed": {
			change: func(s *State) { s.bury(tombstone("n3", "founder-n3")); s.silent("n3") },
			want:   Step{Kind: Remove, Name: "n3"},
		},
		"the other one would be alone with a silent one": {
			change: func(s *State) { s.bury(tombstone("n2", "founder-n2")); s.silent("n3") },
			waits:  map[string]string{"n2": "waits: n3 does not answer; of the 2 voters afterwards 2 are needed, and only n1 answers"},
		},
		"by force": {
			change: func(s *State) { s.bury(forced("n2", "founder-n2")); s.silent("n3") },
			want:   Step{Kind: Remove, Name: "n2"},
		},
		"what waits holds up no addition": {
			change: func(s *State) {
				s.bury(tombstone("n2", "founder-n2"))
				s.silent("n3")
				s.member(joined("n4", "d4"))
			},
			want:  Step{Kind: AddNonvoter, Name: "n4", Directory: "d4"},
			waits: map[string]string{"n2": "waits: n3 does not answer"},
		},
		"a replica is removed whoever answers": {
			change: func(s *State) {
				s.server("n4", "d4", false, ready)
				s.bury(tombstone("n4", "d4"))
				s.silent("n2", "n3", "n4")
			},
			want: Step{Kind: Remove, Name: "n4"},
		},
		"a member that came later is removed": {
			change: func(s *State) { s.server("n4", "d4", true, ready); s.bury(tombstone("n4", "d4")) },
			want:   Step{Kind: Remove, Name: "n4"},
		},
		"a tombstone of another directory": {
			change: func(s *State) { s.server("n4", "d4", true, ready); s.bury(tombstone("n4", "d3")) }, settled: true,
		},
		"the old directory goes first": {
			change: func(s *State) { s.bury(tombstone("n3", "founder-n3")); s.member(joined("n3", "d3")) },
			want:   Step{Kind: Remove, Name: "n3"},
		},
		"the old directory cannot go, so the new one does not come": {
			change: func(s *State) {
				s.bury(tombstone("n2", "founder-n2"))
				s.member(joined("n2", "d2"))
				s.silent("n3")
			},
			waits: map[string]string{"n2": "waits: n3 does not answer"},
		},
		"then the new one comes": {
			change: func(s *State) {
				s.bury(tombstone("n3", "founder-n3"))
				s.member(joined("n3", "d3"))
				s.Servers = s.Servers[:2]
			},
			want: Step{Kind: AddNonvoter, Name: "n3", Directory: "d3"},
		},
		"it is replaced again": {
			change: func(s *State) {
				s.bury(tombstone("n3", "founder-n3"))
				s.bury(tombstone("n3", "d3"))
				s.member(joined("n3", "d4"))
				s.Servers[2] = Server{"n3", "d3", false}
			},
			want: Step{Kind: Remove, Name: "n3"},
		},
		"the leader hands over": {
			change: func(s *State) {
				s.bury(tombstone("n1", "founder-n1"))
				s.Progress["n2"] = Progress{Known: true, Behind: 7}
			},
			want: Step{Kind: Transfer, Name: "n1", To: "n3"},
		},
		"not to one that is to go too": {
			change: func(s *State) {
				s.server("n4", "", true, ready)
				s.server("n5", "", true, ready)
				s.bury(tombstone("n1", "founder-n1"))
				s.bury(tombstone("n2", "founder-n2"))
				s.silent("n4", "n5")
			},
			waits: map[string]string{"n1": "waits: n4 and n5", "n2": "waits: n4 and n5"},
		},
		"others are removed before the leader hands over": {
			change: func(s *State) {
				s.server("n4", "", true, ready)
				s.bury(tombstone("n1", "founder-n1"))
				s.bury(tombstone("n2", "founder-n2"))
			},
			want: Step{Kind: Remove, Name: "n2"},
		},
		"nobody can take over": {
			change: func(s *State) {
				s.bury(forced("n1", "founder-n1"))
				s.silent("n2")
				s.Progress["n3"] = Progress{Known: true, Behind: 101}
			},
			waits: map[string]string{"n1": "waits: it leads, and no other voter answers and is close enough to take over"},
		},
		"the only voter": {
			change: func(s *State) {
				s.Servers = s.Servers[:1]
				s.bury(forced("n1", "founder-n1"))
			},
			waits: map[string]string{"n1": "waits: it is the only voter"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := three()
			tt.change(&s)
			step, waits := Next(s)
			if step != tt.want {
				t.Errorf("%+v, want %+v", step, tt.want)
			}
			if len(waits) != len(tt.waits) {
				t.Errorf("waits: %q, want %q", waits, tt.waits)
			}
			for name, text := range tt.waits {
				if !strings.HasPrefix(waits[name], text) {
					t.Errorf("%s %q, want %q", name, waits[name], text)
				}
			}
			if got := Settled(s); got != tt.settled {
				t.Errorf("settled: %t", got)
			}
			again, _ := Next(s)
			if again != step {
				t.Errorf("asked again: %+v", again)
			}
			// An answer more is no obstacle.
			more := s
			more.Answered = maps.Clone(s.Answered)
			for _, server := range s.Servers {
				more.Answered[server.Name] = true
			}
			if with, _ := Next(more); step.Kind != None && with.Kind == None {
				t.Errorf("when all have answered: %+v", with)
			}
		})
	}
}

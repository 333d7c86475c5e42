package reach

import (
	"cmp"
	"slices"
	"time"
)

// After is for how long a majority of the voters must not have been able to connect to a leader before it hands over.
const After = 10 * time.Second

// Verdict says whether a leader should hand over.
type Verdict struct {
	By []string // voters that cannot connect to the leader; nil: fewer than a majority
	To string   // who should lead; "": nobody that is known could lead better
}

// Judge says whether this node, which leads, should hand over. The others are all voters but this one, and a majority
// is one of all voters: this node does not count as one that cannot connect to itself.
func (r *Reach) Judge(others []string) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	reports := map[string]Report{}
	reachedBy := 0
	for _, name := range others {
		if a := r.answers[name]; within(fresh, a.at) {
			said := a.Report
			if said.Unreachable > 0 {
				said.Unreachable += time.Since(a.at)
			}
			reports[name] = said
		}
		if within(fresh, r.asked[name]) && reports[name].Unreachable == 0 {
			reachedBy++
		}
	}
	return judge(reports, reachedBy, len(others)+1)
}

// judge decides by what the other voters said, and by how many of them have connected to the leader in the last round.
//
// The one that should lead reaches a majority, so that it can lead; a majority reaches it, so that it does not hand over
// in turn; and more voters reach it than reach the leader now.
func judge(reports map[string]Report, reachedBy, voters int) Verdict {
	majority := voters/2 + 1
	var v Verdict
	for name, said := range reports {
		if said.Unreachable >= After {
			v.By = append(v.By, name)
		}
	}
	if len(v.By) < majority {
		return Verdict{}
	}
	slices.Sort(v.By)
	best := Report{}
	for name, said := range reports {
		if said.Reaches+1 < majority || said.ReachedBy+1 < majority || said.ReachedBy <= reachedBy {
			continue
		}
		if v.To == "" || cmp.Or(cmp.Compare(said.ReachedBy, best.ReachedBy), cmp.Compare(said.Reaches, best.Reaches), cmp.Compare(v.To, name)) > 0 {
			v.To, best = name, said
		}
	}
	return v
}

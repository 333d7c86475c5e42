package survivor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Choice says which survivor of a cluster to recover.
type Choice struct {
	ClusterID string
	Best      *Survivor
	Why       string
	// Majority says that the survivors are enough to go on without recovering; "": they are not.
	Majority string
	// Recovered says that the cluster was recovered already, into another survivor; "": it was not.
	Recovered string
}

// Choose returns a choice for each cluster that survivors belong to, in the order in which the clusters appear. As raft
// would, it leaves out directories that are members no more, and prefers the log whose last entry has the higher term, then the higher index: no other can hold an entry that
// was committed and that this one lacks, if all of them are whole. What a recovery has kept is no survivor: see Kept.
func Choose(all []*Survivor) []Choice {
	var choices []Choice
	kept := Kept(all)
	given := all
	all = slices.DeleteFunc(slices.Clone(all), func(s *Survivor) bool { _, is := kept[s]; return is })
	for i, s := range all {
		if slices.ContainsFunc(all[:i], func(other *Survivor) bool { return other.ClusterID == s.ClusterID }) {
			continue
		}
		var same []*Survivor
		for _, other := range all {
			if other.ClusterID == s.ClusterID {
				same = append(same, other)
			}
		}
		removed := map[string]bool{}
		for _, s := range same {
			maps.Copy(removed, s.Removed)
		}
		slices.SortStableFunc(same, func(a, b *Survivor) int {
			return cmp.Or(compareBool(removed[a.Directory], removed[b.Directory]), -cmp.Compare(a.Last.Term, b.Last.Term), -cmp.Compare(a.Last.Index, b.Last.Index), cmp.Compare(len(a.Missing), len(b.Missing)))
		})
		choices = append(choices, Choice{ClusterID: s.ClusterID, Best: same[0], Why: why(same, removed), Majority: majority(same, removed), Recovered: recovered(s.ClusterID, given, same, kept)})
	}
	return choices
}

// why is about survivors in the order of preference.
func why(same []*Survivor, removed map[string]bool) string {
	best := same[0]
	text := fmt.Sprintf("its log ends at entry %d of term %d", best.Last.Index, best.Last.Term)
	if len(same) == 1 {
		return text + ", and there is no other of its cluster"
	}
	var others []string
	for _, s := range same[1:] {
		what := fmt.Sprintf("%s at %d of term %d", s.called(), s.Last.Index, s.Last.Term)
		if removed[s.Directory] {
			what = s.called() + " is a member no more"
		} else if s.Last.Term == best.Last.Term && s.Last.Index == best.Last.Index {
			what = s.called() + " at the same"
		}
		others = append(others, what)
	}
	return text + ", " + strings.Join(others, ", ")
}

func (s *Survivor) called() string { return cmp.Or(s.Node, s.Path) }

// majority is about survivors in the order of preference: the best one knows the newest members.
func majority(same []*Survivor, removed map[string]bool) string {
	voters := same[0].Voters()
	var whole []string
	for _, s := range same {
		if s.Identity.Founding != nil && len(s.Missing) == 0 && !removed[s.Directory] && votes(same[0].Configuration, s) && !slices.Contains(whole, s.Node) {
			whole = append(whole, s.Node)
		}
	}
	if len(whole) <= len(voters)/2 {
		return ""
	}
	slices.Sort(whole)
	if len(voters) == 1 {
		return fmt.Sprintf("%s is the only member that votes: start it, nothing needs to be recovered", whole[0])
	}
	return fmt.Sprintf("%s are a majority of the %d members that vote (%s): start them, nothing needs to be recovered",
		strings.Join(whole, ", "), len(voters), strings.Join(voters, ", "))
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

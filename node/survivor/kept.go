package survivor

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Kept returns those survivors that are old directories which a recovery has kept, each with the directory that was made
// of it. They do not count: the cluster went on without them. One is known by its name, or by the note in the directory
// that was made of it, if that is among them.
func Kept(all []*Survivor) map[*Survivor]string {
	kept := map[*Survivor]string{}
	for _, s := range all {
		if s.KeptFor != "" {
			kept[s] = s.KeptFor
			continue
		}
		for _, other := range all {
			if r := other.Recovered; r != nil && other.Directory != s.Directory && r.DirectoryID == s.Directory && s.Directory != "" {
				kept[s] = other.Path
			}
		}
	}
	return kept
}

// recovered says that a cluster was recovered already, into one of all, or into one of kept that was recovered again; "":
// it was not. same are what is left of it.
func recovered(clusterID string, all, same []*Survivor, kept map[*Survivor]string) string {
	for _, s := range all {
		r := s.Recovered
		if r == nil || r.ClusterID != clusterID || s.ClusterID == clusterID {
			continue
		}
		text := fmt.Sprintf("it was recovered at %s, into %s, with its log up to entry %d of term %d: go on with that one",
			r.Time.UTC().Format(time.RFC3339), cmp.Or(kept[s], s.Path), r.Index, r.Term)
		var more []string
		for _, left := range same {
			if left.Last.Term > r.Term || left.Last.Term == r.Term && left.Last.Index > r.Index {
				more = append(more, fmt.Sprintf("%s ends at entry %d of term %d", left.called(), left.Last.Index, left.Last.Term))
			}
		}
		if len(more) > 0 {
			text += "; but it has not all that was left: " + strings.Join(more, ", ")
		}
		return text
	}
	return ""
}

package node

import (
	"fmt"
	"time"

	"github.com/rollcallhq/rollcall/node/survivor"
	"github.com/rollcallhq/rollcall/store"
)

// NotNeededError refuses a recovery without which the cluster can go on, or which was made already. Nothing was changed.
type NotNeededError struct {
	Data      string
	Node      string
	ClusterID string
	// Recovered says what recovery made the directory; nil: none.
	Recovered *store.Recovered
	HasRun    bool  // since then
	Revision  int64 // now
	// Kept is the old directory of that recovery; "": it is not there any more.
	Kept string
	// KeptFor is the directory that was recovered, if Data is the old directory that this recovery has kept.
	KeptFor string
	Member  Member // as it was: without addresses that are not known
}

func (e *NotNeededError) Error() string {
	if e.KeptFor != "" {
		return fmt.Sprintf("%s is the old directory that the recovery of %s has kept; nothing was changed", e.Data, e.KeptFor)
	}
	if e.Recovered == nil {
		return fmt.Sprintf("nothing has to be recovered: %s is the only voter of cluster %s, and its data are whole; nothing was changed",
			e.Node, e.ClusterID)
	}
	since := "has not run since"
	if e.HasRun {
		since = fmt.Sprintf("has run since, to revision %d", e.Revision)
	}
	return fmt.Sprintf("%s was recovered already, at %s, as the only voter of cluster %s, and %s; nothing was changed now",
		e.Data, e.Recovered.Time.UTC().Format(time.RFC3339), e.ClusterID, since)
}

// notNeeded is a NotNeededError; nil: the recovery may be needed.
func notNeeded(path string, s *survivor.Survivor) error {
	if s.KeptFor == "" && !s.Alone() {
		return nil
	}
	e := &NotNeededError{Data: path, Node: s.Node, ClusterID: s.ClusterID, KeptFor: s.KeptFor, Member: Member{Name: s.Node}}
	if m, err := memberOf(s, RecoverOptions{}); err == nil {
		e.Member = m
	}
	if r := s.Recovered; r != nil {
		e.Recovered, e.HasRun, e.Revision, e.Kept = r, s.Last.Index > r.Index, s.Last.Revision, store.KeptBy(path, *r)
	}
	return e
}

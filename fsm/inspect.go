package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Loader hands out the records of a registry file. It is the part of RegistryFile that a start needs.
type Loader interface {
	Load(v logv1.Visitor) (*logv1.RegistryMeta, error)
}

// Contents is what a registry file holds.
type Contents struct {
	Records []RecordCount // of each kind, in the order of their numbers
	// Compared is false if it has no state hash, or one that is computed in another way.
	Compared bool
	Hash     *logv1.StateHash // of the records
}

// RecordCount is how many records of a kind there are.
type RecordCount struct {
	Kind  *Kind
	Count int
}

// Count returns how many records of a kind there are.
func (c Contents) Count(kind logv1.Kind) int {
	for _, r := range c.Records {
		if r.Kind.Number == kind {
			return r.Count
		}
	}
	return 0
}

// Inspect loads j as a start does, checks it, and keeps nothing of it. The error says why a start would not
// accept it. It wraps ErrStateHash if the records do not have the state hash that was stored with them.
func Inspect(j Loader, kinds *Kinds) (Contents, error) {
	s, _, meta, err := loadState(j, kinds, logv1.Level, HashVersion)
	if err != nil {
		return Contents{}, err
	}
	c := Contents{
		Compared: meta.GetStateHash().GetVersion() == HashVersion,
		Hash:     s.digest().proto(s.hashVersion, meta.GetIndex()),
	}
	for _, kind := range kinds.all {
		c.Records = append(c.Records, RecordCount{kind, s.count(kind)})
	}
	return c, nil
}

func (s *state) count(kind *Kind) int {
	if kind.tuned != nil {
		return kind.tuned.count(s)
	}
	return s.tables.find(kind).records.Len()
}

// Refound returns the state hash that the registry in j would have as that of another cluster, without the
// records of kinds that belong to a cluster. j must be intact.
func Refound(j Loader, kinds *Kinds, clusterID string) (*logv1.StateHash, error) {
	s, _, meta, err := loadState(j, kinds, logv1.Level, HashVersion)
	if err != nil {
		return nil, err
	}
	for _, kind := range kinds.all {
		if !kind.PerCluster {
			continue
		}
		for _, key := range s.tables.find(kind).records.Keys() {
			s.put(kind, key, nil)
		}
	}
	s.clusterID = clusterID
	return s.digest().proto(s.hashVersion, meta.GetIndex()), nil
}

package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Loader hands out what a registry file holds. It is what a start needs of a registry file.
type Loader interface {
	Load(v logv1.Visitor) (*logv1.RegistryMeta, error)
}

// Contents is what a registry file or snapshot was found to hold.
type Contents struct {
	Services, Members, RequestIDs int
	// Compared is false if it has no state hash, or one that is computed in another way.
	Compared bool
	Hash     *logv1.StateHash // of the records
}

// Inspect loads what j holds just as a start does, and keeps nothing of it. The error says what a start
// would not accept; it wraps ErrStateHash if the records do not have the hash that was stored with them.
func Inspect(j Loader) (Contents, error) {
	s, _, meta, err := loadState(j, logv1.Level)
	if err != nil {
		return Contents{}, err
	}
	return Contents{
		Services:   s.services.Len(),
		Members:    len(s.members),
		RequestIDs: len(s.requests.order),
		Compared:   meta.GetStateHash().GetVersion() == HashVersion,
		Hash:       s.digest().proto(meta.GetIndex()),
	}, nil
}

// Refound returns the state hash of what j holds, which must be intact, if it were of another cluster
// that has no members yet.
func Refound(j Loader, clusterID string) (*logv1.StateHash, error) {
	s, _, meta, err := loadState(j, logv1.Level)
	if err != nil {
		return nil, err
	}
	for _, m := range s.members {
		s.hash.member(m, nil)
	}
	s.clusterID = clusterID
	return s.digest().proto(meta.GetIndex()), nil
}

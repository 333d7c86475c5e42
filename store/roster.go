package store

import (
	"fmt"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// Roster is who belongs to the cluster at one revision of its registry. A node keeps it beside its log, because the
// log that it holds may be older: a member that was away must recognise those that were added meanwhile.
type Roster struct {
	Revision int64          `json:"revision"`
	Members  []RosterMember `json:"members"` // by name
}

// RosterMember is a member as a roster knows it.
type RosterMember struct {
	Name        string `json:"name"`
	PeerAddress string `json:"peer_address,omitempty"`
	DirectoryID string `json:"directory_id,omitempty"` // "": any
}

// Removal is when and by whom a data directory was taken out of its cluster.
type Removal struct {
	Revision   int64     `json:"revision"`
	Time       time.Time `json:"time,omitzero"`    // zero: not known
	Actor      string    `json:"actor,omitempty"`  // "": not known
	Reason     string    `json:"reason,omitempty"` // "": none, or not known
	ReplacedBy string    `json:"replaced_by,omitempty"`
}

func (r *Roster) clone() *Roster {
	if r == nil {
		return nil
	}
	c := *r
	c.Members = append([]RosterMember{}, r.Members...)
	return &c
}

// Check says what of a roster no member could have told, or written.
func (r *Roster) Check() error {
	before := ""
	for _, m := range r.Members {
		if m.Name <= before {
			return fmt.Errorf("the members of the roster are not in order at %q", m.Name)
		}
		before = m.Name
		if m.DirectoryID != "" && !ValidDirectoryID(m.DirectoryID) {
			return fmt.Errorf("directory id %q of %s in the roster is no UUID", m.DirectoryID, m.Name)
		}
	}
	if r.Revision <= 0 || len(r.Members) == 0 {
		return fmt.Errorf("the roster has revision %d and %d members", r.Revision, len(r.Members))
	}
	return nil
}

// ValidDirectoryID reports whether a text has the form in which all data directories have their ids: a UUID in small
// letters.
func ValidDirectoryID(id string) bool {
	parsed, err := uuid.Parse(id)
	return err == nil && parsed.String() == id
}

// change writes the identity that edit makes of the one that stands, durably when it returns. edit returns false to
// leave it as it is.
func (d *Directory) change(what string, edit func(*Identity) (bool, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("%s: data directory %s: %w", what, d.path, vfs.ErrClosed)
	}
	id := d.identity.clone()
	changed, err := edit(&id)
	if err == nil && changed {
		err = id.write(d.path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if changed {
		d.identity = id
	}
	return nil
}

// SetJoined notes, durably when it returns, that this node was made a member of a cluster that runs: how that one
// began, and who belongs to it; nil: that is not known. Such a node never writes the first entry of a log. It can be
// set once; setting the same again changes nothing.
func (d *Directory) SetJoined(f Founding, r *Roster) error {
	return d.change("note the cluster", func(id *Identity) (bool, error) {
		if have := id.Founding; have != nil {
			if id.Joined && reflect.DeepEqual(have, f.clone()) {
				return false, nil
			}
			return false, fmt.Errorf("data directory %s already belongs to cluster %q, not %q or with other members", d.path, have.ClusterID, f.ClusterID)
		}
		if r != nil {
			if err := r.Check(); err != nil {
				return false, err
			}
		}
		id.Founding, id.Joined, id.Roster = f.clone(), true, r.clone()
		return true, nil
	})
}

// SetRoster notes, durably when it returns, who belongs to the cluster. A roster that is not newer than the one that
// stands changes nothing.
func (d *Directory) SetRoster(r Roster) error {
	return d.change("note the members", func(id *Identity) (bool, error) {
		if id.Founding == nil {
			return false, fmt.Errorf("data directory %s belongs to no cluster", d.path)
		}
		if id.Roster != nil && id.Roster.Revision >= r.Revision {
			return false, nil
		}
		if err := r.Check(); err != nil {
			return false, err
		}
		id.Roster = r.clone()
		return true, nil
	})
}

// SetRemoved notes, durably when it returns, that this directory belongs to its cluster no more. The first time counts.
func (d *Directory) SetRemoved(r Removal) error {
	return d.change("note the removal", func(id *Identity) (bool, error) {
		if id.Removed != nil {
			return false, nil
		}
		id.Removed = &r
		return true, nil
	})
}

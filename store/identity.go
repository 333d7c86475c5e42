package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Formats of identity.json that this code reads. It writes the first one as long as nothing needs the second, so that
// an older binary can read the file until the members of the cluster change.
const (
	identityFormat      = 1
	identityFormatNewer = 2 // with Joined, Roster or Removed
)

// Identity says whose data directory this is. It stands in a file of its own, not in the registry file,
// because the registry file is replaced whole when a leader's snapshot arrives: see
// docs/decisions/0002-identity-file.md.
type Identity struct {
	Node string
	// DirectoryID is random and made once. raft.db and registry.db name it too, so that a file put
	// here from another directory is noticed.
	DirectoryID string
	Created     time.Time
	// Founding is nil until the node has taken part in forming a cluster, or was made a member of one.
	Founding *Founding
	// Joined says that the node was made a member of a cluster that ran.
	Joined bool
	// Roster is nil until the members of the cluster differ from those of its founding.
	Roster *Roster
	// Removed is nil while the directory may be a member's.
	Removed *Removal
}

// Founding is what the node agreed to when its cluster was formed.
type Founding struct {
	ClusterID string           `json:"cluster_id"`
	Members   []FoundingMember `json:"members"`
}

// FoundingMember is a member of the first configuration.
type FoundingMember struct {
	Name        string `json:"name"`
	PeerAddress string `json:"peer_address"`
	DirectoryID string `json:"directory_id"`
}

func (f *Founding) clone() *Founding {
	if f == nil {
		return nil
	}
	c := *f
	c.Members = append([]FoundingMember{}, f.Members...) // never nil: [] and null are the same
	return &c
}

func (id Identity) clone() Identity {
	id.Founding, id.Roster = id.Founding.clone(), id.Roster.clone()
	if id.Removed != nil {
		removed := *id.Removed
		id.Removed = &removed
	}
	return id
}

// format is the oldest one that holds all of the identity.
func (id Identity) format() int {
	if id.Joined || id.Roster != nil || id.Removed != nil {
		return identityFormatNewer
	}
	return identityFormat
}

// identityFile is identity.json of format 1, newerIdentityFile that of format 2.
type identityFile struct {
	Format      int       `json:"format"`
	Node        string    `json:"node"`
	DirectoryID string    `json:"directory_id"`
	Created     time.Time `json:"created"`
	Founding    *Founding `json:"founding,omitempty"`
}

type newerIdentityFile struct {
	identityFile
	Joined  bool     `json:"joined,omitempty"`
	Roster  *Roster  `json:"roster,omitempty"`
	Removed *Removal `json:"removed,omitempty"`
}

// IdentityError says what is wrong with an identity.json, and what to do. It wraps vfs.ErrDamaged or
// vfs.ErrNewer.
type IdentityError struct {
	Path string
	Err  error
}

func (e *IdentityError) Error() string {
	if errors.Is(e.Err, vfs.ErrNewer) {
		return fmt.Sprintf("%s: %v: start the newer rollcall", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: %v: put the right file back, if there is a copy of it; else %s", e.Path, e.Err, raftlog.LostMember)
}

func (e *IdentityError) Unwrap() error { return e.Err }

// errIdentityJSON is what is wrong with a file that was cut off or overwritten.
var errIdentityJSON = fmt.Errorf("%w: it is cut short or overwritten", vfs.ErrDamaged)

// parseIdentity reads identity.json. The error wraps vfs.ErrDamaged or vfs.ErrNewer.
func parseIdentity(data []byte) (Identity, error) {
	// The format first: a newer one may have given any other field another shape.
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Identity{}, errIdentityJSON
	}
	if head.Format > identityFormatNewer {
		return Identity{}, fmt.Errorf("%w: format %d, this binary reads up to %d", vfs.ErrNewer, head.Format, identityFormatNewer)
	}
	var file newerIdentityFile
	var shape any = &file
	switch head.Format {
	case identityFormat:
		shape = &file.identityFile
	case identityFormatNewer:
	default:
		return Identity{}, fmt.Errorf("%w: format %d", vfs.ErrDamaged, head.Format)
	}
	if err := json.Unmarshal(data, shape); err != nil {
		return Identity{}, errIdentityJSON
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(shape); err != nil {
		field := strings.TrimPrefix(err.Error(), "json: unknown field ")
		return Identity{}, fmt.Errorf("%w: it has a field that this one does not know: %s", vfs.ErrNewer, field)
	}
	id := Identity{
		Node:        file.Node,
		DirectoryID: file.DirectoryID,
		Created:     file.Created,
		Founding:    file.Founding.clone(),
		Joined:      file.Joined,
		Roster:      file.Roster.clone(),
		Removed:     file.Removed,
	}
	if err := id.check(); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", vfs.ErrDamaged, err)
	}
	return id, nil
}

// check says what of an identity no code here could have written.
func (id Identity) check() error {
	switch {
	case id.Node == "":
		return errors.New("no node name")
	case !ValidDirectoryID(id.DirectoryID):
		return fmt.Errorf("directory id %q is no UUID", id.DirectoryID)
	case id.Founding == nil && (id.Joined || id.Roster != nil):
		return errors.New("it says who belongs to its cluster, but not which cluster that is")
	case id.Roster != nil:
		return id.Roster.Check()
	}
	return nil
}

func (id Identity) write(dir string) error {
	data, err := json.MarshalIndent(newerIdentityFile{
		identityFile: identityFile{
			Format:      id.format(),
			Node:        id.Node,
			DirectoryID: id.DirectoryID,
			Created:     id.Created,
			Founding:    id.Founding,
		},
		Joined:  id.Joined,
		Roster:  id.Roster,
		Removed: id.Removed,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(dir, identityName), err)
	}
	if err := vfs.ReplaceFile(filepath.Join(dir, identityName), append(data, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(dir, identityName), err)
	}
	return nil
}

// openIdentity reads the identity of dir, or gives an empty directory a new one.
func openIdentity(dir, node string) (Identity, error) {
	name := filepath.Join(dir, identityName)
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return newIdentity(dir, node)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("data directory %s cannot be used: %w", dir, err)
	}
	id, err := parseIdentity(data)
	if err != nil {
		return Identity{}, &IdentityError{name, err}
	}
	if id.Node != node {
		return Identity{}, fmt.Errorf("%s belongs to node %q, not %q", dir, id.Node, node)
	}
	return id, nil
}

// contents returns which parts of a node's data a directory holds, sorted.
func contents(dir string) (found []string, err error) {
	for _, name := range []string{raftlog.FileName, raftlog.DirName, registry.FileName, snapshot.DirName} {
		there, err := vfs.Exists(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if there {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found, nil
}

func newIdentity(dir, node string) (Identity, error) {
	found, err := contents(dir)
	if err != nil {
		return Identity{}, fmt.Errorf("data directory %s cannot be used: %w", dir, err)
	}
	if len(found) > 0 {
		return Identity{}, fmt.Errorf("%s is missing but %s holds %v: whose they are is not known; "+
			"put %s back; if it is lost, %s",
			filepath.Join(dir, identityName), dir, found, identityName, raftlog.LostMember)
	}
	random, err := uuid.NewRandom()
	if err != nil {
		return Identity{}, fmt.Errorf("make a directory id: %w", err)
	}
	id := Identity{Node: node, DirectoryID: random.String(), Created: time.Now().UTC().Truncate(time.Second)}
	return id, id.write(dir)
}

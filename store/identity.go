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

// identityFormat is the newest format of identity.json that this code writes and reads.
const identityFormat = 1

// Identity says whose data directory this is. It stands in a file of its own, not in the registry file,
// because the registry file is replaced whole when a leader's snapshot arrives: see
// docs/decisions/0002-identity-file.md.
type Identity struct {
	Node string
	// DirectoryID is random and made once. raft.db and registry.db name it too, so that a file put
	// here from another directory is noticed.
	DirectoryID string
	Created     time.Time
	// Founding is nil until the node has taken part in forming a cluster.
	Founding *Founding
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
	id.Founding = id.Founding.clone()
	return id
}

// identityFile is identity.json.
type identityFile struct {
	Format      int       `json:"format"`
	Node        string    `json:"node"`
	DirectoryID string    `json:"directory_id"`
	Created     time.Time `json:"created"`
	Founding    *Founding `json:"founding,omitempty"`
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
	if head.Format > identityFormat {
		return Identity{}, fmt.Errorf("%w: format %d, this binary reads up to %d", vfs.ErrNewer, head.Format, identityFormat)
	}
	if head.Format != identityFormat {
		return Identity{}, fmt.Errorf("%w: format %d", vfs.ErrDamaged, head.Format)
	}
	var file identityFile
	if err := json.Unmarshal(data, &file); err != nil {
		return Identity{}, errIdentityJSON
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(identityFile)); err != nil {
		field := strings.TrimPrefix(err.Error(), "json: unknown field ")
		return Identity{}, fmt.Errorf("%w: it has a field that this one does not know: %s", vfs.ErrNewer, field)
	}
	if file.Node == "" {
		return Identity{}, fmt.Errorf("%w: no node name", vfs.ErrDamaged)
	}
	if parsed, err := uuid.Parse(file.DirectoryID); err != nil || parsed.String() != file.DirectoryID {
		return Identity{}, fmt.Errorf("%w: directory id %q is no UUID", vfs.ErrDamaged, file.DirectoryID)
	}
	return Identity{
		Node:        file.Node,
		DirectoryID: file.DirectoryID,
		Created:     file.Created,
		Founding:    file.Founding.clone(),
	}, nil
}

func (id Identity) write(dir string) error {
	data, err := json.MarshalIndent(identityFile{
		Format:      identityFormat,
		Node:        id.Node,
		DirectoryID: id.DirectoryID,
		Created:     id.Created,
		Founding:    id.Founding,
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

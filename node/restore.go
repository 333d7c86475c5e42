package node

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/verify"
)

// RestoreTokenLife is how long after the first node was restored the others can be. A node that lost its
// disk later must not come back this way: it would have forgotten its votes.
const RestoreTokenLife = time.Hour

// Restored is what Restore did.
type Restored struct {
	snapshot.Backup
	ClusterID string
	Token     string // to restore the other members with
}

// Restore makes the data directory of the node that cfg describes from a backup, as a member of a new
// cluster of cfg.Members. All members are restored from the same file, with the same members; the first
// without a token, the others with the one that it returned: the id of the cluster and those of all data
// directories follow from the three.
func Restore(file string, cfg Config, token string) (Restored, error) {
	if err := cfg.Validate(); err != nil {
		return Restored{}, err
	}
	b, err := snapshot.CheckBackup(file)
	if err != nil {
		return Restored{}, err
	}
	token = strings.ToLower(strings.TrimSpace(token))
	seed := restoreSeed(b.SHA256, cfg.Members)
	if token == "" {
		token = newRestoreToken(seed, time.Now())
	} else if err := checkRestoreToken(token, seed, time.Now()); err != nil {
		return Restored{}, err
	}
	kinds := cfg.kinds()
	f := restoredFounding(seed, token, cfg.Members)
	i := slices.IndexFunc(f.Members, func(m store.FoundingMember) bool { return m.Name == cfg.Name })
	b, err = store.Restore(file, store.Restoration{
		Path:        cfg.DataDir,
		Node:        cfg.Name,
		DirectoryID: f.Members[i].DirectoryID,
		Founding:    f,
		LogKind:     raftlog.Kind(cfg.LogStore),
		Kinds:       kinds,
		Rehash:      rehash(kinds, f.ClusterID),
	})
	return Restored{Backup: b, ClusterID: f.ClusterID, Token: token}, err
}

// rehash checks a registry file and returns the state hash that it has as that of another cluster.
func rehash(kinds *fsm.Kinds, clusterID string) func(*registry.Reader) (*logv1.StateHash, error) {
	return func(registryFile *registry.Reader) (*logv1.StateHash, error) {
		for _, check := range registryFile.Check(kinds, func(f *registry.Reader) verify.Check {
			check, _ := inspect(f, kinds)
			return check
		}) {
			if len(check.Problems) > 0 {
				return nil, fmt.Errorf("%w: %s: %s", store.ErrDamaged, check.Name, check.Problems[0])
			}
		}
		return fsm.Refound(registryFile, kinds, clusterID)
	}
}

// restoreSeed is what all members of one restoring must have in common.
func restoreSeed(sum string, members []Member) []byte {
	var lines []string
	for _, m := range members {
		lines = append(lines, m.Name+" "+m.PeerAddress+" "+m.APIAddress)
	}
	slices.Sort(lines)
	seed := sha256.Sum256([]byte("rollcall restore\n" + sum + "\n" + strings.Join(lines, "\n")))
	return seed[:]
}

// A token is, in hexadecimal, a format, when it was made, eight random bytes, and the beginning of the seed,
// so that another file or list is noticed before anything is made of it.
const (
	tokenFormat = 1
	tokenBytes  = 1 + 4 + 8 + 4
)

func newRestoreToken(seed []byte, now time.Time) string {
	b := append(make([]byte, 0, tokenBytes), tokenFormat)
	b = binary.BigEndian.AppendUint32(b, uint32(now.Unix()))
	b = append(b, make([]byte, 8)...)
	_, _ = rand.Read(b[5:]) // never fails
	return hex.EncodeToString(append(b, seed[:4]...))
}

func checkRestoreToken(token string, seed []byte, now time.Time) error {
	b, err := hex.DecodeString(token)
	if err != nil || len(b) != tokenBytes || b[0] != tokenFormat {
		return errors.New("the token is not one that a restore printed")
	}
	if !slices.Equal(b[13:], seed[:4]) {
		return errors.New("the token is of another file or another list of members: both must be the same for all members")
	}
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint32(b[1:])), 0))
	if age > RestoreTokenLife || age < -RestoreTokenLife {
		return fmt.Errorf("the token was made %s ago, and is good for %s: restore all members anew; "+
			"a member that was lost later cannot be restored alone: see \"A member lost its data\" in docs/operations.md", age.Round(time.Second), RestoreTokenLife)
	}
	return nil
}

// restoredFounding is the founding that all members of one restoring arrive at.
func restoredFounding(seed []byte, token string, members []Member) store.Founding {
	derive := func(what string) [sha256.Size]byte {
		return sha256.Sum256(slices.Concat(seed, []byte(token+"\n"+what)))
	}
	cluster := derive("cluster")
	f := store.Founding{ClusterID: hex.EncodeToString(cluster[:8])}
	for _, m := range members {
		of := derive("directory of " + m.Name)
		id := uuid.UUID(of[:16])
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8 (RFC 9562): of one's own making
		f.Members = append(f.Members, store.FoundingMember{Name: m.Name, PeerAddress: m.PeerAddress, DirectoryID: id.String()})
	}
	slices.SortFunc(f.Members, func(a, b store.FoundingMember) int { return cmp.Compare(a.Name, b.Name) })
	return f
}

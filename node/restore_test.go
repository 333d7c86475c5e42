package node

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestRestoreToken: a token is of one file, one list of members and one hour.
func TestRestoreToken(t *testing.T) {
	members := []Member{{"n1", "a:1", "a:0"}, {"n2", "b:1", "b:0"}, {"n3", "c:1", "c:0"}}
	now := time.Unix(1_800_000_000, 0)
	seed := restoreSeed("abc", members)
	token := newRestoreToken(seed, now)
	shuffled := []Member{members[2], members[0], members[1]}
	moved := append([]Member{{"n1", "z:1", "a:0"}}, members[1:]...)
	for _, tt := range []struct {
		name, token string
		seed        []byte
		now         time.Time
		want        string // "": good
	}{
		{"the same", token, seed, now.Add(time.Minute), ""},
		{"members in another order", token, restoreSeed("abc", shuffled), now, ""},
		{"another file", token, restoreSeed("abd", members), now, "another file or another list"},
		{"another address", token, restoreSeed("abc", moved), now, "another file or another list"},
		{"fewer members", token, restoreSeed("abc", members[:2]), now, "another file or another list"},
		{"too late", token, seed, now.Add(RestoreTokenLife + time.Second), "restore all members anew"},
		{"of the future", token, seed, now.Add(-2 * RestoreTokenLife), "restore all members anew"},
		{"rubbish", "rubbish", seed, now, "not one that a restore printed"},
		{"cut short", token[:20], seed, now, "not one that a restore printed"},
	} {
		err := checkRestoreToken(tt.token, tt.seed, tt.now)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}

	f, again := restoredFounding(seed, token, members), restoredFounding(seed, token, shuffled)
	other := restoredFounding(seed, newRestoreToken(seed, now), members)
	if f.ClusterID == other.ClusterID || f.ClusterID != again.ClusterID || len(f.ClusterID) != 16 {
		t.Errorf("cluster ids %q, %q and with another token %q", f.ClusterID, again.ClusterID, other.ClusterID)
	}
	ids := map[string]bool{}
	for i, m := range f.Members {
		id, err := uuid.Parse(m.DirectoryID)
		if err != nil || id.Version() != 8 || id.Variant() != uuid.RFC4122 || id.String() != m.DirectoryID {
			t.Errorf("directory id %q of %s: %v", m.DirectoryID, m.Name, err)
		}
		if m != again.Members[i] || m.DirectoryID == other.Members[i].DirectoryID {
			t.Errorf("%v, %v and with another token %v", m, again.Members[i], other.Members[i])
		}
		ids[m.DirectoryID] = true
	}
	if len(ids) != len(members) {
		t.Errorf("directory ids %v", ids)
	}
}

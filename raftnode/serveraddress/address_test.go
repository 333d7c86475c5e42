package serveraddress

import (
	"testing"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddress(t *testing.T) {
	for address, want := range map[raft.ServerAddress][2]string{
		"n1":         {"n1", ""},
		"n1/5f2c":    {"n1", "5f2c"},
		"rack-7.n-1": {"rack-7.n-1", ""},
	} {
		if name, directory := Split(address); name != want[0] || directory != want[1] {
			t.Errorf("%s is split into %q and %q", address, name, directory)
		}
		if got := Of(want[0], want[1]); got != address {
			t.Errorf("Of(%q, %q) is %s", want[0], want[1], got)
		}
	}
}

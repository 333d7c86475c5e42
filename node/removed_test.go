package node

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rollcallhq/rollcall/raftnode"
)

func TestRemoved(t *testing.T) {
	removed := errors.Join(fmt.Errorf("open: %w", &raftnode.RemovedError{Directory: "d"}), errors.New("close: too late"))
	if !Removed(removed) {
		t.Errorf("%v: it was not removed", removed)
	}
	if Removed(errors.New("disk full")) || Removed(nil) {
		t.Error("another reason counts as a removal")
	}
}

package workaround

import (
	"reflect"

	"github.com/hashicorp/raft"
)

// EndWith makes f.Error return raft.ErrRaftShutdown at the latest when done closes.
//
// A future of ApplyLog that raft had already handed to the fold's queue when it was shut down is
// never answered (v1.7.3: processLogs, runFSM), and so is a leadership transfer still in its
// channel; their Error then blocks for ever, and with it whoever waits. Raft has the means against
// it, the exported field ShutdownCh of its futures, and leaves it nil for these.
func EndWith(f raft.Future, done chan struct{}) {
	v := reflect.ValueOf(f)
	if v.Kind() != reflect.Pointer {
		return // answered already
	}
	field := v.Elem().FieldByName("ShutdownCh")
	if field.IsValid() && field.CanSet() && field.Type() == reflect.TypeOf(done) {
		field.Set(reflect.ValueOf(done))
	}
}

package node

import (
	"github.com/rollcallhq/rollcall/store/raftlog"
)

// DefaultLogStore is what a new data directory gets.
const DefaultLogStore = string(raftlog.DefaultKind)

// LogStores are what Config.LogStore may be.
func LogStores() []string {
	var names []string
	for _, kind := range raftlog.Kinds() {
		names = append(names, string(kind))
	}
	return names
}

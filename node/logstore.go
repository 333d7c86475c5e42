package node

import "github.com/rollcallhq/rollcall/store"

// DefaultLogStore is what a new data directory gets.
const DefaultLogStore = string(store.DefaultLogKind)

// LogStores are what Config.LogStore may be.
func LogStores() []string {
	var names []string
	for _, kind := range store.LogKinds() {
		names = append(names, string(kind))
	}
	return names
}

// LogConversion is what ConvertLog did.
type LogConversion struct {
	From, To string // equal: nothing had to be done
	Entries  int    // copied
}

// ConvertLog moves the raft log of a stopped node's data directory to another log store. A crash at
// any moment leaves it in one or the other, whole; running it again completes it.
func ConvertLog(dataDir, to string) (LogConversion, error) {
	c, err := store.ConvertLog(dataDir, store.LogKind(to))
	return LogConversion{From: string(c.From), To: string(c.To), Entries: c.Entries}, err
}

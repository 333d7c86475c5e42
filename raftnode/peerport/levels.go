package peerport

import (
	"fmt"
	"maps"
	"sync"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// levels remembers the feature level that each peer's last hello told.
type levels struct {
	mu   sync.Mutex // guards told
	told map[string]uint32
}

// note takes a peer's hello.
func (l *levels) note(h *peerv1.Hello) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil {
		l.told = map[string]uint32{}
	}
	l.told[h.GetNode()] = logv1.LevelOf(h.GetLevel())
}

func (l *levels) forget(gone func(name string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.told, func(name string, _ uint32) bool { return gone(name) })
}

// PeerLevel is the highest feature level that the named peer's process can read, as its last hello says;
// 0: it sent none yet.
func (p *Port) PeerLevel(name string) uint32 {
	p.levels.mu.Lock()
	defer p.levels.mu.Unlock()
	return p.levels.told[name]
}

// fell says why a new connection is not used: the peer's process can read less than the one before, which
// told level before, and the caller may have decided by that what to send. 0: no process told a level.
func fell(before uint32, h *peerv1.Hello) error {
	level := logv1.LevelOf(h.GetLevel())
	if level >= before {
		return nil
	}
	return fmt.Errorf("it can read feature level %d at most, and level %d before: the connection is made again", level, before)
}
